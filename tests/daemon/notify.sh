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

# A reload is begun with its time, and ended, before or after the file was found to be good.
clock() { awk '{ printf "%.0f", $1 * 1000000 }' /proc/uptime; }
for file in good bad; do
    before=$(clock)
    [ $file = good ] || key=writer_cuont
    echo "${key:-writer_count} = 2;" >"$tmp/new.conf"
    echo "writer_count = 4;" >"$tmp/n.conf"
    "${0%/*}/notify.py" 1 SIGHUP "$B/dbufd" -c "$tmp/n.conf" -o source.rate=10MB \
        -o output_file_path="$tmp/$file.dbuf" --duration 2s >"$tmp/seen" 2>"$tmp/log" &
    wait_for 30 grep -q READY=1 "$tmp/seen"
    cp "$tmp/new.conf" "$tmp/n.conf"
    wait $!
    grep -oE 'RELOADING=1 MONOTONIC_USEC=[0-9]+|READY=1' "$tmp/seen" | sed 's/.*USEC=//' >"$tmp/order"
    check "a $file file: READY, RELOADING, READY" \
        test "$(sed 's/^[0-9]*$/RELOADING/' "$tmp/order" | tr '\n' ' ')" = "READY=1 RELOADING READY=1 "
    check "a $file file: with the time of the monotonic clock" \
        awk -v least="$before" -v most="$(clock)" '/^[0-9]+$/ { exit !($1 >= least && $1 <= most) }' "$tmp/order"
done

# A disk that hangs, in the fourth sync, is waited for and told of, and the watchdog kept quiet.
timeout -s KILL 40 "${0%/*}/notify.py" 0 none timeout -s KILL 16 strace -f -qq -o /dev/null \
    -e trace=fdatasync -e inject=fdatasync:delay_enter=60000000:when=4+ "$B/dbufd" -c /dev/null \
    -o output_file_path="$tmp/h.dbuf" -o buffer_capacity=4MB -o source.rate=1MB >"$tmp/seen" 2>"$tmp/log"
check "STATUS goes on while the disk hangs" test "$(grep -c ^STATUS= "$tmp/seen")" -ge 5
check "the watchdog is kept quiet" sh -c "tail -n 5 '$tmp/seen' | grep -q WATCHDOG=1"
check "and it is told, once a minute" test "$(grep -c 'has not answered for' "$tmp/log")" = 1
tap_end
