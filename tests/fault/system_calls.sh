#!/bin/bash
# SPDX-License-Identifier: MIT
# The fault sweep once more, on the program as it is shipped: strace lets system calls of its files fail,
# once or several times in a row. It must end well, with everything stored that it had accepted.
. "${0%/*}/../tap.sh"
if ! [ -x "$B/dbufd" ] || ! strace -qq -o /dev/null true 2>/dev/null; then
    skip "system calls that fail" "no dbufd in $B, or strace cannot trace here"
    tap_end
    exit
fi
at=$tmp/s
options=(-c /dev/null -o buffer_capacity=1MB -o writer_count=2 -o source.seed=9 -o source.limit=16MB
    -o source.rate=0 -o output.segment_size=4MiB -o output.min_free=1MiB -o output.flush_interval=50ms
    -o output_file_path="$at/s.dbuf")
# What io_uring does strace does not see.
if "$B/dbufd" --help | grep -q output.io; then options+=(-o output.io=pwrite); fi
files=(-P "$at/.s.dbuf.next")
for number in 1 2 3 4 5 6 7 8 9; do files+=(-P "$at/s.00000$number.dbuf"); done

fails() { # CALL ERROR WHEN: a recording meanwhile
    rm -rf "$at"
    mkdir "$at"
    timeout -s KILL 60 strace -f -qq -o "$tmp/trace" "${files[@]}" -e trace="$1" \
        -e inject="$1:error=$2:when=$3" "$B/dbufd" "${options[@]}" 2>"$tmp/log" || return
    grep -q INJECTED "$tmp/trace" || return
    grep -qE 'accepted ([0-9]+) = persisted \1 ' "$tmp/log" || return
    "$B/dbufctl" verify --random "$at/s.dbuf"
}

# Strace counts the calls of each thread. The first ones are those of the start, which says what is wrong
# and ends: it is not swept here.
for case in pwritev:4 fdatasync:3 ftruncate:1 fallocate:2 openat:2 renameat2:2; do
    call=${case%:*} first=${case#*:}
    case $call in
    pwritev) errors="ENOSPC EDQUOT EFBIG EIO EROFS EINTR EINVAL" ;;
    fdatasync) errors="EIO ENOSPC EINTR" ;;
    *) errors="EIO ENOSPC" ;;
    esac
    for error in $errors; do
        check "$call fails once with $error" fails $call $error $first
    done
    check "$call fails six times with EIO" fails $call EIO $first..$((first + 5))
done
tap_end
