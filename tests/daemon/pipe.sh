#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufd on pipes: what goes in comes out of dbufctl, byte for byte.
. "${0%/*}/../tap.sh"
: "${B:=build}"
daemon=
cleanup() { [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null; }

# record STREAM [OPTION...]: dbufd on a pipe, in the foreground; what it says goes to STREAM.log,
# and is shown when it fails.
record() {
    local stream=$1 status=0
    shift
    "$B/dbufd" -c "$tmp/conf" -o "output_file_path=$stream" "$@" 2>"$stream.log" || status=$?
    [ "$status" = 0 ] || cat "$stream.log"
    return $status
}
# start: the same in the background, as $daemon. ended NAME: waits for it and judges its status.
start() {
    local stream=$1
    shift
    log=$stream.log
    "$B/dbufd" -c "$tmp/conf" -o "output_file_path=$stream" "$@" 2>"$log" &
    daemon=$!
}
ended() {
    local status=0
    wait "$daemon" || status=$?
    daemon=
    check "$1" sh -c '[ "$1" = 0 ] || { echo "status $1"; cat "$2"; exit 1; }' - "$status" "$log"
}
# send FIFO: standard input into it; gives up when nobody reads there.
send() { timeout 120 dd "of=$1" bs=64k iflag=fullblock status=none; }
# What the pipe tests have in common; -o overrides it.
cat >"$tmp/conf" <<'CONF'
buffer_capacity = "4MB";
writer_count = 1;
source: { type = "pipe"; path = "-"; };
output: { segment_size = "0"; };
CONF

gives_back() { # gives_back FILE STREAM [OPTION...]: verify says whole, and cat gives the file
    local file=$1 stream=$2
    shift 2
    "$B/dbufctl" verify "$stream" && "$B/dbufctl" cat "$@" "$stream" | cmp - "$file"
}
# round_trip NAME FILE [OPTION...]: through standard input and back.
round_trip() {
    local name=$1 file=$2 stream=$tmp/round.dbuf
    shift 2
    rm -f "$stream"
    check "$name: at the end of file it exits 0" record "$stream" "$@" <"$file"
    check "$name: the same bytes come back" gives_back "$file" "$stream"
}

# ---- The example of the manual
tree=/usr/include
tar c -C / "${tree#/}" >"$tmp/tree.tar" 2>/dev/null
tar c -C / "${tree#/}" 2>/dev/null | record "$tmp/tar.dbuf"
check "tar through a pipe: it exits 0" test "${PIPESTATUS[*]}" = "0 0"
check "tar through a pipe: verify says whole" "$B/dbufctl" verify "$tmp/tar.dbuf"
check "tar through a pipe: cat gives the tar" gives_back "$tmp/tree.tar" "$tmp/tar.dbuf"
round_trip "with rotation" "$tmp/tree.tar" -o output.segment_size=8MiB
rm -f "$tmp"/*.dbuf

# ---- Kinds of input
: >"$tmp/empty"
round_trip "nothing" "$tmp/empty"
round_trip "a file in blocks of one byte" "$0" -o source.max_block=1
head -c 3000000 /dev/urandom >"$tmp/noise"
round_trip "noise" "$tmp/noise" -o source.max_block=65536

# ---- Lines
round_trip "lines" "$0" -o source.framing=lines
round_trip "noise as lines" "$tmp/noise" -o source.framing=lines
round_trip "nothing as lines" "$tmp/empty" -o source.framing=lines
printf '\n\n\nno newline at the end' >"$tmp/short"
round_trip "empty lines" "$tmp/short" -o source.framing=lines
{
    tr '\0\n' '11' </dev/zero | head -c 100000 # one line of 100000 bytes, ten times as long as a block
    printf '\nshort\n'
    head -c 10000 /dev/zero # a line of exactly one block is not cut
    printf '\n'
} >"$tmp/long"
round_trip "long lines" "$tmp/long" -o source.framing=lines -o source.max_block=10000

# ---- One FIFO a writer
lines_of() { # lines_of WRITER: what this writer's sender sends
    seq -f "writer $1, line %.0f" $((20000 * ($1 + 1)))
}
start "$tmp/three.dbuf" -o writer_count=3 -o "source.path=$tmp/fifo.%w" -o source.framing=lines
check "the FIFOs are made" wait_for 60 test -p "$tmp/fifo.0" -a -p "$tmp/fifo.1" -a -p "$tmp/fifo.2"
senders=()
for writer in 0 1 2; do
    lines_of $writer | send "$tmp/fifo.$writer" &
    senders+=($!)
done
wait "${senders[@]}"
ended "three senders: at the end of all it exits 0"
check "three senders: verify says whole" "$B/dbufctl" verify "$tmp/three.dbuf"
writer_gives_back() {
    lines_of "$1" | cmp - <("$B/dbufctl" cat --writer "$1" "$tmp/three.dbuf")
}
for writer in 0 1 2; do
    check "three senders: writer $writer has the lines of its own FIFO" writer_gives_back $writer
done
two_writers_on_one_pipe() {
    record "$tmp/two.dbuf" -o writer_count=2 </dev/null
    [ $? = 78 ] && grep -q 'writer_count' "$tmp/two.dbuf.log" && [ ! -e "$tmp/two.dbuf" ]
}
check "two writers on one pipe are refused, with the reason" two_writers_on_one_pipe

# ---- Data that comes slowly
start "$tmp/slow.dbuf" -o "source.path=$tmp/slow" -o output.flush_interval=100ms
check "slow: the FIFO is made" wait_for 60 test -p "$tmp/slow"
exec 9<>"$tmp/slow" # for reading too: so it does not wait for a reader
on_disk() { [ "$("$B/dbufctl" cat "$tmp/slow.dbuf")" = "$1" ]; }
printf 'first' >&9
check "slow: it is on disk while the sender is silent" wait_for 60 on_disk first
printf ' second' >&9
check "slow: and so is what comes next" wait_for 60 on_disk "first second"
exec 9>&-
ended "slow: when the sender goes it exits 0"
printf 'first second' >"$tmp/said"
check "slow: nothing is missing" gives_back "$tmp/said" "$tmp/slow.dbuf"

# ---- SIGTERM while the sender has more
stored() { [ "$("$B/dbufctl" cat "$tmp/term.dbuf" 2>/dev/null | wc -c)" -ge "$1" ]; }
a_beginning_of_seq() {
    "$B/dbufctl" verify "$tmp/term.dbuf" && "$B/dbufctl" cat "$tmp/term.dbuf" >"$tmp/got" &&
        [ -s "$tmp/got" ] && seq 1 1000000000 2>/dev/null | head -c "$(stat -c %s "$tmp/got")" |
        cmp - "$tmp/got"
}
echo "# RANDOM=${RANDOM_SEED:=$RANDOM}"
RANDOM=$RANDOM_SEED
for framing in none lines none lines; do
    rm -f "$tmp"/term*
    bytes=$((RANDOM * 256))
    name="SIGTERM after $bytes bytes, framing $framing"
    start "$tmp/term.dbuf" -o "source.path=$tmp/term" -o source.framing=$framing
    wait_for 60 test -p "$tmp/term"
    seq 1 1000000000 2>/dev/null | send "$tmp/term" &
    sender=$!
    check "$name: it comes so far" wait_for 60 stored $bytes
    kill -TERM $daemon
    ended "$name: it exits 0"
    wait $sender
    check "$name: what is stored is whole" a_beginning_of_seq
done

tap_end
