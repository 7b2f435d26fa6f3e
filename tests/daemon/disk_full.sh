#!/bin/bash
# SPDX-License-Identifier: MIT
# A file system that fills up during a run: the writers are held, one message, nothing lost, and when
# space comes back the recording goes on. On each kind of file system that can be mounted here.
. "${0%/*}/../tap.sh"
cleanup() { umount -l "$tmp"/mnt.* 2>/dev/null; }

mounted() { # KIND: mounts a small file system at $tmp/mnt.KIND
    mkdir "$tmp/mnt.$1"
    case $1 in
    tmpfs) mount -t tmpfs -o size=160m tmpfs "$tmp/mnt.$1" ;;
    *) truncate -s 200M "$tmp/$1.img" && mke2fs -q -t "$1" "$tmp/$1.img" &&
        mount -o loop "$tmp/$1.img" "$tmp/mnt.$1" ;;
    esac
}

for kind in ext4 tmpfs; do
    if ! mounted $kind 2>/dev/null; then
        skip "$kind fills up" "cannot mount $kind here (not root)"
        continue
    fi
    at=$tmp/mnt.$kind
    head -c 80M /dev/zero >"$at/ballast"
    "$B/dbufd" -c /dev/null -o buffer_capacity=8MB -o source.limit=100MB -o source.seed=3 \
        -o output.segment_size=16MiB -o output.min_free=1MiB \
        -o output_file_path="$at/f.dbuf" 2>"$tmp/log" &
    dbufd=$!
    check "$kind: it says that the disk is full" wait_for 60 grep -q 'No space left' "$tmp/log"
    sleep 2 # long enough for it to say so again, if it did
    check "$kind: it says so once" test "$(grep -c 'cannot store' "$tmp/log")" = 1
    check "$kind: it lives on" kill -0 $dbufd
    rm "$at/ballast"
    wait $dbufd
    status=$?
    check "$kind: with space again it ends well" test $status = 0
    check "$kind: it says that it goes on" grep -q 'storing goes on' "$tmp/log"
    check "$kind: nothing is lost" "$B/dbufctl" verify --random "$at/f.dbuf"
    stored=$(sed -n 's/.*accepted \([0-9]*\) = persisted \1 + buffered 0.*/\1/p' "$tmp/log" | tail -n 1)
    check "$kind: all of the limit was stored ($stored)" test "${stored:-0}" -gt 99900000
    umount "$at"
done

# SIGTERM while the writers are held: everything that was published is still saved.
if mounted tmpfs 2>/dev/null || mountpoint -q "$tmp/mnt.tmpfs" || mount -t tmpfs -o size=160m tmpfs "$tmp/mnt.tmpfs"; then
    at=$tmp/mnt.tmpfs
    head -c 130M /dev/zero >"$at/ballast"
    "$B/dbufd" -c /dev/null -o buffer_capacity=8MB -o source.seed=3 -o output.segment_size=16MiB \
        -o output.min_free=1MiB -o output_file_path="$at/f.dbuf" 2>"$tmp/log" &
    dbufd=$!
    wait_for 60 grep -q 'No space left' "$tmp/log"
    kill -TERM $dbufd
    check "stopping says what is to drain" wait_for 10 grep -q 'SIGTERM: stopping' "$tmp/log"
    kill -TERM $dbufd
    check "a second SIGTERM says what is unsaved" wait_for 10 grep -q 'SIGTERM again: .* still unsaved' "$tmp/log"
    check "and drains on" kill -0 $dbufd
    rm "$at/ballast"
    wait $dbufd
    status=$?
    check "then it ends well" test $status = 0
    check "with everything saved" "$B/dbufctl" verify --random "$at/f.dbuf"
    check "and nothing left" grep -q 'nothing left in memory' "$tmp/log"
else
    skip "SIGTERM while held" "cannot mount tmpfs here (not root)"
fi
tap_end
