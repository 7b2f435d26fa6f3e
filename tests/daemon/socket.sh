#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufd with senders at a unix socket and over UDP: every message of every sender comes out of dbufctl, in its
# order, also while the configuration changes and when dbufd stops.
. "${0%/*}/../tap.sh"
daemon='' sender=''
cleanup() {
    [ -z "$sender" ] || kill -KILL "$sender" 2>/dev/null
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null
}
senders() { tests/daemon/senders.py "$@"; }
conf() { # conf SOURCE [GENERAL]
    printf 'writer_count = 3;\nbuffer_capacity = "4MB";\noutput_file_path = "%s";\ncrash_buffer = "off";\n' "$out"
    printf 'stats_interval = "1h";\noutput: { segment_size = "0"; };\nsource: { %s };\n%s\n' "$1" "${2:-}"
}
start() { # start SOURCE: dbufd in the background
    rm -f "$out"
    conf "$@" >"$tmp/conf"
    : >"$tmp/log"
    "$B/dbufd" -c "$tmp/conf" 2>"$tmp/log" &
    daemon=$!
    wait_for 60 told 'writers [(]'
}
told() { test "$(grep -cE "$1" "$tmp/log")" -ge "${2:-1}"; }
stop() { # stop NAME
    kill -TERM $daemon
    local status=0
    wait $daemon || status=$?
    daemon=
    check "$1: it exits 0" test $status = 0
    check "$1: the recording is whole" "$B/dbufctl" verify "$out"
}
# What the senders say they have sent is what is there.
all_there() {
    "$B/dbufctl" cat --json "$out" >"$tmp/blocks" && senders check "$tmp/blocks" >"$tmp/found" &&
        diff "$tmp/sent" "$tmp/found"
}
out=$tmp/s.dbuf socket=$tmp/in.sock

# ---- Many senders at once, each framing

for framing in lines octet-counted u32; do
    start "type = \"unix\"; path = \"$socket\"; framing = \"$framing\";"
    check "$framing: the socket is for owner and group" test "$(stat -c '%a %F' "$socket")" = "660 socket"
    check "$framing: twenty senders end well" sh -c "tests/daemon/senders.py unix $framing $socket 20 200 >$tmp/sent"
    stop "$framing"
    check "$framing: every message is there" all_there
done
check "the socket stays" test -S "$socket"

# ---- A socket that another dbufd has

start "type = \"unix\"; path = \"$socket\"; framing = \"lines\";"
two() { # [OPTION]...
    "$B/dbufd" -c /dev/null -o output_file_path="$tmp/two.dbuf" -o output.segment_size=0 -o crash_buffer=off "$@" \
        2>"$tmp/log.two"
}
status=0
two -o source.type=unix -o source.path="$socket" || status=$?
check "a second dbufd at the socket is refused" test $status = 66
check "and it says what to do" grep -q "another dbufd, receives there: stop that one" "$tmp/log.two"
check "the stream that it had begun is whole" "$B/dbufctl" verify "$tmp/two.dbuf"
two -o source.limit=1MB
check "its next start has nothing to warn of" sh -c "! grep -E 'without closing|may be missing' $tmp/log.two"
senders unix lines "$socket" 3 100 >"$tmp/sent"
stop "the first"
check "the first has not been disturbed" all_there

start "type = \"unix\"; path = \"$tmp/in.%w\"; framing = \"u32\";"
check "%w: each writer has a socket" test -S "$tmp/in.0" -a -S "$tmp/in.1" -a -S "$tmp/in.2"
senders unix u32 "$tmp/in.1" 3 100 >"$tmp/sent"
stop "%w"
check "%w: every message is there" all_there
check "%w: and the writer's of the socket" test "$("$B/dbufctl" cat --json --writer 1 "$out" | wc -l)" = 300

start "type = \"unix\"; path = \"$socket\";"
python3 - "$socket" "$0" <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(open(sys.argv[2], "rb").read())
END
stop "none"
check "none: the same bytes come back" cmp <("$B/dbufctl" cat "$out") "$0"

# ---- What is at the path

start "type = \"unix\"; path = \"$socket\"; framing = \"lines\";"
check "a socket that another dbufd has is refused" sh -c "! $B/dbufd -c $tmp/conf -o output_file_path=$tmp/other.dbuf 2>$tmp/other"
check "with what to do" grep -q 'another dbufd, receives there' "$tmp/other"
kill -KILL $daemon
wait $daemon 2>/dev/null
start "type = \"unix\"; path = \"$socket\"; framing = \"lines\";"
senders unix lines "$socket" 2 100 >"$tmp/sent"
stop "after a kill"
check "after a kill: the socket is replaced" all_there
echo precious >"$tmp/file"
conf "type = \"unix\"; path = \"$tmp/file\";" >"$tmp/conf"
check "a file is refused" sh -c "! $B/dbufd -c $tmp/conf --check 2>$tmp/other && grep -q 'will not be replaced' $tmp/other"
check "and left" grep -q precious "$tmp/file"

