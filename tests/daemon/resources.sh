#!/bin/bash
# SPDX-License-Identifier: MIT
# Memory: the buffer and little more. At rest: next to no processor time.
. "${0%/*}/../tap.sh"
cleanup() { kill $dbufd $holder 2>/dev/null; }
dbufd='' holder=''

"$B/dbufd" -c /dev/null -o writer_count=64 -o output.segment_size=64MiB \
    -o output.retain_size=256MiB -o output_file_path="$tmp/m.dbuf" 2>"$tmp/log" &
dbufd=$!
most=$(((100000000 + 32000000) / 1024))
seen=0
for _ in $(seq 30); do
    sleep 0.1
    kib=$(awk '/^VmRSS/ {print $2}' /proc/$dbufd/status)
    [ "$kib" -gt "$seen" ] && seen=$kib
done
case $B in
*/thread | */address) skip "resident memory" "a sanitizer's shadow memory is resident too" ;;
*) check "resident memory is at most the capacity and 32 MB ($seen of $most KiB)" test "$seen" -le $most ;;
esac
kill $dbufd
wait $dbufd

mkfifo "$tmp/in"
sleep 1000 >"$tmp/in" &
holder=$!
"$B/dbufd" -c /dev/null -o source.type=pipe -o source.path="$tmp/in" -o writer_count=1 \
    -o output_file_path="$tmp/i.dbuf" 2>"$tmp/log" &
dbufd=$!
wait_for 10 grep -q 'buffer of' "$tmp/log"
ticks() { awk '{print $14 + $15}' /proc/$dbufd/stat; }
sleep 1
before=$(ticks)
sleep 5
spent=$(($(ticks) - before)) # in 1/100 s: of 5 s, 1 % is 5
check "at rest it takes under 1 % of a core ($spent of 500 ticks)" test $spent -lt 5
tap_end
