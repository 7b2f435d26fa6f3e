#!/bin/bash
# SPDX-License-Identifier: MIT
# A file system that dies under the recording, as one does whose device is gone: every call fails from then
# on. Without output.failover_path dbufd waits and goes on within a second of its return; with it, it goes
# on there, comes back when a segment ends, and nothing is lost or doubled, not even by a SIGKILL meanwhile.
. "${0%/*}/../tap.sh"
limit_s=20 # for an end that does not come
cleanup() { kill -KILL "${recorder:-}" 2>/dev/null; umount -l "$tmp/disk" 2>/dev/null; }
dbufd=("$B/dbufd" -c /dev/null -o buffer_capacity=4MB -o source.rate=5MB -o source.seed=5 -o output.min_free=1MiB
    -o output.flush_interval=100ms -o output.segment_size=8MiB -o output_file_path="$tmp/disk/d.dbuf")
mkdir "$tmp/disk" "$tmp/other"

make_disk() { truncate -s 200M "$tmp/img" && mke2fs -q -t ext4 "$tmp/img" && mount -o loop "$tmp/img" "$tmp/disk"; }
kill_disk() { # what is on its way does not arrive, and nothing is taken any more
    python3 - "$tmp/disk" <<'PYTHON'
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
PYTHON
}
stop_and_mount() { # the recorder must not find the empty directory
    kill -STOP $recorder
    umount "$tmp/disk" && mount -o loop "$tmp/img" "$tmp/disk"
    local status=$?
    kill -CONT $recorder
    return $status
}
revive_disk() { # while it tries it has files open there for a moment
    for _ in {1..20}; do
        stop_and_mount && return
        sleep 0.1
    done
    return 1
}
start() { # KEY=VALUE...
    local options=()
    for option in "$@"; do options+=(-o "$option"); done
    "${dbufd[@]}" "${options[@]}" 2>>"$tmp/log" &
    recorder=$!
}

end() { # its status
    kill $recorder
    timeout "$limit_s" tail --pid=$recorder -f /dev/null || kill -KILL $recorder
    wait $recorder
}

if ! make_disk 2>/dev/null || ! kill_disk 2>/dev/null; then
    skip "a file system dies" "no loop devices, or no ext4 that can be shut down, here (or not root)"
    tap_end
    exit
fi
umount -l "$tmp/disk"
rm "$tmp/img"
make_disk

start
wait_for 20 test -s "$tmp/disk/d.000001.dbuf"
sleep 0.5
kill_disk
check "a dead disk is waited for, and told of" wait_for 20 grep -q 'cannot store' "$tmp/log"
check "the recorder lives" kill -0 $recorder
check "the dead disk can be unmounted, nobody has it open" revive_disk
check "when it is back the recording goes on" wait_for 20 grep -q 'storing goes on' "$tmp/log"
end
check "it ends well" test $? = 0
check "nothing is lost" "$B/dbufctl" verify --random "$tmp/disk/d.dbuf"
umount "$tmp/disk"
rm -f "$tmp/img" "$tmp/log"

make_disk
start output.failover_path="$tmp/other/d.dbuf" crash_buffer="file:$tmp/region"
wait_for 20 test -s "$tmp/disk/d.000001.dbuf"
sleep 0.5
kill_disk
check "with failover_path it goes on there" wait_for 20 sh -c "ls '$tmp'/other/d.*.dbuf"
check "and says so" grep -q 'the stream goes on here' "$tmp/log"
check "nobody was told to wait" sh -c "! grep -q 'cannot store' '$tmp/log'"
revive_disk
check "when it is back, and a segment ends, the stream is there again" \
    wait_for 20 grep -q 'at its own place again' "$tmp/log"
kill_disk
wait_for 20 sh -c "[ \$(grep -c 'the stream goes on here' '$tmp/log') = 2 ]"
sleep 0.3
kill -KILL $recorder
wait $recorder 2>/dev/null
umount "$tmp/disk" && mount -o loop "$tmp/img" "$tmp/disk"
start crash_buffer="file:$tmp/region"
check "after a SIGKILL what was in memory is stored, though the other place is configured no more" wait_for 20 grep -q 'still in memory and are stored now' "$tmp/log"
sleep 0.5
end
check "it ends well" test $? = 0
check "over both places nothing is lost" "$B/dbufctl" verify --random "$tmp/disk/d.dbuf" "$tmp/other/d.dbuf"
check "and one place alone is said not to be all" sh -c "! '$B/dbufctl' verify '$tmp/disk/d.dbuf'"
tap_end
