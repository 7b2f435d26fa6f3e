#!/bin/bash
# SPDX-License-Identifier: MIT
# What people and machines do to a recorder that they should not.
. "${0%/*}/../tap.sh"
dbufd=("$B/dbufd" -c /dev/null -o buffer_capacity=2MB -o source.rate=2MB -o enable_stats=false)
status_is() { # STATUS COMMAND...
    local wanted=$1
    shift
    "$@" </dev/null
    [ $? = "$wanted" ]
}
cd_tmp() { mkdir -p "$tmp/$1" && echo "$tmp/$1"; }

# Two daemons on one file, by whatever name they come to it.
at=$(cd_tmp two)
: >"$at/real.dbuf"
ln -s real.dbuf "$at/sym.dbuf"
for size in 0 4MiB; do
    rm -f "$tmp/log"
    "${dbufd[@]}" -o output.segment_size=$size -o output_file_path="$at/real.dbuf" --duration 120s 2>"$tmp/log" &
    first=$!
    wait_for 60 grep -q 'buffer of' "$tmp/log"
    check "segment_size $size: a second daemon of the same name is refused" status_is 74 \
        "${dbufd[@]}" -o output.segment_size=$size -o output_file_path="$at/real.dbuf" --duration 100ms
    if [ $size = 0 ]; then
        check "segment_size $size: and one that comes by a symlink" status_is 74 \
            "${dbufd[@]}" -o output.segment_size=$size -o output_file_path="$at/sym.dbuf" --duration 100ms
    fi
    rm -f "$at"/.*.lock
    check "segment_size $size: and one that comes when the lock file was removed" status_is 74 \
        "${dbufd[@]}" -o output.segment_size=$size -o output_file_path="$at/real.dbuf" --duration 100ms
    kill $first
    wait $first
    check "segment_size $size: the first one's stream is whole" "$B/dbufctl" verify --random "$at/real.dbuf"
    rm -f "$at"/real.*
done

# A device has no owner.
"${dbufd[@]}" -o output_file_path=/dev/null --duration 120s 2>"$tmp/log" &
first=$!
wait_for 60 grep -q 'buffer of' "$tmp/log"
check "two daemons may write to /dev/null" status_is 0 "${dbufd[@]}" -o output_file_path=/dev/null --duration 200ms
check "and the first one goes on" kill $first
wait $first

# Closed descriptors are not taken for the daemon's own.
closed_input() {
    "${dbufd[@]}" -o writer_count=1 -o source.type=pipe -o source.path=- \
        -o output_file_path="$(cd_tmp closed)/c.dbuf" <&-
    [ $? = 66 ]
}
check "standard input is closed: the source says so" closed_input
closed_outputs() {
    "${dbufd[@]}" -o source.limit=100kB -o output_file_path="$(cd_tmp closed)/o.dbuf" >&- 2>&- &&
        "$B/dbufctl" verify --random "$tmp/closed/o.dbuf"
}
check "standard output and error are closed: the recording is whole" closed_outputs
check "a full device under --print-config is an error" sh -c "! '$B/dbufd' -c /dev/null --print-config >/dev/full"
check "and under --help" sh -c "! '$B/dbufd' --help >/dev/full"

