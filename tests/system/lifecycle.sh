#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufd under real systemd, from the first start to a reboot. SCENARIO=name runs one of them.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
machine_needs lifecycle || { tap_end; exit; }
cleanup() { machine_close; }
start() {
    inside systemctl stop dbufd
    journal_mark
    check "start: systemctl start, with the file as it is shipped" inside systemctl start dbufd
    check "start: it is active" is ActiveState active
    check "start: the journal says so" told STARTED
    check "start: it runs as its own user" \
        test "$(inside stat -c %U "/proc/$(main_pid)")" = dbufd
    status_line() {
        inside systemctl status dbufd | grep -E 'Status: "in .*/s, out .*/s, .* blocks/s; buffer [0-9]+ % full, .* at risk; disk ok"'
    }
    check "start: systemctl status shows the speeds, the fill, the risk and the disk" wait_for 60 status_line
    check "start: a report comes" wait_for 60 told REPORT
    check "start: systemctl stop" inside systemctl stop dbufd
    check "start: it has ended well" is Result success
    check "start: and says that nothing is left in memory" told STOPPED
    check "start: what it has recorded is whole" whole
}

edit_and_restart() {
    begin
    inside systemctl start dbufd
    sed -i '1i writer_count = 2;' "$machine/etc/dbufd.conf"
    check "edit: the edited file is right" inside dbufd --check
    check "edit: systemctl restart" inside systemctl restart dbufd
    check "edit: it runs with the new setting" sh -c "[ $(journal -o json DBUFD_EVENT=STARTED DBUFD_WRITERS=2 | wc -l) = 1 ]"
    check "edit: systemctl stop" inside systemctl stop dbufd
    check "edit: both runs are one whole stream" whole
}

bad_configuration() {
    begin
    printf 'writer_cout = 4;\nstats_interval = 3 s;\n' | configure
    check "bad file: the start fails" not inside systemctl start dbufd
    check "bad file: systemctl status says status=78/CONFIG" \
        grep -q 'status=78/CONFIG' <(inside systemctl status dbufd)
    check "bad file: it is not tried again" is NRestarts 0
    check "bad file: the journal has the mistake, its place, and what would be right" \
        grep -q 'dbufd.conf:2: stats_interval = 3 s;: syntax error' <(journal)
    begin
    check "bad file: with a right one it starts" inside systemctl start dbufd
}

watchdog() {
    begin
    drop_in <<<$'[Service]\nWatchdogSec=4s'
    inside systemctl start dbufd
    local pid
    pid=$(main_pid)
    wait_for 60 told REPORT
    # The reader hangs in a call that no disk has to answer, and nothing else does.
    strace -f -qq -o /dev/null -e trace=membarrier -e inject=membarrier:delay_enter=600000000 \
        -p "$(outer_pid "$pid")" >/dev/null 2>&1 &
    local strace=$!
    found() { journal | grep -q 'Watchdog timeout'; }
    check "watchdog: a reader that does not come on is found" wait_for 60 found
    kill -KILL $strace # which would keep the process from dying
    wait $strace 2>/dev/null
    check "watchdog: dbufd is started again" wait_for 60 is NRestarts 1
    check "watchdog: it records again" wait_for 60 told STARTED 2
    check "watchdog: by another process" test "$(main_pid)" != "$pid"
    check "watchdog: systemctl stop" inside systemctl stop dbufd
    check "watchdog: what is in the files is whole" whole
}

stop_under_load() {
    begin
    sed -i 's/rate = "20MB"/rate = "0"/; s/"8MB"/"64MB"/' "$machine/etc/dbufd.conf"
    inside systemctl start dbufd
    wait_for 60 told REPORT 2
    check "stop under load: systemctl stop" inside systemctl stop dbufd
    check "stop under load: it has ended well" is Result success
    check "stop under load: with status 0" is ExecMainStatus 0
    check "stop under load: its last report has everything stored" grep -qE \
        'in all: .*accepted ([0-9]+) = persisted \1 \+ buffered 0 \+ dropped 0 bytes' <(journal -o cat)
    check "stop under load: nothing is lost" whole
    local said stored
    said=$(journal -o json DBUFD_EVENT=STOPPED | sed -n 's/.*"DBUFD_PERSISTED_BLOCKS":"\([0-9]*\)".*/\1/p')
    stored=$(inside dbufctl info --json "$stream" | sed -n 's/.*"blocks": *\([0-9]*\).*/\1/p' | head -n 1)
    check "stop under load: the files have every block of the last report ($said)" test "$said" = "$stored"
}

failures() {
    begin
    inside systemctl start dbufd
    wait_for 60 told REPORT

    check "failures: the journal may stop and start again" inside systemctl restart systemd-journald
    check "failures: the recording goes on" is ActiveState active
    journal_mark
    check "failures: and its reports come again" wait_for 60 told REPORT

    local pid
    pid=$(main_pid)
    kill -KILL "$(outer_pid "$pid")"
    check "failures: killed, it is started again" wait_for 60 told STARTED
    check "failures: it says what it has cut off" grep -qE 'torn tail|unused room' <(journal)
    check "failures: systemctl stop" inside systemctl stop dbufd
    check "failures: what is in the files is whole" whole
}

reboot() {
    begin
    inside systemctl enable --quiet --now dbufd
    wait_for 60 told REPORT
    local before
    before=$(machine_leader)
    inside systemctl reboot
    rebooted() { [ "$(machine_leader)" != "$before" ] && machine_up; }
    check "reboot: the machine comes back" wait_for 120 rebooted
    check "reboot: dbufd with it" wait_for 60 is ActiveState active
    check "reboot: before it, all was stored" test "$(journal -b -1 -o json DBUFD_EVENT=STOPPED | wc -l)" = 1
    check "reboot: systemctl stop" inside systemctl disable --quiet --now dbufd
    check "reboot: the recording goes over it, whole" whole
}

check "a machine of $suite" machine_open
machine_install
machine_boot
check "it boots" machine_up
check "the service is made known to it" machine_activate
scenarios start edit_and_restart bad_configuration watchdog stop_under_load failures reboot
tap_end
