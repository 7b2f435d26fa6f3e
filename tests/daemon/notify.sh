#!/bin/bash
# SPDX-License-Identifier: MIT
# What systemd is told: READY when writers run, STATUS each second, signs of life, STOPPING.
. "${0%/*}/../tap.sh"
"${0%/*}/notify.py" 4 SIGTERM "$B/dbufd" -c /dev/null -o source.rate=10MB \
    -o output_file_path="$tmp/n.dbuf" >"$tmp/seen" 2>"$tmp/log"
status=$?
check "it ends well" test $status = 0
check "READY comes first, but for asking whether descriptors are kept" \
    sh -c "grep -v '^FDSTORE\|^BARRIER' '$tmp/seen' | head -n 1 | grep -qx READY=1"
check "READY comes once" test "$(grep -c READY=1 "$tmp/seen")" = 1
check "STATUS says the speed, the fill, the risk and the disk" grep -qE \
    '^STATUS=in [0-9.]+ [kMG]?B/s, out .* blocks/s; buffer [0-9]+ % full, 0 held; .* at risk; disk ok' \
    "$tmp/seen"
check "STATUS comes each second" test "$(grep -c ^STATUS= "$tmp/seen")" -ge 2
check "there are signs of life" test "$(grep -c WATCHDOG=1 "$tmp/seen")" -ge 2
check "STOPPING comes once, after READY" test "$(grep -c STOPPING=1 "$tmp/seen")" = 1
check "what it saw was stored" "$B/dbufctl" verify --random "$tmp/n.dbuf"

# A disk that hangs, in the fourth sync, is waited for and told of, and the watchdog kept quiet.
timeout -s KILL 40 "${0%/*}/notify.py" 0 none timeout -s KILL 16 strace -f -qq -o /dev/null \
    -e trace=fdatasync -e inject=fdatasync:delay_enter=60000000:when=4+ "$B/dbufd" -c /dev/null \
    -o output_file_path="$tmp/h.dbuf" -o buffer_capacity=4MB -o source.rate=1MB >"$tmp/seen" 2>"$tmp/log"
check "STATUS goes on while the disk hangs" test "$(grep -c ^STATUS= "$tmp/seen")" -ge 5
check "the watchdog is kept quiet" sh -c "tail -n 5 '$tmp/seen' | grep -q WATCHDOG=1"
check "and it is told, once a minute" test "$(grep -c 'has not answered for' "$tmp/log")" = 1
tap_end
