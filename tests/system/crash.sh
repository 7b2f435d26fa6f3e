#!/bin/bash
# SPDX-License-Identifier: MIT
# Whatever ends dbufd under real systemd, at full load: no block that was published is lost or doubled.
# SCENARIO=name runs one of them, CRASH_ROUNDS says how often (SOAK: 300 times), CRASH_SEED repeats a run.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
machine_needs crash || { tap_end; exit; }
memory=/sys/fs/cgroup/memory/dbufd-test.$$
cleanup() {
    machine_close
    [ ! -d "$memory" ] || rmdir "$memory"
}
rounds=${CRASH_ROUNDS:-${SOAK:+300}}
rounds=${rounds:-20}
seed=${CRASH_SEED:-$RANDOM$RANDOM}
echo "# CRASH_SEED=$seed"
here=$(cd "${0%/*}" && pwd)

begin_at_full_load() {
    begin
    sed -i 's/rate = "20MB"/rate = "0"/; s/segment_size = "64MiB"/segment_size = "64MiB"; retain_size = "1GiB"/' \
        "$machine/etc/dbufd.conf"
}

ended() { # SCENARIO COMMAND: ends it so, again and again
    check "$1: it starts" inside systemctl start dbufd
    check "$1: $rounds times, and each block is there once" \
        "$here/crash.py" "$(machine_leader)" "$machine$stream" "$rounds" "$seed" "$2"
    check "$1: what is in the files is whole" whole
}

killed() {
    begin_at_full_load
    ended killed kill
    check "killed: each start has said what it has stored" told RECOVERED
}

# A process that is stopped does not tell the watchdog anything; SIGABRT waits, SIGKILL comes.
watchdog() {
    begin_at_full_load
    drop_in <<<$'[Service]\nWatchdogSec=1s\nTimeoutAbortSec=100ms'
    ended watchdog 'kill -STOP $PID'
    check "watchdog: it was the watchdog" grep -q 'Watchdog timeout' <(journal)
}

# The kernel kills because of a limit that dbufd shares with somebody greedy. (A limit of the unit's own would
# do, but the test machine has no say in this machine's memory.)
out_of_memory() {
    if [ ! -d "$memory" ]; then
        skip "out of memory" "no memory controller of cgroup v1 is here"
        return
    fi
    begin_at_full_load
    drop_in <<'END'
[Service]
ReadWritePaths=/run/memory
OOMScoreAdjust=1000
ExecStart=
ExecStart=/bin/sh -c 'echo $$$$ >/run/memory/cgroup.procs && exec /usr/sbin/dbufd -c /etc/dbufd.conf'
END
    ended "out of memory" 'sh -c "echo \$\$ >/run/memory/cgroup.procs; exec tail /dev/zero" & while kill -0 $PID; do sleep 0.02; done; kill -KILL $! 2>&-; true'
    check "out of memory: it was the kernel" test "$(sed -n 's/^oom_kill //p' "$memory/memory.oom_control")" -ge "$rounds"
}

restart() {
    begin_at_full_load
    ended restart 'systemctl restart dbufd'
}

reexec() {
    begin_at_full_load
    ended reexec 'systemctl daemon-reexec && kill -KILL $PID'
}

stop_and_start() {
    begin_at_full_load
    ended "stop and start" 'systemctl stop dbufd && systemctl start dbufd'
}

# Stopped while the disk is full: it is given half a minute, then what is in memory is put aside.
stop_with_a_full_disk() {
    begin
    mount -t tmpfs -o size=80M,mode=0750 tmpfs "$machine/mnt"
    inside sh -c 'mount -t tmpfs -o size=80M tmpfs /mnt && chown dbufd /mnt && head -c 40M /dev/zero >/mnt/ballast'
    umount "$machine/mnt"
    stream=/mnt/dbufd.dbuf begin_in_mnt
    drop_in <<<$'[Service]\nReadWritePaths=/mnt'
    check "full disk: it starts" inside systemctl start dbufd
    check "full disk: it is held" wait_for 120 told DISK_HELD
    check "full disk: systemctl stop" inside systemctl stop dbufd
    check "full disk: what is in memory is kept" told LEFT
    check "full disk: in the runtime directory" inside sh -c 'ls /run/dbufd/*.region'
    inside rm /mnt/ballast
    journal_mark
    check "full disk: with room it starts again" inside systemctl start dbufd
    check "full disk: and stores first what was kept" told RECOVERED
    check "full disk: which is kept no longer" not inside sh -c 'ls /run/dbufd/*.region'
    check "full disk: systemctl stop" inside systemctl stop dbufd
    check "full disk: what is in the files is whole" inside dbufctl verify --random /mnt/dbufd.dbuf
}
begin_in_mnt() {
    sed -i "s|^output_file_path.*|output_file_path = \"$stream\";|; s|segment_size|min_free = \"1MiB\"; segment_size|" \
        "$machine/etc/dbufd.conf"
}

check "a machine of $suite" machine_open
machine_install
if mkdir "$memory" 2>/dev/null; then
    echo 48M >"$memory/memory.limit_in_bytes"
    chmod 666 "$memory/cgroup.procs"
    machine_boot --bind="$memory:/run/memory"
else
    machine_boot
fi
check "it boots" machine_up
check "the service is made known to it" machine_activate
scenarios killed watchdog out_of_memory restart reexec stop_and_start stop_with_a_full_disk
tap_end
