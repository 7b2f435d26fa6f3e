#!/bin/bash
# SPDX-License-Identifier: MIT
# What an administrator sees of dbufd: the journal's lines, fields and explanations, and the reason of
# a failure in `systemctl status`. SCENARIO=name runs one of them.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
machine_needs journal || { tap_end; exit; }
cleanup() { machine_close; }

# have_fields FILE: each entry in it, JSON a line, has the fields named on standard input.
have_fields() {
    python3 -c '
import json, sys
entries = [json.loads(line) for line in open(sys.argv[1])]
assert entries, "there is no entry"
wanted = sys.stdin.read().split()
bad = [f"{name} in {entry}" for entry in entries for name in wanted
       if not str(entry.get(name, "")).strip()]
sys.exit("\n".join(bad) if bad else 0)' "$1"
}

events() {
    begin
    inside systemctl start dbufd
    wait_for 60 told REPORT
    inside systemctl stop dbufd
    journal -o json | grep '"DBUFD_EVENT"' >"$tmp/entries"
    check "events: there are some" test "$(wc -l <"$tmp/entries")" -ge 5
    check "events: each has its id, its name, its priority and its line" have_fields "$tmp/entries" \
        <<<"MESSAGE_ID DBUFD_EVENT PRIORITY MESSAGE SYSLOG_IDENTIFIER"
    for event in STARTED:VERSION,WRITERS,BUFFER_BYTES,SEED,PATH CORES:READER_CORE,WRITER_CORES \
        STOPPING:BUFFERED_BYTES STOPPED:PERSISTED_BYTES,PERSISTED_BLOCKS; do
        journal -o json DBUFD_EVENT="${event%%:*}" >"$tmp/entries"
        check "events: ${event%%:*} has its fields" have_fields "$tmp/entries" \
            <<<"$(tr , '\n' <<<"${event#*:}" | sed 's/^/DBUFD_/')"
    done
}

report() {
    begin
    inside systemctl start dbufd
    wait_for 60 told REPORT 3
    inside systemctl stop dbufd
    journal -o json DBUFD_EVENT=REPORT >"$tmp/reports"
    sed -nE 's/^(COUNTER|GAUGE)\([a-z_0-9]+, "([A-Z_0-9]+)".*/DBUFD_\2/p' src/daemon/stats.def >"$tmp/wanted"
    check "report: every figure of stats.def ($(wc -l <"$tmp/wanted")) is a field of each" \
        have_fields "$tmp/reports" <"$tmp/wanted"
    check "report: the fields close the balance, the line says the same" python3 -c '
import json, re, sys
for entry in map(json.loads, open(sys.argv[1])):
    n = lambda name: int(entry["DBUFD_" + name])
    for unit in "BYTES", "BLOCKS":
        assert n("ACCEPTED_" + unit) == sum(n(part + unit) for part in ("PERSISTED_", "BUFFERED_", "DROPPED_")), entry
    said = re.search(r"accepted (\d+) = persisted (\d+) \+ buffered (\d+) \+ dropped (\d+)", entry["MESSAGE"])
    names = "ACCEPTED_BYTES", "PERSISTED_BYTES", "BUFFERED_BYTES", "DROPPED_BYTES"
    assert [int(x) for x in said.groups()] == [n(x) for x in names], entry
    total = lambda name: sum(int(pair.split(":")[1]) for pair in entry["DBUFD_" + name].split())
    assert total("BLOCK_SIZES") >= n("ACCEPTED_BLOCKS"), entry
    assert total("HOLD_TIMES") == n("HOLDS"), entry' \
        "$tmp/reports"
}

catalog() {
    begin
    inside systemctl start dbufd
    inside systemctl stop dbufd
    journal -x >"$tmp/explained"
    check "catalog: journalctl -x explains the start, with its figures" \
        grep -qE '^░░ Subject: dbufd [0-9.]+ records$' "$tmp/explained"
    check "catalog: and says what to do" grep -q '^░░ Remedy: ' "$tmp/explained"
    check "catalog: no field stands there by its name" test -z "$(grep -o '@DBUFD_[A-Z_]*@' "$tmp/explained")"
}

mistakes() {
    begin
    configure <<END
writer_cout = 4;
stats_interval = "3 weeks";
source: { min_block = 20; max_block = 10; };
END
    not inside systemctl start dbufd
    journal -o json DBUFD_EVENT=CONFIG_INVALID >"$tmp/entries"
    check "mistakes: each is an event of its own" test "$(wc -l <"$tmp/entries")" = 3
    check "mistakes: with its place" have_fields "$tmp/entries" <<<"DBUFD_PLACE MESSAGE_ID"
    check "mistakes: which is file and line" grep -qF '"DBUFD_PLACE":"/etc/dbufd.conf:2"' "$tmp/entries"
    inside systemctl status dbufd >"$tmp/status"
    check "mistakes: systemctl status has the exit status by its name" grep -q 'status=78/CONFIG' "$tmp/status"
    check "mistakes: and says where to look" \
        grep -qF 'Status: "the configuration has 3 errors: journalctl -xu dbufd, then dbufd --check"' "$tmp/status"
}

cannot_start() {
    begin
    inside systemctl start dbufd
    inside systemctl stop dbufd
    # What is no segment, where the stream's last one should be: it is left as it is.
    mkdir -p "$machine/var/lib/dbufd"
    head -c 5000 /dev/urandom >"$machine/var/lib/dbufd/dbufd.000009.dbuf"
    chown --reference="$machine/var/lib/dbufd/dbufd.000001.dbuf" "$machine/var/lib/dbufd/dbufd.000009.dbuf"
    drop_in <<<$'[Service]\nRestart=no'
    not inside systemctl start dbufd
    inside systemctl status dbufd >"$tmp/status"
    check "cannot start: status has the exit status" grep -qE 'status=74/IOERR' "$tmp/status"
    check "cannot start: the reason" grep -q 'Status: "cannot open output ' "$tmp/status"
    check "cannot start: and the errno" test "$(property StatusErrno)" -gt 0
    journal -o json DBUFD_EVENT=CANNOT_START >"$tmp/entries"
    check "cannot start: the journal has it too" have_fields "$tmp/entries" <<<"ERRNO DBUFD_ERRNO MESSAGE_ID"
}

flood() {
    begin
    # Small segments at full speed: far more than 20 events of a kind within a minute.
    sed -i 's/rate = "20MB"/limit = "400MB"/; s/64MiB/4MiB/' "$machine/etc/dbufd.conf"
    sed -i '1i debug_mode = true;' "$machine/etc/dbufd.conf"
    inside systemctl start dbufd
    check "flood: the recording comes to its end" wait_for 120 is ActiveState inactive
    local told left
    told=$(entries SEGMENT_CLOSED)
    left=$(journal -o json DBUFD_EVENT=LEFT_OUT DBUFD_OF_EVENT=SEGMENT_CLOSED |
        sed -n 's/.*"DBUFD_COUNT":"\([0-9]*\)".*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }')
    check "flood: some were told ($told), others left out ($left)" test "$told" -ge 20 -a "$left" -ge 20
    check "flood: together they are as many as the segments" \
        test $((told + left)) = "$(find "$machine/var/lib/dbufd" -name '*.dbuf' | wc -l)"
    check "flood: nothing of the recording is missing" whole
}

check "a machine of $suite" machine_open
machine_install
machine_boot
check "it boots" machine_up
check "the service is made known to it" machine_activate
scenarios events report catalog mistakes cannot_start flood
tap_end