# Signals that would kill a process that does not care.
for signal in HUP USR2 QUIT; do
    rm -f "$tmp/log"
    rm -f "$tmp"/signal/*
    "${dbufd[@]}" -o output_file_path="$(cd_tmp signal)/s.dbuf" 2>"$tmp/log" &
    recorder=$!
    wait_for 60 grep -q 'buffer of' "$tmp/log"
    kill -$signal $recorder
    sleep 0.2
    kill -TERM $recorder 2>/dev/null
    wait $recorder
    status=$?
    whole() { [ $status = 0 ] && "$B/dbufctl" verify --random "$tmp/signal/s.dbuf"; }
    check "SIG$signal loses nothing" whole
done

# Pipes as outputs.
mkfifo "$tmp/out"
check "a FIFO that nobody reads is refused" status_is 74 "${dbufd[@]}" -o output_file_path="$tmp/out"
(head -c 100000 >/dev/null; wait_for 60 grep -q "see to its reader" "$tmp/log"; cat >"$tmp/rest") <"$tmp/out" &
cat_reader=$!
"${dbufd[@]}" -o output.format=raw -o source.limit=400kB -o output_file_path="$tmp/out" 2>"$tmp/log"
check "a FIFO's reader that rests holds the recording" test $? = 0
wait $cat_reader
check "and gets the rest" test "$(stat -c %s "$tmp/rest")" -gt 200000

# Limits of the process.
check "too few descriptors: refused, no crash" status_is 71 prlimit --nofile=8 "$B/dbufd" -c /dev/null \
    -o output_file_path="$tmp/few.dbuf"
mkdir "$tmp/fsize"
prlimit --fsize=3000000:unlimited "$B/dbufd" -c /dev/null -o buffer_capacity=2MB -o output.segment_size=8MiB \
    -o output_file_path="$tmp/fsize/f.dbuf" 2>"$tmp/log" &
limited=$!
check "a limit on file sizes is called by its name" wait_for 60 grep -q 'File too large.*LimitFSIZE' "$tmp/log"
prlimit --pid $limited --fsize=unlimited
check "and when it is lifted the recording goes on" wait_for 60 grep -q 'storing goes on' "$tmp/log"
kill $limited
wait $limited
check "with nothing lost" "$B/dbufctl" verify --random "$tmp/fsize/f.dbuf"

# Files under the daemon's hands.
at=$(cd_tmp taken)
rm -f "$tmp/log"
"${dbufd[@]}" -o output.flush_interval=50ms -o output_file_path="$at/t.dbuf" 2>"$tmp/log" &
recorder=$!
# While nothing is in it there is nothing to be cut; and what is written in the very moment of the cut
# makes the file long again, which verify alone finds: so it is cut until it is seen.
has_blocks() { "$B/dbufctl" info "$at/t.dbuf" | grep -q '^ *blocks  *[1-9]'; }
check "a segment has blocks in it" wait_for 60 has_blocks
cut_is_told() { grep -q 'left at offset' "$tmp/log" || { : >"$at/t.000001.dbuf"; false; }; }
check "a segment that is cut by somebody is told of" wait_for 60 cut_is_told
check "and left" wait_for 60 test -e "$at/t.000002.dbuf"
kill $recorder
wait $recorder
check "at the end it says that something is missing" grep -q 'verify tells what is missing' "$tmp/log"
check "and verify says so too" status_is 1 "$B/dbufctl" verify "$at/t.dbuf"

# Its directory is taken away, another dbufd goes on with the stream there, and it is put back: what the
# other has stored stays, and what is in memory here is kept.
mkdir "$tmp/here"
rm -f "$tmp/log"
goes=("${dbufd[@]}" -o output.segment_size=0 -o crash_buffer="file:$tmp/region" -o output.flush_interval=50ms
    -o output_file_path="$tmp/here/g.dbuf")
"${goes[@]}" 2>"$tmp/log" &
recorder=$!
wait_for 60 grep -q 'the reader is' "$tmp/log"
sleep 0.3
mv "$tmp/here" "$tmp/there"
check "a directory that is taken away is waited for" wait_for 60 grep -q 'cannot store' "$tmp/log"
"${dbufd[@]}" -o output.segment_size=0 -o source.limit=1MB -o output_file_path="$tmp/there/g.dbuf" 2>"$tmp/log2"
"$B/dbufctl" cat --hex "$tmp/there/g.dbuf" >"$tmp/stored"
mv "$tmp/there" "$tmp/here"
check "that another has gone on there is told" \
    wait_for 60 grep -q 'another dbufd has gone on with this stream' "$tmp/log"
kill $recorder
wait $recorder
check "told to stop it keeps what is in memory, with status 75" test $? = 75
check "what the other has stored is whole" "$B/dbufctl" verify --random "$tmp/here/g.dbuf"
check "to the last block" cmp "$tmp/stored" <("$B/dbufctl" cat --hex "$tmp/here/g.dbuf")
"${goes[@]}" -o source.limit=1 2>"$tmp/log"
check "the next start puts it into a rescue file" grep -q "has gone on without it: .* kept in $tmp/here/g.dbuf.rescue" "$tmp/log"
check "of which the blocks come out again" "$B/dbufctl" recover "$tmp/here/g.dbuf.rescue" "$tmp/rescued.dbuf"
check "and the stream is whole" "$B/dbufctl" verify --random "$tmp/here/g.dbuf"

echo "my notes" >"$tmp/notes.txt"
"${dbufd[@]}" -o output.format=raw -o output.segment_size=4MiB -o output.retain_size=8MiB -o source.rate=0 \
    -o source.limit=30MB -o output_file_path="$tmp/notes.txt" 2>/dev/null
check "raw retention leaves a file alone that it did not write" grep -qx "my notes" "$tmp/notes.txt"
check "a name that could not take a number is refused" status_is 78 \
    "${dbufd[@]}" -o output_file_path="$tmp/$(printf 'm%.0s' $(seq 240))"

# What was read ahead of a limit is not thrown away.
limited_lines() {
    seq 1 3000 | ("${dbufd[@]}" -o writer_count=1 -o source.type=pipe -o source.path=- -o source.framing=lines \
        -o source.limit=10 -o output_file_path="$tmp/l.dbuf" 2>/dev/null; cat) >"$tmp/left"
    "$B/dbufctl" cat "$tmp/l.dbuf" | cat - "$tmp/left" | cmp - <(seq 1 3000)
}
check "lines up to a limit: what was read is stored, what was not is still there" limited_lines
tap_end
