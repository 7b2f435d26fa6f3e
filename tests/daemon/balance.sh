#!/bin/bash
# SPDX-License-Identifier: MIT
# Every report of a run under load closes its balance, and what is in memory never exceeds the buffer.
. "${0%/*}/../tap.sh"
"$B/dbufd" -c /dev/null -o writer_count=16 -o buffer_capacity=4MB -o stats_interval=100ms \
    -o output.retain_size=512MiB -o output.segment_size=128MiB -o output_file_path="$tmp/b.dbuf" \
    --duration 5s 2>"$tmp/log" &
dbufd=$!
# Reports that are asked for, at moments that are nobody's round numbers.
for _ in $(seq 40); do
    sleep 0.0$((RANDOM % 9 + 1))
    kill -USR1 $dbufd 2>/dev/null
done
wait $dbufd
status=$?
check "it ends well" test $status = 0
reports=$(grep -c 'accepted [0-9]* = persisted' "$tmp/log")
check "there were many reports ($reports)" test "$reports" -ge 30
check "each closes, none has more in memory than the buffer" awk '
    match($0, /accepted [0-9]+ = persisted [0-9]+ \+ buffered [0-9]+ \+ dropped [0-9]+/) {
        split(substr($0, RSTART, RLENGTH), w, " ")
        if (w[2] != w[5] + w[8] + w[11] || w[8] < 0 || w[8] > 4000000) { print; bad = 1 }
        if (w[2] < before) { print "goes back: " $0; bad = 1 }
        before = w[2]
    }
    END { exit bad }' "$tmp/log"
check "at the end nothing is left in memory" \
    grep -q 'in all: .*accepted \([0-9]*\) = persisted \1 + buffered 0 + dropped 0 bytes' "$tmp/log"
# The classes of the writers that were held stand for all of them: in the figure and in words.
check "and it is said how long writers were held" \
    grep -qE 'in all: .*; held [1-9][0-9]* times, half of them under [0-9.]+ m?s, (all under|the longest over) [0-9.]+ m?s' \
    "$tmp/log"
tap_end
