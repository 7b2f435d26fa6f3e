#!/bin/bash
# SPDX-License-Identifier: MIT
# A system that has no thread to give during a reload: whichever it is that cannot be had, the reload is
# refused, the recording goes on, and what its pipes have read and not given out yet is not lost.
. "${0%/*}/../tap.sh"
dbufd=
cleanup() { [ -z "$dbufd" ] || kill -KILL "$dbufd" 2>/dev/null; }
answers() { grep -cE '^dbufd: (reloaded|not reloaded)' "$tmp/log"; }
answered() { test "$(answers)" -gt "$1"; }
last() { grep -E '^dbufd: (reloaded|not reloaded)' "$tmp/log" | tail -n 1 | grep -E "$1"; }
conf() { # CAPACITY
    cat >"$tmp/c.conf" <<CONF
output_file_path = "$tmp/t.dbuf"; writer_count = 2; buffer_capacity = "$1"; stats_interval = "1h";
source: { type = "pipe"; framing = "lines"; path = "$tmp/in%w"; };
CONF
}
traced() { ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$dbufd/status"; }
# without_thread N: a reload in which the N-th thread that one of ours asks for cannot be had.
without_thread() {
    local before
    before=$(answers)
    strace -f -qq -o /dev/null -e trace=clone3,clone -e "inject=clone3,clone:error=EAGAIN:when=$1" -p "$dbufd" &
    local tracer=$!
    wait_for 20 traced || return 1
    kill -HUP "$dbufd"
    wait_for 60 answered "$before"
    kill "$tracer"
    wait "$tracer" 2>/dev/null
    ! traced
}

mkfifo "$tmp/in0" "$tmp/in1"
conf 1MB
: >"$tmp/log"
"$B/dbufd" -c "$tmp/c.conf" 2>"$tmp/log" &
dbufd=$!
wait_for 20 grep -q 'writers* (' "$tmp/log"
exec 5>"$tmp/in0" 6>"$tmp/in1"
printf 'one\ntw' >&5
printf 'four\nfi' >&6
staged() { test "$("$B/dbufctl" cat "$tmp/t.dbuf" 2>/dev/null | sort | tr '\n' ,)" = four,one,; }
wait_for 20 staged
conf 2MB
if ! without_thread 1; then
    skip "a reload without threads" "no strace here, or it may not attach"
    tap_end
    exit
fi
check "the first thread cannot be had: refused, with what would help" last 'not reloaded.*TasksMax'
for n in 2 3; do
    check "thread $n cannot be had" without_thread $n
    check "that is refused, too" last 'not reloaded.*TasksMax'
done
check "all of them can be had" without_thread 9
check "then it is taken over" last 'reloaded: buffer_capacity'
check "the writers are there" test "$(cat /proc/$dbufd/task/*/comm | grep -c '^writer-')" = 2
printf 'o\nthree\n' >&5
printf 've\n' >&6
exec 5>&- 6>&-
wait $dbufd
status=$?
dbufd=
check "it ends well with its sources" test $status = 0
check "what was read before, and not yet a line, has become one" \
    test "$("$B/dbufctl" cat "$tmp/t.dbuf" | sort | tr '\n' ,)" = five,four,one,three,two,
check "the stream is whole" "$B/dbufctl" verify "$tmp/t.dbuf"
tap_end
