#!/bin/bash
# SPDX-License-Identifier: MIT
# Rotation on demand, by SIGUSR2 and by dbufctl rotate: the segment that was open is complete then, and
# nothing is lost between it and the next one.
. "${0%/*}/../tap.sh"
ctl=$B/dbufctl
dbufd=("$B/dbufd" -c /dev/null -o buffer_capacity=1MB -o source.rate=5MB -o output.durability=none
    -o output.flush_interval=100ms)
exits() { # STATUS TEXT COMMAND...
    local status=$1 text=$2 said got
    shift 2
    said=$("$@" 2>&1)
    got=$?
    [ "$got" = "$status" ] && [[ $said == *"$text"* ]] && return
    echo "exit $got instead of $status, or no '$text' in: $said"
    return 1
}
start() { # LOG OPTION...
    local log=$1
    shift
    "${dbufd[@]}" "$@" 2>"$log" &
    recorder=$!
    wait_for 20 grep -q 'buffer of' "$log"
}
stop() {
    kill -TERM "$recorder"
    wait "$recorder"
}
cleanup() { kill -KILL "${recorder:-}" 2>/dev/null; }

stream=$tmp/s.dbuf
start "$tmp/log" -o output_file_path="$stream" -o debug_mode=true
check "dbufctl rotate ends the segment" "$ctl" rotate "$stream"
check "it is told" grep -q 'SIGUSR2: .*s.000001.dbuf ends here' "$tmp/log"
check "the one before is complete" exits 0 "goes on" "$ctl" verify "$tmp/s.000001.dbuf"
sum=$(sha256sum <"$tmp/s.000001.dbuf")
for number in 2 3 4; do
    check "and once more: the next segment is there when it returns" \
        sh -c "'$ctl' rotate '$stream' && test -e '$tmp/s.00000$((number + 1)).dbuf'"
done
kill -USR2 "$recorder"
check "SIGUSR2 does the same" wait_for 20 test -e "$tmp/s.000006.dbuf"
check "while the recording goes on, all is whole" exits 0 "whole so far" "$ctl" verify --random "$stream"
stop
check "the recording ends well" test $? = 0
check "nothing was lost between the segments" exits 0 "whole: " "$ctl" verify --random "$stream"
check "a segment that was ended has not changed" test "$sum" = "$(sha256sum <"$tmp/s.000001.dbuf")"
check "nobody runs: that is said" exits 3 "no dbufd that runs" "$ctl" rotate "$stream"
check "nor is there a stream elsewhere" exits 3 "No such file" "$ctl" rotate "$tmp/none/s.dbuf"
check "it takes one stream" exits 2 "which STREAM" "$ctl" rotate

# Without rotation the stream's own file is the first segment.
start "$tmp/log" -o output_file_path="$tmp/one.dbuf" -o output.segment_size=0
check "a stream without rotation goes on in a numbered segment" \
    sh -c "'$ctl' rotate '$tmp/one.dbuf' && test -e '$tmp/one.000002.dbuf'"
stop
check "it is whole" exits 0 "whole: 2 segments" "$ctl" verify --random "$tmp/one.dbuf"

# As log files are rotated elsewhere: move, then signal.
start "$tmp/log" -o output_file_path="$tmp/log.raw" -o output.segment_size=0 -o output.format=raw \
    -o writer_count=1 -o source.seed=3
mv "$tmp/log.raw" "$tmp/log.old"
check "a file that was moved away leaves its name to the next one" "$ctl" rotate "$tmp/log.raw"
stop
check "it is there" test -e "$tmp/log.raw"
blocks_of() { sed -nE 's/.*stopped: .* ([0-9]+) blocks.*/\1/p' "$tmp/log" | head -n 1; }
"${dbufd[@]}" -o output_file_path="$tmp/all.raw" -o output.segment_size=0 -o output.format=raw \
    -o writer_count=1 -o source.seed=3 -o source.rate=0 \
    -o source.limit="$(cat "$tmp/log.old" "$tmp/log.raw" | wc -c)" 2>"$tmp/log2"
check "both together are what the source gave" \
    cmp -n "$(cat "$tmp/log.old" "$tmp/log.raw" | wc -c)" <(cat "$tmp/log.old" "$tmp/log.raw") "$tmp/all.raw"

