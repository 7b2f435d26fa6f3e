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

# It records into 40 MB of memory of the machine's, until no more goes in.
held_by_a_full_disk() { # SCENARIO
    begin
    inside sh -c 'while umount /mnt 2>&-; do :; done
        mount -t tmpfs -o size=80M tmpfs /mnt && chown dbufd /mnt && head -c 40M /dev/zero >/mnt/ballast'
    sed -i 's|^output_file_path.*|output_file_path = "/mnt/dbufd.dbuf";|; s|segment_size|min_free = "1MiB"; segment_size|' \
        "$machine/etc/dbufd.conf"
    drop_in <<<$'[Service]\nReadWritePaths=/mnt'
    check "$1: it starts" inside systemctl start dbufd
    check "$1: it is held" wait_for 120 told DISK_HELD
}

has_room_again() { # SCENARIO
    inside rm /mnt/ballast
    sed -i 's/rate = "20MB"/rate = "100kB"/' "$machine/etc/dbufd.conf" # or the room would soon be gone again
    journal_mark
    check "$1: with room it starts again" inside systemctl start dbufd
    check "$1: and stores first what was kept" told RECOVERED
    check "$1: none was lost" not told BLOCKS_LOST
}

# Stopped while the disk is full: it is given half a minute, then what is in memory is put aside.
stop_with_a_full_disk() {
    held_by_a_full_disk "full disk"
    check "full disk: systemctl stop" inside systemctl stop dbufd
    check "full disk: what is in memory is kept" told LEFT
    check "full disk: in the runtime directory" inside sh -c 'ls /run/dbufd/*.region'
    has_room_again "full disk"
    check "full disk: which is kept no longer" not inside sh -c 'ls /run/dbufd/*.region'
    check "full disk: systemctl stop" inside systemctl stop dbufd
    check "full disk: what is in the files is whole" inside dbufctl verify --random /mnt/dbufd.dbuf
}

# Killed while it is being stopped, before it could put anything aside: a service manager that keeps the
# memory over a stop gives it to the next start.
killed_in_a_stop() {
    if is FileDescriptorStorePreserve ""; then
        skip "killed in a stop" "this service manager lets go of the memory at a stop; 254 and later keep it"
        return
    fi
    held_by_a_full_disk "killed in a stop"
    local pid
    pid=$(outer_pid "$(main_pid)")
    inside systemctl stop --no-block dbufd
    check "killed in a stop: it is being stopped" wait_for 60 is ActiveState deactivating
    kill -KILL "$pid"
    stopped() { is ActiveState failed || is ActiveState inactive; }
    check "killed in a stop: it stays stopped" wait_for 60 stopped
    check "killed in a stop: nothing was put aside" not inside sh -c 'ls /run/dbufd/*.region'
    check "killed in a stop: the service manager keeps the memory" is NFileDescriptorStore 1
    has_room_again "killed in a stop"
    check "killed in a stop: systemctl stop" inside systemctl stop dbufd
    check "killed in a stop: nothing is kept any longer" is NFileDescriptorStore 0
    check "killed in a stop: what is in the files is whole" inside dbufctl verify --random /mnt/dbufd.dbuf
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
scenarios killed watchdog out_of_memory restart reexec stop_and_start stop_with_a_full_disk killed_in_a_stop
tap_end