# ---- Senders that go wrong

start "type = \"unix\"; path = \"$socket\"; framing = \"octet-counted\";"
python3 - "$socket" <<'END'
import socket, sys
def send(data):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(data)
    return s
held = send(b"4 good" + b"no count")
while held.recv(1):
    pass
send(b"9 half").close()
END
check "a wrong count is told" wait_for 60 told 'has no count of source.framing "octet-counted"'
check "and a frame cut short" wait_for 60 told 'a frame was cut short'
senders unix octet-counted "$socket" 2 100 >/dev/null
stop "wrong senders"
check "what came before the wrong count is kept" grep -q '"length":4,"flags":0,"data":"good"' <("$B/dbufctl" cat --json "$out")
check "what came of the frame is kept, marked as cut" grep -q '"length":4,"flags":2,"data":"half"' <("$B/dbufctl" cat --json "$out")
check "the other senders go on" test "$("$B/dbufctl" cat --json "$out" | wc -l)" = 202

# What is told may have to wait for whoever reads it; a block must not be open meanwhile, or the reader
# would wait too, and the other writers for it.
check "a message that nobody reads holds up one writer alone" python3 - "$B" "$tmp" <<'END'
import fcntl, os, signal, socket, subprocess, sys, time
build, folder = sys.argv[1:]
output, sockets = folder + "/held.dbuf", folder + "/held.%w"
reading, writing = os.pipe()
options = ["writer_count=2", "source.type=unix", "source.framing=u32", "source.path=" + sockets, "crash_buffer=off",
           "output_file_path=" + output, "output.segment_size=0", "output.flush_interval=10ms", "stats_interval=1h"]
dbufd = subprocess.Popen([build + "/dbufd", "-c", "/dev/null", *sum((["-o", o] for o in options), [])], stderr=writing)

def wait_until(condition, what):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    dbufd.kill()
    sys.exit("no " + what)

def connect(writer):
    s = socket.socket(socket.AF_UNIX)
    wait_until(lambda: s.connect_ex(sockets.replace("%w", writer)) == 0, "socket")
    return s

def frame(text):
    return len(text).to_bytes(4, "little") + text

def stored(text):
    said = subprocess.run([build + "/dbufctl", "cat", output], capture_output=True)
    return text in said.stdout

bad, good, other = connect("0"), connect("0"), connect("1")
good.sendall(frame(b"good is heard"))
bad.sendall(frame(b"bad is heard"))
other.sendall(frame(b"other is heard"))
wait_until(lambda: all(stored(who + b" is heard") for who in (b"good", b"bad", b"other")), "senders")

# Both in one turn, so that what is to be told and a block come together; with nobody to read it.
fcntl.fcntl(writing, fcntl.F_SETFL, os.O_NONBLOCK)
for size in (4096, 1):
    try:
        while True:
            os.write(writing, b"x" * size)
    except BlockingIOError:
        pass
fcntl.fcntl(writing, fcntl.F_SETFL, 0)
dbufd.send_signal(signal.SIGSTOP)
bad.sendall(b"\xff\xff\xff\xff")
good.sendall(frame(b"good goes on"))
dbufd.send_signal(signal.SIGCONT)
time.sleep(0.2)
other.sendall(frame(b"other goes on"))
wait_until(lambda: stored(b"other goes on"), "block of the other writer")

os.set_blocking(writing, True)
os.close(writing)
reader = subprocess.Popen(["cat"], stdin=reading, stdout=subprocess.DEVNULL)
wait_until(lambda: stored(b"good goes on"), "block of the held writer")
dbufd.terminate()
sys.exit(dbufd.wait() or reader.wait())
END

printf '3 onetwo' >"$tmp/pipe"
check "a pipe with a wrong count is broken" sh -c "! $B/dbufd -c /dev/null -o source.type=pipe -o source.path=- \
    -o source.framing=octet-counted -o writer_count=1 -o output_file_path=$tmp/p.dbuf -o output.segment_size=0 <$tmp/pipe 2>$tmp/other"
check "and says so" grep -q 'where a frame begins there is no count of source.framing' "$tmp/other"
check "what came before is kept" test "$("$B/dbufctl" cat "$tmp/p.dbuf")" = one

# ---- Stop and reload while senders send

