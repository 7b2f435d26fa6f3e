#!/bin/bash
# SPDX-License-Identifier: MIT
# A reload to a disk that does not answer, as a frozen file system does not: the recording goes on as it
# was, with its signals, its reports and its signs of life; what is asked for meanwhile is done then; and
# a stop ends it in order.
. "${0%/*}/../tap.sh"
notifier=
cleanup() {
    fsfreeze -u "$tmp/disk" 2>/dev/null
    [ -z "$notifier" ] || kill -KILL "$(dbufd)" "$notifier" 2>/dev/null
    umount -l "$tmp/disk" 2>/dev/null
}
dbufd() { pgrep -P "$notifier"; }
said() { grep -cE "$1" "$tmp/log"; }
told() { test "$(said "$1")" -ge "${2:-1}"; } # told PATTERN [TIMES]
seen() { test "$(grep -c "$1" "$tmp/seen")" -ge "$2"; }
sent() { grep -c "$1" "$tmp/seen"; }
# conf PATH KEY...
conf() { printf '%s\n' "output_file_path = \"$1\"; stats_interval = \"1h\"; source: { rate = \"500kB\"; seed = 5; };" \
    'output: { flush_interval = "100ms"; min_free = "0"; segment_size = "32MiB"; };' "${@:2}" >"$tmp/c.conf"; }
start() {
    : >"$tmp/log"
    "${0%/*}/notify.py" 0 none "$B/dbufd" -c "$tmp/c.conf" -o crash_buffer=off -o output.io=pwrite 2>"$tmp/log" >"$tmp/seen" &
    notifier=$!
    wait_for 20 seen READY=1 1
}
ended() {
    wait "$notifier"
    status=$?
    notifier=
}
hangs() { # the thread of this name
    local task
    for task in /proc/"$(dbufd)"/task/*; do
        grep -qx "$1" "$task/comm" && grep -q '^State:[[:space:]]*D' "$task/status" && return
    done
    return 1
}
segments() { ls "$tmp/$1".0*.dbuf | wc -l; }
more_segments() { test "$(segments disk/b)" -gt "$1"; }

mkdir "$tmp/disk"
if ! { truncate -s 200M "$tmp/img" && mke2fs -q -t ext4 "$tmp/img" && mount -o loop "$tmp/img" "$tmp/disk" &&
    fsfreeze -f "$tmp/disk" && fsfreeze -u "$tmp/disk"; } 2>/dev/null; then
    skip "a reload to a disk that hangs" "no loop devices, or no file system that can be frozen, here (or not root)"
    tap_end
    exit
fi

# ---- It comes back

conf "$tmp/a.dbuf" 'writer_count = 2;'
start
fsfreeze -f "$tmp/disk"
conf "$tmp/disk/b.dbuf" 'writer_count = 2;'
kill -HUP "$(dbufd)"
check "the reload hangs with the disk" wait_for 20 hangs reload
kill -USR1 "$(dbufd)"
check "a report that is asked for comes" wait_for 20 told ' = persisted '
signs=$(sent WATCHDOG=1)
check "the signs of life go on" wait_for 30 seen WATCHDOG=1 $((signs + 3))
check "so does STATUS" wait_for 30 seen STATUS= 3
check "the watchdog's time is as the unit says" sh -c "! grep -q WATCHDOG_USEC '$tmp/seen'"
before=$(segments a)
kill -USR2 "$(dbufd)"
check "a rotation is done" wait_for 20 told 'SIGUSR2: .*a.*ends here'
check "and the next segment is there" wait_for 20 test -e "$tmp/a.00000$((before + 1)).dbuf"
check "that it takes long is told" wait_for 60 told 'not reloaded yet: .*disk/b.dbuf'
conf "$tmp/disk/b.dbuf" 'writer_count = 3;'
kill -HUP "$(dbufd)"
kill -HUP "$(dbufd)"
check "no reload is over yet" test "$(sent READY=1) $(sent RELOADING=1)" = "1 1"
fsfreeze -u "$tmp/disk"
check "when the disk is back, it is gone over to" wait_for 60 told 'reloaded: output_file_path'
check "and to what was asked for since, once" wait_for 60 told 'reloaded: writer_count'
check "RELOADING and READY come in turn" wait_for 20 seen READY=1 3
check "as often as there were reloads" test "$(grep -oE 'RELOADING=1|READY=1' "$tmp/seen" | tr '\n' ' ')" = \
    "READY=1 RELOADING=1 READY=1 RELOADING=1 READY=1 "
check "the stream before is whole" "$B/dbufctl" verify --random "$tmp/a.dbuf"

# ---- The disk that is recorded to hangs while the writers are paused for a reload

fsfreeze -f "$tmp/disk"
check "the reader hangs with the disk" wait_for 20 hangs reader
conf "$tmp/disk/b.dbuf" 'writer_count = 3; buffer_capacity = "2MB";'
before=$(segments disk/b)
kill -HUP "$(dbufd)"
paused() { ! grep -q '^writer-' /proc/"$(dbufd)"/task/*/comm; }
check "the writers pause" wait_for 20 paused
kill -USR2 "$(dbufd)"
fsfreeze -u "$tmp/disk"
check "it goes on when the disk does" wait_for 60 told 'reloaded: buffer_capacity'
check "a rotation that was asked for meanwhile is not lost" wait_for 20 more_segments "$before"
kill -TERM "$(dbufd)"
ended
check "it ends well" test $status = 0
check "the stream is whole" "$B/dbufctl" verify --random "$tmp/disk/b.dbuf"

# ---- A stop meanwhile

for back in before after; do
    rm -f "$tmp"/a.* "$tmp"/disk/b.*
    conf "$tmp/a.dbuf"
    start
    fsfreeze -f "$tmp/disk"
    conf "$tmp/disk/b.dbuf"
    kill -HUP "$(dbufd)"
    wait_for 20 hangs reload
    kill -TERM "$(dbufd)"
    [ $back = after ] || fsfreeze -u "$tmp/disk"
    check "SIGTERM, disk back $back that: all is stored" wait_for 60 told 'stopped: .* nothing left in memory'
    check "SIGTERM, disk back $back that: the reload is answered" told 'not reloaded, .*dbufd stops'
    check "SIGTERM, disk back $back that: the stream is whole" "$B/dbufctl" verify --random "$tmp/a.dbuf"
    check "SIGTERM, disk back $back that: somebody else can have it" flock -n "$tmp/.a.dbuf.lock" true
    [ $back = before ] || fsfreeze -u "$tmp/disk"
    ended
    check "SIGTERM, disk back $back that: it ends well" test $status = 0
    check "SIGTERM, disk back $back that: READY does not come once more" test "$(sent READY=1)" = 1
done
tap_end
