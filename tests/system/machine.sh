# SPDX-License-Identifier: MIT
# A Debian of our own to test in: . tests/tap.sh, then this. Its root is made once a suite by
# mmdebstrap and kept in build/system/; each test gets it under an overlay of its own, so that nothing
# a test does is there for the next one.
#
#   machine_needs NAME || ...   skips NAME if there cannot be a machine here (not root, a tool missing)
#   machine_open                the root under its overlay, at $machine
#   there COMMAND...            runs a command in that root, without its systemd and before machine_boot, with
#                               this folder at its own path: what is built has the same paths here and there
#   machine_boot                real systemd as its PID 1, by systemd-nspawn, without a network; not to
#                               be called in a subshell, as `check` does; then machine_up says how it went
#   inside COMMAND...           runs in it
#   machine_close               power off, and the overlay away (a test's cleanup() calls it)
#   scenarios NAME...           runs the functions NAME, or of them only those named in $SCENARIO
#   journal [OPTION]...         dbufd's entries since the last `journal_mark`
#
# $SUITE is the Debian to take, this machine's own by default: the programs are built for it.

machine=$tmp/machine
machine_pid=
suite=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}
system=build/system
machine_libraries=libsystemd0,libjemalloc2,liburing2
case $suite in
bookworm) machine_libraries+=,libconfig9,libmicrohttpd12 ;;
*) machine_libraries+=,libconfig11,libmicrohttpd12t64 ;;
esac
machine_packages=systemd,systemd-sysv,dbus,usr-is-merged,$machine_libraries
machine_packages+=${MACHINE_PACKAGES:+,${MACHINE_PACKAGES// /,}} # what somebody wants to have there as well

machine_needs() {
    local missing=
    [ "$(id -u)" = 0 ] || missing="not root"
    for tool in mmdebstrap systemd-nspawn nsenter; do
        command -v $tool >/dev/null || missing="$tool is not here"
    done
    grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || missing="no overlay file system"
    [ -z "$missing" ] && return
    skip "$1" "$missing"
    return 1
}

# The root itself; another list of packages makes it anew. A half-made one is never taken for whole.
# mmdebstrap mounts this machine's /dev and more there: in a namespace of its own, so that nothing of it
# is left where a later rm could go through it.
machine_root() {
    local root=$system/$suite
    mkdir -p "$system"
    exec {machine_lock}>"$root.lock"
    flock "$machine_lock"
    if [ "$(cat "$root.packages" 2>/dev/null)" != "$machine_packages" ]; then
        rm -rf --one-file-system "$root" "$root.new" "$root.packages"
        unshare --mount mmdebstrap --quiet --variant=minbase --include="$machine_packages" \
            --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --dpkgopt=force-unsafe-io \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/man/*' "$suite" "$root.new" >"$root.log" 2>&1 || {
            tail -n 20 "$root.log"
            return 1
        }
        mv "$root.new" "$root" && echo "$machine_packages" >"$root.packages"
    fi
    exec {machine_lock}>&-
}

machine_open() {
    machine_root || return
    mkdir -p "$machine" "$tmp/upper" "$tmp/work"
    mount -t overlay overlay -o "lowerdir=$system/$suite,upperdir=$tmp/upper,workdir=$tmp/work" "$machine"
}

# A /tmp in memory would be too small, and the socket is a service manager's, which there is none of.
there() {
    mkdir -p "$tmp/tmp"
    SYSTEMD_SECCOMP=0 unshare --mount sh -c '
        mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn || exit
        exec systemd-nspawn "$@"' - --quiet --register=no --keep-unit --private-network --pipe \
        --capability=all -D "$machine" --bind="$PWD" --bind="$tmp/tmp:/tmp" --chdir="$PWD" --setenv=B="$B" -- \
        env -u NOTIFY_SOCKET "$@"
}

machine_install() {
    local newer=
    [ "$suite" = bookworm ] || newer=yes # its service manager, not the one of this machine
    make --no-print-directory -s install B="$B" DESTDIR="$machine" SYSTEMD_254=$newer "$@"
}

# The container's PID 1, as a process of ours; it changes when the container reboots.
machine_leader() { # [PROCESS to look below]
    local child
    for child in $(cat "/proc/${1:-$machine_pid}/task/${1:-$machine_pid}/children" 2>/dev/null); do
        if [ "$(cat "/proc/$child/comm" 2>/dev/null)" = systemd ]; then
            echo "$child"
            return
        fi
        machine_leader "$child" && return
    done
    return 1
}

not() { ! "$@"; }

inside() {
    local leader
    leader=$(machine_leader) || {
        echo "the machine is not up"
        return 1
    }
    nsenter -t "$leader" -a -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        TERM=dumb LC_ALL=C.UTF-8 SYSTEMD_PAGER= SYSTEMD_COLORS=0 "$@"
}

machine_up() { inside systemctl is-system-running | grep -qxE 'running|degraded'; }

# The system call filter is to be the unit's, not one of nspawn's own. The process namespace around it
# ends all of the container when this test ends, even by SIGKILL; nspawn's notes stay off this machine.
machine_boot() { # [OPTION of systemd-nspawn]...
    mkdir -p /run/systemd/nspawn
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_SECCOMP=0 setpriv --pdeathsig KILL \
        unshare --mount --pid --fork --kill-child --mount-proc \
        sh -c 'mount -t tmpfs tmpfs /run/systemd/nspawn || exit
            systemd-nspawn "$@"
            while [ $? = 133 ]; do systemd-nspawn "$@"; done # it has rebooted' - \
        --quiet --register=no --keep-unit --private-network \
        --capability=CAP_IPC_LOCK,CAP_SYS_RESOURCE "$@" -D "$machine" -b \
        </dev/null >"$tmp/boot.log" 2>&1 &
    machine_pid=$!
    wait_for 120 machine_up
}

machine_close() {
    if [ -n "$machine_pid" ]; then
        inside systemctl poweroff >/dev/null 2>&1
        wait_for 60 machine_gone || kill -KILL "$machine_pid" 2>/dev/null
        wait "$machine_pid" 2>/dev/null
        machine_pid=
    fi
    mountpoint -q "$machine" && umount -l "$machine"
}

machine_gone() { ! kill -0 "$machine_pid"; }

# ---- The service in it

# As README tells after `make install`.
machine_activate() {
    inside systemd-sysusers && inside systemctl daemon-reload && inside journalctl --update-catalog
}

# The whole of /etc/dbufd.conf, from standard input.
configure() { cat >"$machine/etc/dbufd.conf"; }

# One of the service's properties, as systemd has it.
property() { inside systemctl show dbufd -P "$1"; }

main_pid() { property MainPID; }

# A process of the machine's, as this machine numbers it.
outer_pid() {
    local namespace
    namespace=$(readlink "/proc/$(machine_leader)/ns/pid")
    for status in /proc/[0-9]*/status; do
        grep -qE "^NSpid:.*[[:space:]]$1\$" "$status" 2>/dev/null &&
            [ "$(readlink "${status%/status}/ns/pid")" = "$namespace" ] &&
            basename "${status%/status}" && return
    done
    return 1
}

# A cursor would be finer, but journalctl 252 misses the first entry behind one when it filters.
journal_mark() { journal_since=$(date +@%s.%6N); }

journal() {
    inside journalctl --sync >/dev/null 2>&1
    inside journalctl -u dbufd --no-pager ${journal_since:+--since="$journal_since"} "$@"
}

# entries EVENT: how many entries of that event there are since the mark.
entries() { journal -o json DBUFD_EVENT="$1" | grep -c '"DBUFD_EVENT"'; }

# A scenario begins with the service stopped, no recording, and a small quick configuration.
stream=/var/lib/dbufd/dbufd.dbuf
begin() {
    inside systemctl stop dbufd
    rm -rf "$machine"/var/lib/dbufd/* "$machine"/etc/systemd/system/dbufd.service.d
    inside systemctl daemon-reload
    inside systemctl reset-failed
    configure <<END
buffer_capacity = "8MB";
output_file_path = "$stream";
stats_interval = "1s";
source: { rate = "20MB"; };
output: { segment_size = "64MiB"; };
END
    journal_mark
}

drop_in() { # a drop-in for the service, from standard input
    mkdir -p "$machine/etc/systemd/system/dbufd.service.d"
    cat >"$machine/etc/systemd/system/dbufd.service.d/test.conf"
    inside systemctl daemon-reload
}

is() { test "$(property "$1")" = "$2"; } # is PROPERTY VALUE
told() { test "$(entries "$1")" -ge "${2:-1}"; } # told EVENT [TIMES]
whole() { inside dbufctl verify --random "$stream"; }

scenarios() {
    local name
    for name in "$@"; do
        [ -n "${SCENARIO:-}" ] && [ "$SCENARIO" != "$name" ] || "$name"
    done
}
