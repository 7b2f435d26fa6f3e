#!/bin/bash
# SPDX-License-Identifier: MIT
# Segments that end by their age, and old ones that go: by age, and when the disk is full.
. "${0%/*}/../tap.sh"
cleanup() { umount -l "$tmp/full" 2>/dev/null; }
dbufd=("$B/dbufd" -c /dev/null -o buffer_capacity=2MB -o source.rate=1MB -o output.flush_interval=100ms)

"${dbufd[@]}" -o output.segment_age=1s -o output.retain_age=2s -o output_file_path="$tmp/a.dbuf" 2>"$tmp/log" &
recorder=$!
check "segments end by their age" wait_for 20 test -e "$tmp/a.000004.dbuf"
check "and go by their age" wait_for 20 test ! -e "$tmp/a.000001.dbuf"
kill $recorder
wait $recorder
check "it says why they went" grep -q 'segment 1 deleted, .* output.retain_age has passed' "$tmp/log"
check "what is left is whole" "$B/dbufctl" verify --random "$tmp/a.dbuf"

if mkdir "$tmp/full" && mount -t tmpfs -o size=24m tmpfs "$tmp/full" 2>/dev/null; then
    "${dbufd[@]}" -o source.rate=0 -o source.limit=100MB -o output.segment_size=4MiB -o output.min_free=1MiB \
        -o output.disk_full=rotate -o output_file_path="$tmp/full/f.dbuf" 2>"$tmp/log"
    check "a full disk holds nobody with disk_full rotate" test $? = 0
    check "the oldest segments went" test ! -e "$tmp/full/f.000001.dbuf"
    check "it says so" grep -q 'deleted, .* the disk is full' "$tmp/log"
    check "and nothing had to wait" sh -c "! grep -q 'cannot store' '$tmp/log'"
    check "what is left is whole" "$B/dbufctl" verify --random "$tmp/full/f.dbuf"
else
    skip "a full disk with disk_full rotate" "cannot mount tmpfs here (not root)"
fi
tap_end