# A quiet source: no block comes, and the segment ends all the same.
mkfifo "$tmp/fifo"
exec 8<>"$tmp/fifo"
start "$tmp/log" -o output_file_path="$tmp/q.dbuf" -o source.type=pipe -o source.path="$tmp/fifo" \
    -o source.framing=lines -o writer_count=1
echo one >&8
check "the line is stored" wait_for 20 sh -c "[ \"\$('$ctl' cat '$tmp/q.dbuf')\" = one ]"
check "without a further block the segment ends" "$ctl" rotate "$tmp/q.dbuf"
check "with the line in it" sh -c "[ \"\$('$ctl' cat '$tmp/q.000001.dbuf')\" = one ]"
check "an empty segment ends too" "$ctl" rotate "$tmp/q.dbuf"
echo two >&8
check "and the recording goes on" wait_for 20 sh -c "[ \"\$('$ctl' cat '$tmp/q.dbuf' | tail -n 1)\" = two ]"
stop
check "all of it is whole" exits 0 "whole: 3 segments" "$ctl" verify "$tmp/q.dbuf"
exec 8>&-

# A process that is no dbufd is never sent the signal.
(
    flock 9
    sleep 60 &
    echo $! >&9
    exits 3 "no dbufd is seen" "$ctl" rotate "$tmp/q.dbuf"
    echo $? >"$tmp/status"
    kill -0 $! || echo gone >>"$tmp/status"
    kill $!
) 9<>"$tmp/.q.dbuf.lock" >"$tmp/said" 2>&1
check "a strange process is left alone" sh -c "[ \"\$(cat '$tmp/status')\" = 0 ] || { cat '$tmp/said'; false; }"
rm -f "$tmp/.q.dbuf.lock"

# Many rotations against a fast source.
start "$tmp/log" -o output_file_path="$tmp/f.dbuf" -o source.rate=0 -o output.segment_size=64MiB \
    -o output.retain_size=256MiB
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -USR2 "$recorder" && sleep 0.05; done
stop
check "many at full speed lose nothing" exits 0 "whole: " "$ctl" verify --random "$tmp/f.dbuf"

# Asked for in the moment of a reload in which the reader has ended already, and no other has begun: the main
# thread is kept there after it has waken the reader for the last time.
conf() { printf '%s\n' 'buffer_capacity = "'"$1"'"; source: { rate = "100kB"; };' >"$tmp/c.conf"; }
conf 1MB
"$B/dbufd" -c "$tmp/c.conf" -o output_file_path="$tmp/l.dbuf" -o output.flush_interval=1h 2>"$tmp/log" &
recorder=$!
wait_for 20 grep -q 'buffer of' "$tmp/log"
strace -qq -o /dev/null -e trace=futex -e inject=futex:delay_exit=3000000 -p "$recorder" 2>/dev/null &
tracer=$!
if wait_for 10 sh -c "! grep -q '^TracerPid:[[:space:]]*0\$' /proc/$recorder/status"; then
    conf 2MB
    kill -HUP "$recorder"
    no_reader() { ! grep -qx reader /proc/"$recorder"/task/*/comm; }
    wait_for 60 no_reader
    kill -USR2 "$recorder"
    check "asked for while a reload has no reader it is not lost" wait_for 60 test -e "$tmp/l.000002.dbuf"
    wait_for 60 grep -q 'reloaded: buffer_capacity' "$tmp/log"
    kill "$tracer"
    wait "$tracer" 2>/dev/null
    stop
    check "and all is whole" exits 0 "whole: 2 segments" "$ctl" verify --random "$tmp/l.dbuf"
else
    skip "asked for while a reload has no reader" "no strace here, or it may not attach"
    stop
fi

# A device.
"${dbufd[@]}" -o output_file_path=/dev/null -o source.limit=2MB 2>"$tmp/log" &
recorder=$!
wait_for 20 grep -q 'buffer of' "$tmp/log" && kill -USR2 $recorder
wait $recorder
check "a device goes on" test $? = 0
check "and that is said" grep -q 'SIGUSR2: /dev/null is a pipe or device' "$tmp/log"
tap_end
