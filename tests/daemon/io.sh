#!/bin/bash
# SPDX-License-Identifier: MIT
# The ways of writing on each kind of file system: by io_uring, without it, without O_DIRECT. What is
# refused is said once, with its error; the files are proven whole each time, and none grows the page cache.
. "${0%/*}/../tap.sh"
cleanup() {
    umount -l "$tmp"/mnt.* 2>/dev/null
    [ -z "${slow:-}" ] || rmdir "$slow" 2>/dev/null
}

mounted() { # KIND: mounts a file system at $tmp/mnt.KIND
    mkdir -p "$tmp/mnt.$1"
    truncate -s 400M "$tmp/$1.img"
    case $1 in
    tmpfs) mount -t tmpfs -o size=300m tmpfs "$tmp/mnt.$1" ;;
    ext4) mke2fs -q -t ext4 "$tmp/$1.img" && mount -o loop "$tmp/$1.img" "$tmp/mnt.$1" ;;
    *) "mkfs.$1" -q "$tmp/$1.img" && mount -o loop "$tmp/$1.img" "$tmp/mnt.$1" ;;
    esac >/dev/null 2>&1
}

# Runs a command that may not use io_uring: its setup ends with the errno.
cat >"$tmp/without_uring" <<'END'
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x50000 | int(sys.argv[1])), (0x06, 0, 0, 0x7fff0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
class program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program(len(code), ctypes.addressof(filters))), 0, 0):
    sys.exit("no seccomp filter")
os.execvp(sys.argv[2], sys.argv[2:])
END

record() { # WAY DIRECTORY ARGUMENT...: the command before dbufd is in the array $with
    local way=$1 at=$2
    shift 2
    rm -f "$at"/s.*
    "${with[@]}" "$B/dbufd" -c /dev/null -o buffer_capacity=16MB -o source.limit=100MB -o output.durability=none -o source.seed=3 \
        -o output.segment_size=16MiB -o output.retain_size=60MiB -o output.min_free=1MiB -o output.io="$way" \
        -o output_file_path="$at/s.dbuf" "$@" 2>"$tmp/log" && "$B/dbufctl" verify --random "$at/s.dbuf"
}
said() { test "$(grep -c "$1" "$tmp/log")" = "$2"; }

for kind in ext4 xfs btrfs tmpfs; do
    if ! mounted $kind 2>/dev/null; then
        skip "$kind" "cannot be made and mounted here (not root, or no such file system)"
        continue
    fi
    at=$tmp/mnt.$kind
    with=(env)
    check "$kind: auto" record auto "$at"
    check "$kind: auto: nothing is refused" said 'no io_uring\|no O_DIRECT' 0
    check "$kind: the oldest went" grep -q 'segment [0-9]* deleted' "$tmp/log"
    check "$kind: pwrite" record pwrite "$at"
    check "$kind: buffered" record buffered "$at"
    check "$kind: buffered: nothing is refused that was not asked for" said 'no io_uring\|no O_DIRECT' 0
    with=(python3 "$tmp/without_uring" 1)
    check "$kind: io_uring forbidden" record auto "$at"
    check "$kind: it is said once" said 'no io_uring there (Operation not permitted)' 1
    check "$kind: and O_DIRECT is not" said 'no O_DIRECT' 0
    umount "$at"
done

at=$tmp/mnt.disk
mkdir "$at"
with=(python3 "$tmp/without_uring" 38)
check "a kernel without io_uring" record auto "$at"
check "is said once" said 'no io_uring there (Function not implemented)' 1
check "and not at all if one write was asked for" record pwrite "$at"
check "so" said 'no io_uring' 0
with=(python3 "$tmp/without_uring" 1)
"${with[@]}" "$B/dbufd" -c /dev/null -o output.io=uring -o source.limit=1MB -o output_file_path="$at/f.dbuf" 2>"$tmp/log"
status=$?
check "io_uring forced and forbidden: no start ($status)" test $status = 74
check "with the reason" said 'cannot write by io_uring, as output.io says, to .*f.dbuf: Operation not permitted' 1
with=(env)
check "io_uring forced" record uring "$at"

if strace -o /dev/null true 2>/dev/null; then
    traced() { with=(strace -f -qq -o /dev/null -e "trace=${1%%:*}" -e "inject=$1"); }
    # Which of the main thread's calls opens the first segment with O_DIRECT?
    with=(strace -qq -o "$tmp/calls" -e trace=openat)
    record auto "$at" >/dev/null 2>&1
    nth=$(grep -nw O_DIRECT "$tmp/calls" | head -n 1 | cut -d: -f1)
    traced "openat:error=EINVAL:when=$nth"
    check "O_DIRECT refused at open (call $nth)" record auto "$at"
    check "is said once, with its error" said 'no O_DIRECT there (Invalid argument)' 1
    "${with[@]}" "$B/dbufd" -c /dev/null -o output.io=pwrite -o source.limit=1MB -o output_file_path="$at/g.dbuf" 2>"$tmp/log"
    check "and is the end where nothing else will do" said "O_DIRECT is refused there" 1
    traced "pwritev:error=EINVAL:when=1"
    check "O_DIRECT refused by the first write" record auto "$at"
    check "is said once as well" said 'no O_DIRECT there (Invalid argument)' 1
    traced "io_uring_enter:error=EPERM:when=1+"
    check "a ring that cannot be used" record auto "$at"
    check "is none, and that is said once" said 'no io_uring there (Operation not permitted)' 1
    traced "io_uring_enter:error=EPERM:when=40+"
    check "a ring that is refused later" record auto "$at"
    check "is left, with what was in flight in it" said 'no io_uring there (Operation not permitted)' 1
else
    skip "O_DIRECT refused, and a ring refused later" "strace cannot trace here"
fi
with=(env)

# A killed process's writes go on without it. The next start must wait for them: a disk of 4 MB/s.
slow=/sys/fs/cgroup/blkio/dbufd-test.$$
if mounted ext4 2>/dev/null && mkdir "$slow" 2>/dev/null && [ -w "$slow/blkio.throttle.write_bps_device" ]; then
    at=$tmp/mnt.ext4
    device=$(findmnt -no SOURCE "$at")
    echo "$(cat "/sys/class/block/${device#/dev/}/dev") 4000000" >"$slow/blkio.throttle.write_bps_device"
    run=(-c /dev/null -o source.seed=3 -o buffer_capacity=40MB -o output.segment_size=0
        -o "crash_buffer=file:$tmp/region" -o "output_file_path=$at/k.dbuf")
    (
        echo 0 >"$slow/cgroup.procs"
        exec "$B/dbufd" "${run[@]}" -o source.rate=20MB 2>"$tmp/log"
    ) &
    dbufd=$!
    check "a slow disk is being written to" wait_for 60 grep -q . "$at/k.dbuf"
    sleep 3
    kill -KILL $dbufd
    wait $dbufd 2>/dev/null
    if flock -n "$at/k.dbuf" true; then
        echo "# nothing was in flight any more"
    else
        echo "# the kernel was still writing when the process was gone"
    fi
    check "the next start takes over" "$B/dbufd" "${run[@]}" -o source.limit=1MB
    check "and nothing of the dead one's comes on top" "$B/dbufctl" verify --random "$at/k.dbuf"
    umount "$at"
else
    skip "writes in flight when it is killed" "no disk can be slowed down here (blkio cgroup, root)"
fi
tap_end
