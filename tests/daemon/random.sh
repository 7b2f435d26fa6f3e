#!/bin/bash
# SPDX-License-Identifier: MIT
# Random data, by few and many writers, through small and large buffers: verify proves each, byte by
# byte. RANDOM_LIMIT says how much each case records.
. "${0%/*}/../tap.sh"
limit=${RANDOM_LIMIT:-200MB}

for writers in 1 4 16 64; do
    for capacity in 1MB 100MB 1GB; do
        record() {
            "$B/dbufd" -c /dev/null -o writer_count=$writers -o buffer_capacity=$capacity \
                -o source.limit=$limit -o source.seed=7 -o output.segment_size=128MiB \
                -o output_file_path="$tmp/r.dbuf"
        }
        check "$writers writers, $capacity: recorded" record
        check "$writers writers, $capacity: proven" "$B/dbufctl" verify --random "$tmp/r.dbuf"
        rm -f "$tmp"/r.*
    done
done

# The same seed gives the same blocks, whatever the threads do.
content() { # WRITERS CAPACITY
    rm -f "$tmp"/c.*
    "$B/dbufd" -c /dev/null -o writer_count="$1" -o buffer_capacity="$2" -o source.limit=20MB \
        -o source.seed=9 -o output_file_path="$tmp/c.dbuf" 2>/dev/null
    for writer in 0 1; do "$B/dbufctl" cat --writer $writer "$tmp/c.dbuf"; done | sha256sum
}
first=$(content 2 1MB)
check "the same seed gives the same bytes" test "$first" = "$(content 2 100MB)"
tap_end
