#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufd inside its unit's sandbox: what it needs works, what it does not need is refused, and a path
# outside of it is told with the lines that let it in. SCENARIO=name runs one of them.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
machine_needs sandbox || { tap_end; exit; }
cleanup() { machine_close; }

# The threads of the running service: their names, and one value of their status each.
thread_values() { # VALUE
    local task
    for task in "/proc/$(outer_pid "$(main_pid)")/task"/*; do
        echo "$(cat "$task/comm") $(sed -n "s/^$1:[[:space:]]*//p" "$task/status")"
    done
}

needs() {
    begin
    sed -i '1i cpus: { writers = "0"; reader = "1"; };' "$machine/etc/dbufd.conf"
    [ "$(nproc)" -ge 2 ] || sed -i 's/reader = "1"/reader = "0"/' "$machine/etc/dbufd.conf"
    # Within the 8 MiB that may be locked without privilege, if this machine's root may not raise it.
    sed -i 's/"8MB"/"4MB"/' "$machine/etc/dbufd.conf"
    check "needs: it starts" inside systemctl start dbufd
    wait_for 60 told REPORT
    local status
    status=/proc/$(outer_pid "$(main_pid)")/status
    check "needs: without any capability" test "$(grep -cE '^Cap(Prm|Eff|Bnd|Amb):.*[1-9a-f]' "$status")" = 0
    check "needs: under a system call filter" grep -q '^Seccomp:.*2' "$status"
    check "needs: unable to gain a privilege" grep -q '^NoNewPrivs:.*1' "$status"
    check "needs: the buffer's memory is locked" test "$(awk '/^VmLck/ { print $2 }' "$status")" -ge 3500
    check "needs: no message says otherwise" test "$(entries MEMORY_NOT_LOCKED)" = 0
    thread_values Cpus_allowed_list >"$tmp/threads"
    check "needs: the writers are on the core that was named" \
        test "$(grep -c '^writer-[0-3] 0$' "$tmp/threads")" = 4
    check "needs: and the reader" grep -qE '^reader [01]$' "$tmp/threads"
    check "needs: systemctl stop" inside systemctl stop dbufd
    check "needs: the recording is whole" whole
    check "needs: nobody else may read it" test "$(stat -c %a "$machine/var/lib/dbufd")" = 750
}

# What an intruder in the process would try, in its place: each must fail.
refuses() {
    begin
    cat >"$machine/usr/local/bin/intruder" <<'END'
#!/bin/sh
try() {
    name=$1
    shift
    if "$@" >/dev/null 2>&1; then echo "$name: done"; else echo "$name: refused"; fi
}
try "write to /etc" touch /etc/intruder
try "write to /usr" touch /usr/bin/intruder
try "write to /var/log" touch /var/log/intruder
try "see /home" ls /home/*
try "read /etc/shadow" cat /etc/shadow
try "become root in a namespace" unshare --user --map-root-user true
try "mount" mount -t tmpfs tmpfs /tmp
try "real-time scheduling" chrt --fifo 10 true
try "the kernel's log" dmesg
try "another process" ls /proc/1/root
try "load a module" modprobe dummy
try "set the clock" date -s 2000-01-01
try "a device" mknod /tmp/null c 1 3
try "set-user-id" sh -c 'cp /bin/true /var/lib/dbufd/true && chmod 4755 /var/lib/dbufd/true'
try "write to its own folder" touch /var/lib/dbufd/own
try "write to its own /tmp" touch /tmp/own
END
    chmod 755 "$machine/usr/local/bin/intruder"
    mkdir -p "$machine/home/somebody"
    drop_in <<END
[Service]
ExecStartPre=/bin/sh -c '/usr/local/bin/intruder >/run/dbufd/tried'
END
    check "refuses: the intruder ran" inside systemctl start dbufd
    inside cat /run/dbufd/tried >"$tmp/tried"
    check "refuses: everything that dbufd does not need ($(grep -c refused "$tmp/tried"))" \
        test "$(grep -c ': refused' "$tmp/tried")" = 14 -a "$(grep -c ': done' "$tmp/tried")" = 2
    grep ': done' "$tmp/tried" | sed 's/^/# /'
    check "refuses: its own folders alone can be written" \
        test "$(grep ': done' "$tmp/tried")" = $'write to its own folder: done\nwrite to its own /tmp: done'
    inside systemctl stop dbufd
}

# The lines that a message has, done as an administrator would do them.
follow() { # MESSAGE
    sed -n 's/^ *\(install -d .*\)/\1/p' "$1" | while read -r command; do inside $command; done
    sed -n '/systemctl edit/,/systemctl restart/ { /systemctl/!p; }' "$1" | sed 's/^ *//' | drop_in
}

