#!/bin/bash
# SPDX-License-Identifier: MIT
# What may happen between a crash and the start after it: another configuration, a bad one, a full disk,
# other files at the output, a damaged region, starts that die. Nothing that was published is lost.
. "${0%/*}/../tap.sh"
holder=${0%/*}/holder.py
log=$tmp/log
region=$tmp/region
dbufd=''
cleanup() { [ -z "$dbufd" ] || kill -9 "$dbufd" 2>/dev/null; }

# start [OPTION]...: in the background, with the usual options; its pid is $dbufd.
options=(-c /dev/null -o buffer_capacity=2MB -o output.segment_size=8MiB -o output.min_free=0
    -o crash_buffer="file:$region" -o source.seed=5 -o output_file_path="$tmp/a.dbuf")
start() {
    "$B/dbufd" "${options[@]}" "$@" 2>"$log" &
    dbufd=$!
}
says() { grep -q -- "$1" "$log"; }
running() { says 'the reader is' && kill -0 "$dbufd"; }
die() { # as suddenly as it gets, at full load
    wait_for 60 running
    sleep 0.2
    kill -KILL "$dbufd"
    wait "$dbufd" 2>/dev/null
    dbufd=''
}
crash() {
    rm -f "$tmp"/*.dbuf* "$tmp"/.*.lock
    start "$@"
    die
}
finish() { # [OPTION]...: a short run that ends by itself
    "$B/dbufd" "${options[@]}" -o source.limit=100kB "$@" 2>"$log"
}
proven() { "$B/dbufctl" verify --random "$1"; }
poke() { # OFFSET FORMAT VALUE: changes the region in $region
    python3 -c 'import struct, sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    file.write(struct.pack(sys.argv[3], int(sys.argv[4])))' "$region" "$@"
}
blocks_in() { "$B/dbufctl" verify --json "$1" | grep -o '"blocks":[0-9]*' | head -n 1 | cut -d: -f2; }
recovered() { sed -n 's/.*everything: \([0-9]*\) blocks.*/\1/p' "$log"; }

# ---- The plain case, and that the test would see a loss
crash
check "the region lies in the file, for its user alone" test "$(stat -c %a "$region")" = 600
check "after a crash it recovers, and ends well" finish
check "it says how much it was ($(recovered) blocks)" test "$(recovered)" -gt 0
check "all is proven" proven "$tmp/a.dbuf"
unclosed="no memory of the last run was found"
check "nothing is said to be missing" sh -c "! grep -q '$unclosed' '$log'"
check "a clean end leaves no region" test ! -e "$region"
check "a clean restart has nothing to say" finish
check "a clean restart recovers nothing" test -z "$(recovered)"

crash -o crash_buffer=off
check "a crash that takes the memory along, as a power cut does: it starts" finish
check "and says that there may be blocks missing, and how many at most" says "$unclosed.* bytes at risk of its last report"
check "once" sh -c "'$B/dbufd' ${options[*]} -o source.limit=1 2>'$log'; ! grep -q '$unclosed' '$log'"

# ---- Another configuration
crash
cp "$region" "$tmp/kept"
check "capacity, writers, output and format may change" finish -o buffer_capacity=5MB -o writer_count=7 \
    -o output_file_path="$tmp/b.raw" -o output.format=raw -o output.segment_size=0
check "the old blocks go to the old output" proven "$tmp/a.dbuf"
check "the new ones to the new" test -s "$tmp/b.raw"
cp "$tmp/kept" "$region"
check "a copy of a region that was stored already is stored no second time" finish
check "and that is seen" sh -c "[ '$(recovered)' = 0 ] || grep -q 'gone on without it' '$log'"
check "and proven" proven "$tmp/a.dbuf"
rm -f "$tmp"/*.rescue
crash
mv "$region" "$tmp/kept"
finish
mv "$tmp/kept" "$region"
check "the region of a run before the last one: it starts" finish
check "and keeps it" says "gone on without it: .* kept in $tmp/a.dbuf.rescue"
check "nobody's blocks are lost" "$B/dbufctl" recover "$tmp/a.dbuf.rescue" "$tmp/r.dbuf"
check "proven" proven "$tmp/r.dbuf"
rm -f "$tmp"/*.rescue "$tmp"/r.*

# ---- A start without room, that is told to stop, and then has room
crash -o output.segment_size=0
(ulimit -f 2100 && exec "$B/dbufd" "${options[@]}" -o output.segment_size=0 2>"$log") & # KiB
dbufd=$!
check "without room it waits" wait_for 60 says 'what an earlier run has left in memory: File too large'
kill -TERM $dbufd
wait $dbufd
status=$?
check "told to stop it ends, with status 75" test $status = 75
check "the region stays" test -s "$region"
check "with room it recovers" finish -o output.segment_size=0
check "nothing is lost" proven "$tmp/a.dbuf"

# ---- Starts that die
crash
poke 156 '<I' 3
check "after three starts that died it starts all the same" finish
check "and keeps the region" says "three starts have died .* kept in $tmp/a.dbuf.rescue"
before=$(blocks_in "$tmp/a.dbuf")
check "dbufctl recover gets the blocks out" "$B/dbufctl" recover "$tmp/a.dbuf.rescue" "$tmp/r.dbuf"
check "into a stream that is proven" proven "$tmp/r.dbuf"
check "or as they are" "$B/dbufctl" recover --raw "$tmp/a.dbuf.rescue" "$tmp/r.raw"
"$B/dbufctl" cat "$tmp/r.dbuf" >"$tmp/cat"
check "which is the same" cmp "$tmp/cat" "$tmp/r.raw"
check "what is there is not written over" test 3 = "$("$B/dbufctl" recover --raw "$tmp/a.dbuf.rescue" "$tmp/r.raw" >/dev/null 2>&1; echo $?)"
rm -f "$tmp"/*.rescue "$tmp"/r.*

# ---- Other files at the output
crash
mkdir "$tmp/away"
mv "$tmp"/a.*.dbuf "$tmp/away"
check "without its segments a new stream begins" finish
check "with the blocks that were in memory, proven" proven "$tmp/a.dbuf"
crash
mv "$tmp"/a.*.dbuf "$tmp/away"
"$B/dbufd" -c /dev/null -o source.limit=100kB -o output_file_path="$tmp/a.dbuf" 2>/dev/null
check "with another stream there it starts" finish
check "nothing is said to be missing of the other stream" sh -c "! grep -q '$unclosed' '$log'"
check "and keeps the region" says "another one by now, .* kept in $tmp/a.dbuf.rescue"
check "the other stream is whole" proven "$tmp/a.dbuf"
mv "$tmp"/away/a.*.dbuf "$tmp/" 2>/dev/null
rm -rf "$tmp"/away "$tmp"/*.rescue

# ---- A region that is not right
rm -f "$region"
echo "my notes" >"$region"
check "somebody's file at crash_buffer is refused" test 74 = "$(finish; echo $?)"
check "by its name" says "somebody else's file lies .*file:$region"
check "and left as it was" grep -qx "my notes" "$region"
rm "$region"
crash
poke 136 '<I' 99
check "the region of another version: it starts" finish
check "and keeps it" says "another version of dbufd: .* kept in $tmp/a.dbuf.rescue"
rm -f "$tmp"/*.rescue
damage() { # the second block of the first extent that has two is no block
    python3 - "$region" <<'END'
import struct, sys
with open(sys.argv[1], "r+b") as file:
    data = bytearray(file.read())
    stored, = struct.unpack_from("<I", data, 64)
    control_bytes, extent_bytes = struct.unpack_from("<II", data, 140)
    for at in range(control_bytes, len(data) - extent_bytes, extent_bytes):
        epoch, = struct.unpack_from("<I", data, at + 12)
        count, = struct.unpack_from("<I", data, at + 32)
        if count > 1 and (epoch - stored) % 2**32 < 2:
            length, = struct.unpack_from("<I", data, at + 64)
            struct.pack_into("<I", data, at + 64 + 16 + (length + 7) // 8 * 8, 0xffffffff)
            break
    file.seek(0)
    file.write(data)
END
}
# Killed when all but that extent was on disk, it has no rest: then once more.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    crash
    damage
    finish
    status=$?
    [ $status = 0 ] && [ -z "$(recovered)" ] || break
done
check "a damaged region: it starts" test $status = 0
check "keeps it" says "some of it is damaged, .* kept in $tmp/a.dbuf.rescue"
check "and stores the rest" test "$(recovered)" -gt 0
nothing_but_missing() { # verify finds blocks missing, or nothing at all if they were a writer's last
    ! "$B/dbufctl" verify "$tmp/a.dbuf" | grep -vE ': missing$|^damaged: |^whole: '
}
check "and nothing is wrong but what is missing" nothing_but_missing
rm -f "$tmp"/*.rescue "$tmp"/*.dbuf*
echo "not ours" >"$region"
check "a file that is none of ours is not touched" test 74 = "$(finish; echo $?)"
check "and stays" grep -qx "not ours" "$region"
check "dbufctl recover refuses it" test 3 = "$("$B/dbufctl" recover "$region" "$tmp/x" 2>/dev/null; echo $?)"
rm -f "$region"
start
wait_for 60 running
check "two cannot live in one region" test 74 = "$(finish -o output_file_path="$tmp/b.dbuf"; echo $?)"
check "dbufctl recover leaves a live one alone" test 3 = "$("$B/dbufctl" recover "$region" "$tmp/x" 2>/dev/null; echo $?)"
kill $dbufd
wait $dbufd

# ---- At the service manager
export RUNTIME_DIRECTORY=$tmp/run
mkdir "$RUNTIME_DIRECTORY"
options=("${options[@]}" -o crash_buffer=fdstore)
finish -o crash_buffer=auto
check "without a service manager auto says so" says 'would lose what is in memory: there is no service manager'
check "and fdstore does not start" test 71 = "$(finish; echo $?)"
"$holder" -k 0 "$B/dbufd" "${options[@]}" -o source.limit=1 -o crash_buffer=auto 2>"$log" >/dev/null
check "with one that keeps nothing auto says so" says 'the service manager does not keep it'
"$holder" -k 0 "$B/dbufd" "${options[@]}" -o source.limit=1 2>"$log" >/dev/null
check "and fdstore does not start" test $? = 71
check "and says what to do" says 'FileDescriptorStoreMax='
rm -f "$tmp"/a.*
foreign() { # started as by a manager that keeps a file of somebody else's
    bash -c 'export LISTEN_FDS=1 LISTEN_FDNAMES=stranger LISTEN_PID=$$; exec "$@"' - \
        "$B/dbufd" "${options[@]}" -o crash_buffer=off -o source.limit=1 2>"$log" 3</etc/passwd
}
check "a foreign descriptor is no obstacle" foreign
check "and told" says 'none of dbufd.s: stranger'

# Killed at work; the next start has a bad configuration, and the manager drops what it has kept.
rm -f "$tmp"/a.*
managed() { # [OPTION]...: dbufd by the holder, restarted when it is killed; then its pid is $dbufd
    "$holder" -r sh -c '[ -z "${LISTEN_FDS:-}" ] || export LISTEN_PID=$$
        [ ! -e "$0" ] || set -- "$@" -o writer_count=0
        exec "$@"' "$tmp/bad" "$B/dbufd" "${options[@]}" "$@" >"$tmp/told" 2>"$log" &
    manager=$!
    wait_for 60 says 'the reader is'
    dbufd=$(sed -n 's/^PID=//p' "$tmp/told" | tail -n 1)
}
managed
sleep 0.2
touch "$tmp/bad"
kill -KILL "$dbufd"
wait $manager
check "a bad configuration after a crash ends it, with status 78" test $? = 78
check "what the manager would drop is in the runtime directory" test -n "$(ls "$RUNTIME_DIRECTORY"/dbufd-*.region)"
rm "$tmp/bad"
check "the next start finds it" finish -o crash_buffer=off
check "stores it ($(recovered) blocks)" test "$(recovered)" -gt 0
check "all is proven" proven "$tmp/a.dbuf"
check "and the copy is gone" test -z "$(ls "$RUNTIME_DIRECTORY")"

# Told to stop, and the disk goes on refusing.
rm -f "$tmp"/a.*
(ulimit -f 20000 && exec "$holder" "$B/dbufd" "${options[@]}" -o output.segment_size=0) >"$tmp/told" 2>"$log" &
dbufd=$!
check "a disk that refuses is told" wait_for 60 says 'File too large'
kill -TERM $dbufd
wait $dbufd
status=$?
check "told to stop meanwhile, it ends after a while, with status 75" test $status = 75
check "it says so" says 'stopping though the disk refuses .*: .* are kept'
check "what is in memory is in the runtime directory" test -n "$(ls "$RUNTIME_DIRECTORY"/dbufd-*.region)"
check "and nowhere else" grep -qx KEPT= "$tmp/told"
check "the next start finds it" finish -o output.segment_size=0 -o crash_buffer=off
check "stores it ($(recovered) blocks)" test "$(recovered)" -gt 0
check "all is proven" proven "$tmp/a.dbuf"
check "and the copy is gone" test -z "$(ls "$RUNTIME_DIRECTORY")"
tap_end
