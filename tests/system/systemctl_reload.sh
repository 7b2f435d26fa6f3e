#!/bin/bash
# SPDX-License-Identifier: MIT
# systemctl reload of the service: good and bad files, under load, and what the service manager keeps of
# it when dbufd is killed afterwards. SCENARIO=name runs one of them.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
machine_needs reload || { tap_end; exit; }
cleanup() { machine_close; }

set_key() { # set_key KEY VALUE: in the general part of the file
    sed -i "/^$1 =/d; 1i $1 = $2;" "$machine/etc/dbufd.conf"
}
set_rate() { sed -i "s/rate = \"[^\"]*\"/rate = \"$1\"/" "$machine/etc/dbufd.conf"; }
writers() { test "$(inside sh -c "cat /proc/$(main_pid)/task/*/comm" | grep -c '^writer-')" = "$1"; }
answered() { test "$(($(entries RELOADED) + $(entries RELOAD_REFUSED)))" -ge "$1"; }

good() {
    begin
    set_rate 0
    inside systemctl start dbufd
    local pid i
    pid=$(main_pid)
    wait_for 60 told REPORT
    journal_mark
    set_key writer_count 7
    check "good: systemctl reload" inside systemctl reload dbufd
    check "good: it is told" wait_for 60 told RELOADED
    check "good: with what has changed" \
        test "$(journal -o json DBUFD_EVENT=RELOADED | sed -n 's/.*"DBUFD_CHANGES":"\([^"]*\)".*/\1/p')" = "writer_count 4 -> 7"
    check "good: and for how long the writers were paused" \
        grep -q '"DBUFD_PAUSED_USEC":"[1-9]' <(journal -o json DBUFD_EVENT=RELOADED)
    check "good: it is in force" writers 7
    check "good: the service is active again" wait_for 60 is ActiveState active
    check "good: it is the same process" test "$(main_pid)" = "$pid"
    for i in 2 3 4 5 6; do
        set_key buffer_capacity "\"${i}MB\""
        inside systemctl reload dbufd
        wait_for 60 answered $i
    done
    check "good: five other buffers" told RELOADED 6
    check "good: the manager keeps the memory that is in use, and no other" \
        wait_for 60 is NFileDescriptorStore 1
    check "good: systemctl stop" inside systemctl stop dbufd
    check "good: nothing is lost" whole
    check "good: the last report has everything stored" grep -qE \
        'in all: .*accepted ([0-9]+) = persisted \1 \+ buffered 0 \+ dropped 0 bytes' <(journal -o cat)
}

bad() {
    begin
    inside systemctl start dbufd
    wait_for 60 told REPORT
    journal_mark
    set_key writer_count 0
    set_key debug_mode 17
    check "bad: systemctl reload fails" not inside systemctl reload dbufd
    check "bad: each mistake is in the journal" grep -q 'dbufd.conf:2: writer_count = 0' <(journal)
    check "bad: with its place" grep -q 'dbufd.conf:1: debug_mode = 17' <(journal)
    check "bad: the service is active" is ActiveState active
    check "bad: with what it had" writers 4
    journal_mark
    inside systemctl kill --kill-who=main -s HUP dbufd
    check "bad: a bare SIGHUP is refused too" wait_for 60 told RELOAD_REFUSED
    check "bad: with each mistake as an event" told CONFIG_INVALID 2
    check "bad: nor does that change anything" writers 4
    set_key writer_count 3
    set_key debug_mode false
    check "bad: a right one is taken" inside systemctl reload dbufd
    check "bad: and is in force" wait_for 60 writers 3
    check "bad: systemctl stop" inside systemctl stop dbufd
    check "bad: nothing is lost" whole
}

killed() {
    begin
    inside systemctl start dbufd
    wait_for 60 told REPORT
    set_key buffer_capacity '"32MB"'
    set_key writer_count 6
    inside systemctl reload dbufd
    wait_for 60 told RELOADED
    wait_for 60 told REPORT 2
    journal_mark
    kill -KILL "$(outer_pid "$(main_pid)")"
    check "killed: it is started again" wait_for 60 told STARTED
    check "killed: and has stored what was in the new memory" told RECOVERED
    check "killed: none was lost" not told BLOCKS_LOST
    check "killed: systemctl stop" inside systemctl stop dbufd
    check "killed: what is in the files is whole" whole
}

needs_restart() {
    begin
    inside systemctl start dbufd
    journal_mark
    set_key crash_buffer '"off"'
    check "restart: systemctl reload" inside systemctl reload dbufd
    check "restart: what needs one is named" wait_for 60 told NEEDS_RESTART
    check "restart: systemctl restart takes it" inside systemctl restart dbufd
    check "restart: and says so" wait_for 60 told NO_CRASH_BUFFER
}

check "a machine of $suite" machine_open
machine_install
machine_boot
check "it boots" machine_up
check "the service is made known to it" machine_activate
scenarios good bad killed needs_restart
tap_end
