#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGTERM and SIGINT at random moments: every published block is stored, exit 0. The seed can be
# given back by STOP_SEED.
. "${0%/*}/../tap.sh"
RANDOM=${STOP_SEED:=$$}
echo "# STOP_SEED=$STOP_SEED"

for round in $(seq "${STOP_ROUNDS:-20}"); do
    signal=TERM
    [ $((round % 3)) = 0 ] && signal=INT
    writers=$((1 << RANDOM % 6))
    durability=$(set -- none interval half && shift $((RANDOM % 3)) && echo "$1")
    rm -f "$tmp"/s.*
    "$B/dbufd" -c /dev/null -o writer_count=$writers -o buffer_capacity=$((RANDOM % 8 + 1))MB \
        -o output.durability="$durability" -o output.segment_size=64MiB \
        -o output_file_path="$tmp/s.dbuf" 2>"$tmp/log" &
    dbufd=$!
    wait_for 10 test -e "$tmp/s.000001.dbuf"
    sleep 0.$((RANDOM % 4))$((RANDOM % 10))
    kill -$signal $dbufd
    wait $dbufd
    status=$?
    whole() {
        test $status = 0 && "$B/dbufctl" verify --random "$tmp/s.dbuf" &&
            grep -q 'nothing left in memory' "$tmp/log"
    }
    check "SIG$signal, $writers writers, durability $durability: nothing lost" whole
done

# The stream goes on where it ended.
more() {
    "$B/dbufd" -c /dev/null -o output.segment_size=64MiB -o source.limit=10MB \
        -o output_file_path="$tmp/s.dbuf" && "$B/dbufctl" verify --random "$tmp/s.dbuf"
}
check "started again, the stream goes on and is proven as a whole" more
tap_end