elsewhere() { # FOLDER
    begin
    local output=$1/a.dbuf
    sed -i "s|$stream|$output|" "$machine/etc/dbufd.conf"
    mkdir -p "$machine$1"
    check "$1: --check says that the service may not write there" \
        not inside sh -c 'dbufd --check 2>/tmp/said'
    inside cat /tmp/said >"$tmp/said"
    check "$1: and the lines that let it" grep -q "ReadWritePaths=$1\$" "$tmp/said"
    not inside systemctl start dbufd
    check "$1: the service says so too" grep -q 'status=78/CONFIG' <(inside systemctl status dbufd)
    journal -o json DBUFD_EVENT=CONFIG_INVALID | python3 -c '
import json, sys
for line in sys.stdin:
    print(json.loads(line)["MESSAGE"])' >"$tmp/told"
    check "$1: with the same lines" diff <(grep '^    ' "$tmp/said") <(grep '^    ' "$tmp/told")
    follow "$tmp/said"
    check "$1: after them --check is content" inside dbufd --check
    check "$1: and the service starts" inside systemctl start dbufd
    wait_for 60 told REPORT
    inside systemctl stop dbufd
    check "$1: what it has recorded is whole" inside dbufctl verify --random "$output"
}

elsewhere_srv() { elsewhere /srv/recordings; }
elsewhere_home() { elsewhere /home/recordings; }
elsewhere_tmp() { elsewhere /var/tmp/recordings; }

