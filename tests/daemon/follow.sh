#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufctl cat --follow: what is being recorded comes out as it is, once and in order, through rotation,
# restarts and crashes of the daemon; what retention has taken before it was read is told.
. "${0%/*}/../tap.sh"
ctl=$B/dbufctl
dbufd=("$B/dbufd" -c /dev/null -o buffer_capacity=1MB -o output.durability=none -o output.flush_interval=50ms)
recorder='' follower=''
cleanup() {
    exec 8>&-
    for process in $recorder $follower; do kill -KILL "$process" 2>/dev/null; done
}
start() { # OPTION...
    : >"$tmp/log"
    "${dbufd[@]}" "$@" 2>"$tmp/log" &
    recorder=$!
    wait_for 20 grep -q "buffer of" "$tmp/log" || cat "$tmp/log" >&2
}
stop() {
    kill -TERM "$recorder"
    wait "$recorder"
}
follow() { # STREAM: into $tmp/out and $tmp/said
    "$ctl" cat --follow "$1" >"$tmp/out" 2>"$tmp/said" &
    follower=$!
}
is_over() { ! kill -0 "$follower" || [ "$(ps -o stat= "$follower")" = Z ]; }
# ends NAME STATUS TEXT: the follower ends by itself, with that status, and says TEXT.
ends() {
    local got='it does not end'
    if wait_for 60 is_over; then
        wait "$follower"
        got=$?
    fi
    said=$(cat "$tmp/said")
    if [ "$got" = "$2" ] && [[ $said == *"$3"* ]]; then
        ok "$1"
    else
        not_ok "$1"
        echo "#   $got; it said: $said"
    fi
}
has_line() { grep -qxF "$1" "$tmp/out"; }

# Lines, in many small segments, with a rotation by hand in between.
mkfifo "$tmp/fifo"
exec 8<>"$tmp/fifo"
lines=(-o source.type=pipe -o source.path="$tmp/fifo" -o source.framing=lines -o writer_count=1)
start "${lines[@]}" -o output.segment_size=4MiB -o output_file_path="$tmp/s.dbuf"
follow "$tmp/s.dbuf"
seq 1 400000 | tee "$tmp/lines" >&8
check "what is written comes out" wait_for 30 has_line 400000
echo again | tee -a "$tmp/lines" >&8
check "a single line too, while the segment is open" wait_for 30 has_line again
"$ctl" rotate "$tmp/s.dbuf"
echo rotated | tee -a "$tmp/lines" >&8
check "and the next one, behind a rotation" wait_for 30 has_line rotated
check "there were several segments" test -e "$tmp/s.000003.dbuf"
stop
ends "it ends when the daemon has closed the stream" 0 ""
check "with every line once and in order" cmp "$tmp/out" "$tmp/lines"
check "a closed stream is given out, and then it ends" \
    cmp <(timeout 60 "$ctl" cat --follow "$tmp/s.dbuf") "$tmp/lines"
"$ctl" cat --follow "$tmp/s.000001.dbuf" 2>"$tmp/said"
check "a segment cannot be followed" grep -q 'takes a STREAM' "$tmp/said"

# A crash of the daemon, and a start, in one file: what is there comes out once.
start "${lines[@]}" -o output.segment_size=0 -o output_file_path="$tmp/c.dbuf"
follow "$tmp/c.dbuf"
seq 1 50000 >&8
wait_for 30 has_line 50000
kill -KILL "$recorder"
wait "$recorder" 2>/dev/null
start "${lines[@]}" -o output.segment_size=0 -o output_file_path="$tmp/c.dbuf"
seq 60001 100000 >&8
check "it goes on when a daemon that was killed starts again" wait_for 30 has_line 100000
check "and has not ended meanwhile" kill -0 "$follower"
stop
ends "it ends well" 0 ""
check "with just what is in the stream" cmp "$tmp/out" <("$ctl" cat "$tmp/c.dbuf")
check "every line of it" cmp "$tmp/out" <(seq 1 50000; seq 60001 100000)

# Several writers at full speed.
start -o writer_count=4 -o source.limit=100MB -o output.segment_size=16MiB -o output_file_path="$tmp/r.dbuf"
follow "$tmp/r.dbuf"
wait "$recorder"
ends "at full speed it ends well too" 0 ""
check "with just what is in the stream" cmp "$tmp/out" <("$ctl" cat "$tmp/r.dbuf")
check "which is whole" "$ctl" verify --random "$tmp/r.dbuf"

# Whoever reads it goes away, or it is stopped.
start "${lines[@]}" -o output_file_path="$tmp/e.dbuf"
echo one >&8
check "a reader that goes away ends it, even while nothing comes" \
    test "$(timeout 60 "$ctl" cat --follow "$tmp/e.dbuf" | head -n 1)" = one
follow "$tmp/e.dbuf"
check "what was whole is out" wait_for 30 has_line one
kill -TERM "$follower"
ends "a signal ends it" 143 ""
stop

# Retention takes what it has not yet read.
start -o writer_count=1 -o source.rate=60MB -o output.segment_size=4MiB -o output.retain_size=16MiB \
    -o output_file_path="$tmp/o.dbuf"
follow "$tmp/o.dbuf"
wait_for 30 test -s "$tmp/out"
kill -STOP "$follower"
last=$("$ctl" info --json "$tmp/o.dbuf" | grep -oE '"number":[0-9]+' | tail -n 1 | tr -dc 0-9)
wait_for 60 test -e "$(printf '%s/o.%06d.dbuf' "$tmp" $((last + 8)))"
kill -CONT "$follower"
check "what retention has taken is told" wait_for 30 grep -q "are not there" "$tmp/said"
stop
ends "and is damage" 1 "are not there"
tap_end
