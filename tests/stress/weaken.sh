#!/bin/bash
# SPDX-License-Identifier: MIT
# Every ordered access of db.c, weakened to relaxed in a copy, one at a time: each must be caught, by
# ThreadSanitizer in a run of the stress and observer tests, or, where it takes the processor's own
# store buffer to show (the pairs of the Dekker kind), by a mutant of the model that says
# "weakens <label>". An order that nothing catches has no reason to be there.
. "${0%/*}/../tap.sh"
case $B in
*/*)
    skip "each memory order is needed" "it makes sanitized builds of its own, from the plain run"
    tap_end
    exit
    ;;
esac
flags="-std=c11 -D_GNU_SOURCE -O1 -g -w -pthread -fsanitize=thread -fno-strict-aliasing"
cp -r src tests "$tmp/"
cd "$tmp" || exit 1
original=$(cat src/buffer/db.c)
gcc $flags -c -o region.o src/buffer/region.c
gcc $flags -c -o geometry.o src/buffer/geometry.c
gcc $flags -c -o db_open.o src/buffer/db_open.c
gcc $flags -c -o wait.o src/buffer/wait.c
gcc $flags -c -o random.o src/source/random.c
gcc $flags -c -o stress.o tests/stress/test_stress.c

# Builds and runs with the db.c of now; fails if anything is found.
runs_clean() {
    gcc $flags -o stress stress.o src/buffer/db.c db_open.o wait.o region.o geometry.o random.o -lcmocka &&
        gcc $flags -o observer tests/stress/test_observer.c db_open.o wait.o region.o geometry.o random.o -lcmocka &&
        TSAN_OPTIONS=halt_on_error=1 STRESS_BLOCKS=40000 timeout 60 ./observer &&
        TSAN_OPTIONS=halt_on_error=1 STRESS_BLOCKS=12000 STRESS_SEED=5 timeout 60 ./stress
}
check "as it is, nothing is found" runs_clean

# A line's label stands in the comment at its end, or at the end of its statement's last line.
grep -nE 'memory_order_(seq_cst|release|acquire)' src/buffer/db.c |
    grep -v 'signal_fence' | cut -d: -f1 >lines
for line in $(cat lines); do
    labels=$(sed -n "$line,$((line + 1))p" src/buffer/db.c | grep -oE '/\*( [A-Z][0-9])+' | head -n 1 |
        grep -oE '[A-Z][0-9]' | tr '\n' ' ')
    function=$(awk -v line="$line" 'NR > line { exit } /^[a-z].*\(/ { name = $0 } END { print name }' \
        src/buffer/db.c | grep -oE '[a-z_]+\(' | head -n 1 | tr -d '(')
    name="$function, $(sed -n "${line}p" src/buffer/db.c | grep -oE 'atomic_[a-z_]*' | head -n 1) at line $line ($labels)"
    if [ -z "$labels" ]; then
        not_ok "$name has no label"
        continue
    fi
    sed -i -E "${line}s/memory_order_(seq_cst|release|acquire)/memory_order_relaxed/" src/buffer/db.c
    if ! runs_clean >log 2>&1; then
        ok "$name: caught by running it"
    else
        found=
        for label in $labels; do
            grep -q "weakens $label" tests/model/db.pml && found="$found $label"
        done
        if [ -n "$found" ]; then
            ok "$name: caught by the model ($found)"
        else
            not_ok "$name: weakened, and nothing catches it"
        fi
    fi
    printf '%s\n' "$original" >src/buffer/db.c
done
tap_end
