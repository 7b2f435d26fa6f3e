#!/bin/bash
# SPDX-License-Identifier: MIT
# What is installed for systemd is whole: paths, syntax, sandbox, user.
. "${0%/*}/../tap.sh"
: "${B:=build}"

if ! command -v systemd-analyze >/dev/null; then
    skip service "systemd-analyze is not here"
    tap_end
    exit
fi

# Installed below another prefix, so that the paths in the unit are real.
check "make install" make --no-print-directory install B="$B" PREFIX="$tmp/usr" \
    SYSTEMD_PREFIX="$tmp/usr/lib" SYSCONFDIR="$tmp/etc"
unit=$tmp/usr/lib/systemd/system/dbufd.service
program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")

check "ExecStart is what was installed" test "$program" = "$tmp/usr/sbin/dbufd"
check "ExecStart can be run" test -x "$program"
check "every option of ExecStart exists" "$program" --help

verify_is_silent() { # a warning does not change its exit status
    local said
    said=$(systemd-analyze verify --man=no "$unit" 2>&1) && [ -z "$said" ] || {
        echo "$said"
        return 1
    }
}
check "systemd-analyze verify has nothing to say" verify_is_silent

# Threshold 5 is an exposure of 0.5.
check "exposure is at most 0.5" \
    systemd-analyze security --offline=true --no-pager --threshold=5 "$unit"

# With a network for the metrics, or for datagrams, and that is all.
exposure() { systemd-analyze security --offline=true --no-pager "$unit" | grep -oE 'level for .*: [0-9.]+'; }
without=$(exposure)
mkdir "$unit.d"
for name in metrics udp; do
    cp "systemd/drop-ins/$name.conf" "$unit.d/"
    check "with $name.conf exposure is at most 1.2" \
        systemd-analyze security --offline=true --no-pager --threshold=12 "$unit"
    with=$(exposure)
    check "and more than without: it was looked at ($with)" test "$with" != "$without"
    rm "$unit.d/$name.conf"
done
rmdir "$unit.d"

# What the sandbox leaves must be enough.
allowed() { # the unit's system call filter, as systemd expands it
    local word
    sed -n 's/^SystemCallFilter=//p' "$unit" | while read -r line; do
        for word in ${line#\~}; do
            case $line in
            \~*) sets "$word" | sed 's/^/-/' ;;
            *) sets "$word" | sed 's/^/+/' ;;
            esac
        done
    done | awk '{ call = substr($0, 2); on[call] = substr($0, 1, 1) == "+" }
        END { for (call in on) if (on[call]) print call }'
}
sets() {
    case $1 in
    @*) systemd-analyze syscall-filter "$1" | sed -n 's/^ *//; /^[a-z_0-9@-]*$/p' | tail -n +2 |
        while read -r word; do sets "$word"; done ;;
    *) echo "$1" ;;
    esac
}
allowed >"$tmp/allowed"
sets @default >>"$tmp/allowed"
forbidden() { # of the calls named on standard input
    sort -u | grep -vxFf "$tmp/allowed"
}
echo "io_uring_setup io_uring_enter io_uring_register sched_setaffinity mlock fchmod" |
    tr ' ' '\n' | forbidden >"$tmp/forbidden"
check "the sandbox allows io_uring, pinning and locking" \
    sh -c '[ -s "$1" ] && { cat "$2"; [ ! -s "$2" ]; }' - "$tmp/allowed" "$tmp/forbidden"
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    mkdir "$tmp/out"
    # A FIFO that nobody sends to, then random blocks: the calls of a start, a run, a stop.
    check "a run on a FIFO" strace -f -qq -o "$tmp/calls.1" "$B/dbufd" -c etc/dbufd.conf \
        -o "output_file_path=$tmp/out/a.dbuf" -o writer_count=1 -o source.type=pipe \
        -o "source.path=$tmp/out/fifo" -o buffer_capacity=8MB --duration 1s
    check "a run on random blocks" strace -f -qq -o "$tmp/calls.2" "$B/dbufd" -c etc/dbufd.conf \
        -o "output_file_path=$tmp/out/b.dbuf" -o buffer_capacity=8MB -o cpus.reader=0 \
        -o source.rate=1MB --duration 1s
    sed -n 's/^[0-9]* *\([a-z_0-9]*\)(.*/\1/p' "$tmp/calls.1" "$tmp/calls.2" | forbidden >"$tmp/forbidden"
    check "the sandbox allows every system call that was made" \
        sh -c 'grep -q openat "$1" && { cat "$2"; [ ! -s "$2" ]; }' - "$tmp/calls.2" "$tmp/forbidden"
else
    skip "the sandbox allows every system call that was made" "strace cannot trace here"
fi

if command -v systemd-sysusers >/dev/null; then
    check "the unit's user is made by sysusers" \
        grep -q "^u $(sed -n 's/^User=//p' "$unit") .* /var/lib/dbufd\$" \
        "$tmp/usr/lib/sysusers.d/dbufd.conf"
    check "sysusers takes the file" systemd-sysusers --dry-run "$tmp/usr/lib/sysusers.d/dbufd.conf"
else
    skip "sysusers" "systemd-sysusers is not here"
fi

# An edited configuration stays.
echo "# edited" >>"$tmp/etc/dbufd.conf"
check "installing again" make --no-print-directory install B="$B" PREFIX="$tmp/usr" \
    SYSTEMD_PREFIX="$tmp/usr/lib" SYSCONFDIR="$tmp/etc"
check "keeps an edited dbufd.conf" grep -q "^# edited" "$tmp/etc/dbufd.conf"

tap_end
