#!/bin/bash
# SPDX-License-Identifier: MIT
# The metrics of a dbufd that records: what they say, over a unix socket and TCP; clients that are up to no
# good; an address that is somebody else's; reloads.
. "${0%/*}/../tap.sh"
here=${0%/*}
dbufd='' other='' hanger=''
cleanup() { kill -KILL $dbufd $other $hanger 2>/dev/null; }

# Debian's Python has Debian's packages, and may not be the first one.
python=python3
$python -c 'import prometheus_client' 2>/dev/null || python=/usr/bin/python3
strict=$($python -c 'import prometheus_client' 2>/dev/null && echo yes)
metrics() { $python "$here/metrics.py" "$@"; }
port() { $python -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() { # [OPTION]...
    : >"$tmp/log"
    "$B/dbufd" -c "$tmp/c.conf" "$@" 2>>"$tmp/log" &
    dbufd=$!
    wait_for 60 grep -q 'writers* (' "$tmp/log"
}
stop() {
    kill -TERM "$dbufd"
    wait "$dbufd"
    status=$?
    dbufd=
}
told() { grep -qE "$1" "$tmp/log"; }
said() { grep -cE '^dbufd: (reloaded|not reloaded)' "$tmp/log"; }
answered() { [ "$(said)" -gt "$1" ]; }
reload() { # a file from standard input; waits for the answer
    local before
    before=$(said)
    cat >"$tmp/c.conf"
    kill -HUP "$dbufd"
    wait_for 60 answered "$before"
}
last() { grep -E '^dbufd: (reloaded|not reloaded)' "$tmp/log" | tail -n 1 | grep -qE "$1"; }
conf() { # ADDRESS [CAPACITY]
    printf 'output_file_path = "%s";\nbuffer_capacity = "%s";\nstats_interval = "1h";
        output: { segment_size = "64MiB"; retain_size = "128MiB"; };\nmetrics: { listen = "%s"; };\n' \
        "$tmp/m.dbuf" "${2:-4MB}" "$1"
}
# each ADDRESS NAME: every kind of answer.
each() {
    check "$2: GET /metrics" test "$(metrics status "$1" /metrics)" = \
        '200 application/openmetrics-text; version=1.0.0; charset=utf-8'
    check "$2: HEAD /metrics" test "$(metrics status "$1" /metrics HEAD)" = \
        '200 application/openmetrics-text; version=1.0.0; charset=utf-8'
    check "$2: / names it" grep -q /metrics <(metrics get "$1" /)
    check "$2: what is not there" test "$(metrics status "$1" /metrics/)" = '404 text/plain'
    check "$2: a question is taken with it" test "$(metrics status "$1" '/metrics?a=b' | cut -d ' ' -f 1)" = 200
    check "$2: another method" test "$(metrics status "$1" /metrics DELETE)" = '405 text/plain'
}
strictly() { # NAME ADDRESS TIMES
    if [ -n "$strict" ]; then
        check "$1" metrics check "$2" "$3"
    else
        skip "$1" "python3-prometheus-client is not installed"
    fi
}

unix=unix:$tmp/m.sock
tcp=127.0.0.1:$(port)
tcp_6=[::1]:$(port)

# ---- What they say

conf "$unix" >"$tmp/c.conf"
start
check "its address is told" told "metrics at $unix"
check "the socket is for the user and the group" test "$(stat -c %a "$tmp/m.sock")" = 660
each "$unix" "unix"
strictly "under load: each answer is strict, closes its balance, and no counter falls" "$unix" 50
if [ -n "$strict" ]; then
    # Every figure of stats.def: a name of the metrics starts like the member.
    metrics figures "$unix" >"$tmp/names"
    unknown() {
        sed -nE 's/^(COUNTER|GAUGE)\(([a-z_]+),.*/\2/p' src/daemon/stats.def |
            sed 's/_usec$/_seconds/; s/_percent$/_ratio/; s/_per_sec$/_per_second/; s/^/dbufd_/' |
            grep -vxFf "$tmp/names"
    }
    check "every figure of the report is there" test -z "$(unknown)" -a -s "$tmp/names"
fi

# ---- Reloads, under load

conf "$tcp" | reload
check "reload: to TCP" last "reloaded: metrics.listen \"$unix\" -> \"$tcp\"\$"
check "reload: the socket is removed" test ! -e "$tmp/m.sock"
each "$tcp" "TCP"
conf "0.0.0.0:${tcp##*:}" | reload
check "reload: to the same port of all addresses" last 'reloaded: metrics.listen'
check "and it is said that anybody may read them" told "metrics at 0.0.0.0:${tcp##*:}, for whoever reaches"
check "reload: it is served" test "$(metrics status "$tcp" / | cut -d ' ' -f 1)" = 200
if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
    conf "$tcp_6" | reload
    check "reload: to IPv6" test "$(metrics status "$tcp_6" / | cut -d ' ' -f 1)" = 200
else
    skip "reload: to IPv6" "this machine has none"