realtime() {
    begin
    drop_in <"$machine/usr/share/doc/dbufd/drop-ins/realtime.conf"
    if ! inside systemd-run --quiet --wait --property=CPUSchedulingPolicy=fifo true 2>/dev/null; then
        skip "realtime: every thread is scheduled so" "this kernel gives no real-time to services"
        return
    fi
    check "realtime: it starts" inside systemctl start dbufd
    wait_for 60 told REPORT
    # Field 41 of stat is the policy: 1 is SCHED_FIFO. Names have no spaces.
    policies() { awk '{ print $41 }' "/proc/$(outer_pid "$(main_pid)")/task"/*/stat | sort -u; }
    check "realtime: every thread is scheduled so" test "$(policies)" = 1
    inside systemctl stop dbufd
    check "realtime: the recording is whole" whole
}

pipe() {
    begin
    configure <<END
buffer_capacity = "4MB";
writer_count = 2;
output_file_path = "$stream";
source: { type = "pipe"; path = "/run/dbufd/in%w"; };
END
    check "pipe: it starts, and makes its FIFOs" inside systemctl start dbufd
    head -c 3000000 /dev/urandom >"$machine/root/sent"
    check "pipe: somebody sends" inside sh -c 'cat /root/sent >/run/dbufd/in0; cat /root/sent >/run/dbufd/in1'
    check "pipe: when all have sent, it ends" wait_for 60 is ActiveState inactive
    check "pipe: well" is Result success
    check "pipe: with the same bytes" inside sh -c "dbufctl cat --writer 0 $stream | cmp - /root/sent &&
        dbufctl cat --writer 1 $stream | cmp - /root/sent"
}

# From outside, as the machine may have nothing to ask with: its sockets are files here, its network is its own.
asked() { # ADDRESS
    if [[ $1 == unix:* ]]; then
        python3 tests/daemon/metrics.py get "unix:$machine_root_path${1#unix:}" /metrics
    else
        nsenter -t "$(outer_pid "$(main_pid)")" --net -- python3 tests/daemon/metrics.py get "$1" /metrics
    fi | grep -q '^# EOF$'
}

metrics_unix() {
    begin
    sed -i '1i metrics: { listen = "unix:/run/dbufd/metrics.sock"; };' "$machine/etc/dbufd.conf"
    check "metrics: it starts" inside systemctl start dbufd
    check "metrics: --check is content with a unix socket" inside dbufd --check
    check "metrics: and says where they are" told METRICS_SERVED
    machine_root_path=/proc/$(machine_leader)/root
    check "metrics: they are there" asked unix:/run/dbufd/metrics.sock
    check "metrics: for the user and the group" \
        test "$(inside stat -c '%U %G %a' /run/dbufd/metrics.sock)" = 'dbufd dbufd 660'
    check "metrics: systemctl stop" inside systemctl stop dbufd
    check "metrics: and the socket is gone" not inside test -e /run/dbufd/metrics.sock
    check "metrics: the recording is whole" whole
}

metrics_tcp() {
    begin
    sed -i '1i metrics: { listen = "127.0.0.1:9471"; };' "$machine/etc/dbufd.conf"
    check "metrics by TCP: it starts all the same" inside systemctl start dbufd
    check "metrics by TCP: and says that there are none" told METRICS_NOT_SERVED
    check "metrics by TCP: it records" wait_for 60 told REPORT
    check "metrics by TCP: --check says that the service has no network" \
        not inside sh -c 'dbufd --check 2>/tmp/said'
    inside cat /tmp/said >"$tmp/said"
    check "metrics by TCP: and the lines that give it one" grep -q 'PrivateNetwork=no$' "$tmp/said"
    follow "$tmp/said"
    check "metrics by TCP: after these lines --check is content" inside dbufd --check
    inside systemctl restart dbufd
    check "metrics by TCP: and they are there" asked 127.0.0.1:9471
    drop_in <"$machine/usr/share/doc/dbufd/drop-ins/metrics.conf"
    check "metrics by TCP: with the drop-in --check is content" inside dbufd --check
    journal_mark
    inside systemctl restart dbufd
    check "metrics by TCP: they are there" asked 127.0.0.1:9471
    check "metrics by TCP: which is told" told METRICS_SERVED
    sed -i 's/127.0.0.1:9471/0.0.0.0:9472/' "$machine/etc/dbufd.conf"
    inside systemctl reload dbufd
    check "metrics by TCP: a reload to all addresses is told of" wait_for 60 told METRICS_OPEN
    check "metrics by TCP: and they are there" asked 127.0.0.1:9472
    check "metrics by TCP: systemctl stop" inside systemctl stop dbufd
    check "metrics by TCP: the recording is whole" whole
}

# From outside, into its own network.
datagram() { # TEXT
    nsenter -t "$(outer_pid "$(main_pid)")" --net -- python3 -c '
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), ("127.0.0.1", 5514))' "$1"
}

udp() {
    begin
    inside systemctl start dbufd # which makes its folder
    begin
    configure <<END
writer_count = 2;
buffer_capacity = "4MB";
output_file_path = "$stream";
output: { flush_interval = "10ms"; };
source: { type = "udp"; address = "127.0.0.1:5514"; };
END
    check "udp: --check is not content" not inside sh -c 'dbufd --check 2>/tmp/said'
    inside cat /tmp/said >"$tmp/said"
    check "udp: as the service has no network" grep -q '127.0.0.1:5514": dbufd.service has no network' "$tmp/said"
    not inside systemctl start dbufd
    check "udp: the service says so too" grep -q 'status=78/CONFIG' <(inside systemctl status dbufd)
    check "udp: and the lines that give it one" grep -q 'PrivateNetwork=no' <(journal)
    follow "$tmp/said"
    check "udp: after the lines of --check it is content" inside dbufd --check
    check "udp: and the service starts" inside systemctl start dbufd
    check "udp: somebody sends" datagram one
    drop_in <"$machine/usr/share/doc/dbufd/drop-ins/udp.conf"
    heard() { inside dbufctl cat "$stream" | grep -q "$1"; }
    check "udp: it is recorded" wait_for 60 heard one
    check "udp: with the drop-in --check is content" inside dbufd --check
    check "udp: and the service starts" inside systemctl restart dbufd
    check "udp: somebody sends" datagram two
    check "udp: it is recorded" wait_for 60 heard onetwo
    check "udp: systemctl stop" inside systemctl stop dbufd
    check "udp: the recording is whole" inside dbufctl verify "$stream"
}

check "a machine of $suite" machine_open
machine_install
machine_boot
check "it boots" machine_up
check "the service is made known to it" machine_activate
scenarios needs refuses elsewhere_srv elsewhere_home elsewhere_tmp realtime pipe metrics_unix metrics_tcp udp
tap_end