begin_senders() { # begin_senders FRAMING: eight of them, until dbufd closes their connections
    senders unix "$1" "$socket" 8 0 >"$tmp/sent" &
    sender=$!
    wait_for 60 grew 1000000
}
grew() { # by a report that is asked for
    kill -USR1 $daemon
    sleep 0.05
    test "$(sed -nE 's/.* accepted ([0-9]+) = .*/\1/p' "$tmp/log" | tail -n 1)" -gt "$1"
}
for framing in lines octet-counted u32; do
    start "type = \"unix\"; path = \"$socket\"; framing = \"$framing\";"
    begin_senders $framing
    stop "stop, $framing"
    wait $sender
    check "stop, $framing: all that was sent is there" all_there
done

reload() { # reload SOURCE [GENERAL]
    local answers
    answers=$(grep -cE '^dbufd: (not )?reloaded' "$tmp/log")
    conf "$@" >"$tmp/conf"
    kill -HUP $daemon
    wait_for 120 told '^dbufd: (not )?reloaded' $((answers + 1))
}
start "type = \"unix\"; path = \"$socket\"; framing = \"u32\";"
begin_senders u32
for change in 'buffer_capacity = "8MB";' 'writer_count = 6;' 'cpus: { writers = "none"; };'; do
    conf "type = \"unix\"; path = \"$socket\"; framing = \"u32\";" "$change" >"$tmp/new"
    key=${change%% *}
    case $change in cpus*) ;; *) sed -i "0,/^$key/ { /^$key/d; }" "$tmp/new" ;; esac
    before=$(grep -c '^dbufd: reloaded' "$tmp/log")
    cp "$tmp/new" "$tmp/conf"
    kill -HUP $daemon
    check "reload: $change" wait_for 120 told '^dbufd: reloaded' $((before + 1))
done
senders unix u32 "$socket" 0 0
stop "reload"
wait $sender
check "reload: all that was sent is there" all_there

start "type = \"unix\"; path = \"$socket\"; framing = \"u32\";"
begin_senders u32
check "sources anew: reload" reload "type = \"unix\"; path = \"$socket\"; framing = \"u32\"; max_block = 5000;"
wait $sender
sender=
cp "$tmp/sent" "$tmp/sent-before"
check "sources anew: it took the socket on" told '^dbufd: reloaded'
senders unix u32 "$socket" 1 10 >/dev/null
stop "sources anew"
check "sources anew: all that was sent before is there" sh -c "
    $B/dbufctl cat --json $out | head -n -10 >$tmp/blocks; tests/daemon/senders.py check $tmp/blocks | diff $tmp/sent-before -"

# ---- UDP

# No other test of this machine has it now, or this one says so.
port=$((20000 + RANDOM % 10000))
for address in 127.0.0.1 ::1; do
    at=$address:$port
    [ $address = ::1 ] && at="[::1]:$port"
    if [ $address = ::1 ] && ! [ -e /proc/net/if_inet6 ]; then
        skip "udp at ::1" "there is no IPv6 here"
        continue
    fi
    start "type = \"udp\"; address = \"$at\";"
    check "udp at $at: the size of the receive buffer is told" told 'has a receive buffer of'
    for batch in 1 2 3 4 5; do
        senders udp $address $port 5 20 >"$tmp/batch"
        cat "$tmp/batch" >>"$tmp/all.$address"
    done
    check "udp at $at: another dbufd is refused" sh -c "! $B/dbufd -c $tmp/conf -o output_file_path=$tmp/other.dbuf 2>/dev/null"
    stop "udp at $at"
    check "udp at $at: every datagram is there" test "$("$B/dbufctl" cat --json "$out" | wc -l)" = 500
done

start "type = \"udp\"; address = \"127.0.0.1:$port\"; max_block = 100;"
python3 - $port <<'END'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.1", int(sys.argv[1])))
for data in b"a" * 100, b"b" * 101, b"":
    s.send(data)
END
stop "udp, long"
lengths() { "$B/dbufctl" cat --json "$out" | sed -E 's/.*"length":([0-9]+),"flags":([0-9]+).*/\1 \2/' | tr '\n' ' '; }
check "udp, long: it is cut and marked" test "$(lengths)" = "100 0 100 2 0 0 "

# Held by its rate, it takes one datagram a while: the rest has to find room, or is dropped and counted.
start "type = \"udp\"; address = \"127.0.0.1:$port\"; rate = \"3kB\";" 'debug_mode = true;'
python3 - $port <<'END'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.1", int(sys.argv[1])))
for i in range(60000):
    s.send(b"x" * 1400)
END
stop "udp, flood"
taken=$("$B/dbufctl" cat --json "$out" | wc -l)
dropped=$(sed -nE 's/.*; ([0-9]+) datagrams dropped by the kernel before.*/\1/p' "$tmp/log" | tail -n 1)
check "udp, flood: taken and dropped are what was sent ($taken + ${dropped:-0})" test $((taken + ${dropped:-0})) = 60000
check "udp, flood: and it is told" told 'the kernel dropped [0-9]+ datagrams'
tap_end