fi
conf "$tcp" | reload
conf "unix:$tmp/none/m.sock" | reload
check "reload: an address that cannot be had is refused" last 'not reloaded.*metrics.listen cannot be'
check "reload: and the old one goes on" test "$(metrics status "$tcp" / | cut -d ' ' -f 1)" = 200
conf "somewhere:9471" | reload
check "reload: so is what is none" grep -q 'c.conf:[0-9]*: metrics.listen = "somewhere:9471": must be' "$tmp/log"
if [ -n "$strict" ]; then
    conf "$tcp" | reload
    $python "$here/metrics.py" check "$tcp" 100 >"$tmp/checked" 2>&1 &
    other=$!
    for n in 1 2 3 4 5 6; do conf "$tcp" $((n % 3 + 2))MB | reload; done
    wait $other
    check "no counter falls while reloads replace the buffer" test $? = 0
    sed 's/^/# /' "$tmp/checked"
    check "which they did" test "$(grep -c 'reloaded: buffer_capacity' "$tmp/log")" -ge 5
else
    skip "no counter falls while reloads replace the buffer" "python3-prometheus-client is not installed"
fi
conf "$unix" 5MB | reload
check "reload: another buffer and another address" last 'reloaded: buffer_capacity.*, metrics.listen'
check "reload: which is served" test "$(metrics status "$unix" / | cut -d ' ' -f 1)" = 200
refused() { ! metrics status "$1" /; }
conf "" | reload
check "reload: to nowhere" refused "$unix"
conf "$unix" | reload

# ---- Clients that are up to no good

check "hostile clients are ended, and a good one is served" metrics hostile "$unix"
descriptors() { find "/proc/$dbufd/fd" -mindepth 1 | wc -l; }
before=$(descriptors)
conf "$tcp" | reload
check "and over TCP" metrics hostile "$tcp"
$python "$here/metrics.py" hang "$tcp" 1000 >"$tmp/hanging" &
hanger=$!
wait_for 60 test -s "$tmp/hanging"
taken() { [ "$(descriptors)" -gt $((before + 8)) ]; }
check "connections that say nothing are taken ($(cat "$tmp/hanging"))" wait_for 60 taken
check "but not more than a few" test "$(descriptors)" -le $((before + 20))
kill -USR1 "$dbufd"
check "a signal is answered meanwhile" wait_for 60 told 'accepted [0-9]* = persisted'
conf "$unix" | reload
check "and a reload leaves them" test "$(metrics status "$unix" / | cut -d ' ' -f 1)" = 200
conf "$tcp" | reload
kill $hanger
wait $hanger 2>/dev/null
hanger=
check "when they are gone the next one is served" metrics status "$tcp" /metrics
gone() { [ "$(descriptors)" -le $((before + 1)) ]; }
check "and no descriptor is left" wait_for 60 gone
conf "$unix" | reload
$python "$here/metrics.py" hang "$unix" 30 >"$tmp/hanging" &
hanger=$!
wait_for 60 test -s "$tmp/hanging"
stop
check "with clients that hang it ends well" test $status = 0
check "and nothing is left in memory" told 'nothing left in memory'
check "the socket is removed" test ! -e "$tmp/m.sock"
check "the recording is whole" "$B/dbufctl" verify --random "$tmp/m.dbuf"
kill $hanger
wait $hanger 2>/dev/null
hanger=
rm -f "$tmp"/m.*

# ---- What is somebody else's

$python -c 'import socket, sys, time
s = socket.socket(); host, port = sys.argv[1].split(":")
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((host, int(port))); s.listen()
u = socket.socket(socket.AF_UNIX); u.bind(sys.argv[2]); u.listen()
print("there", flush=True)
time.sleep(1000)' "$tcp" "$tmp/m.sock" >"$tmp/there" &
other=$!
wait_for 60 test -s "$tmp/there"
conf "$tcp" >"$tmp/c.conf"
start
check "a port that somebody has: dbufd records" told 'writers .random'
check "and says that there are no metrics" told "no metrics at $tcp.*somebody else listens there"
conf "$unix" | reload
check "a socket that somebody has: a reload is refused" last 'not reloaded.*somebody else listens there'
conf "$tcp" | reload
kill -KILL $other
wait $other 2>/dev/null
other=
check "the socket is left as it is" test -S "$tmp/m.sock"
check "when the port is free, they are served by themselves" wait_for 60 told "^dbufd: metrics at $tcp"
check "over the port that was taken" test "$(metrics status "$tcp" / | cut -d ' ' -f 1)" = 200
conf "$unix" | reload
check "the socket of one that was killed is replaced" test "$(metrics status "$unix" / | cut -d ' ' -f 1)" = 200
conf "$tcp" | reload
echo "somebody's" >"$tmp/m.sock"
conf "$unix" | reload
check "another file is no socket" last 'not reloaded.*is no socket, and was left'
stop
check "and is left as it is" grep -q "somebody's" "$tmp/m.sock"
check "the recording is whole as well" "$B/dbufctl" verify --random "$tmp/m.dbuf"
tap_end
