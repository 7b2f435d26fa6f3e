#!/bin/bash
# SPDX-License-Identifier: MIT
# The model of the double buffer's protocol: every interleaving of several small configurations, and a
# seeded mistake for each part of the protocol, all of which must be found. SOAK=1 explores
# larger configurations too, for some minutes.
. "${0%/*}/../tap.sh"
model=$(cd "${0%/*}" && pwd)/db.pml
source=$(cd "${0%/*}/../.." && pwd)/src/buffer/db.c
memory_mb=1000 # a run that would need more fails; the largest of make check takes about 200

if ! command -v spin >/dev/null; then
    not_ok "spin is not installed"
    tap_end
    exit
fi

# verifier FOLDER CFLAGS DEFINE...: makes FOLDER/pan.
verifier() {
    local folder=$1 cflags=$2
    shift 2
    mkdir -p "$folder"
    # shellcheck disable=SC2086 # one word a flag
    (cd "$folder" && spin -a "$@" "$model" && gcc -pipe -w $cflags -DCOLLAPSE -DMEMLIM=$memory_mb -o pan pan.c) \
        >"$folder/build.log" 2>&1 || { sed 's/^/# /' "$folder/build.log" && return 1; }
}

# explore NAME SAFETY|NP DEFINE...: must be explored to its end without an error.
explore() {
    local name=$1 kind=$2 folder="$B/model/explore$((tap_count + 1))" circles=''
    shift 2
    rm -rf "$folder"
    [ "$kind" = NP ] && circles=-l
    if ! verifier "$folder" "-O1 -D$kind" "$@"; then
        not_ok "$name: no verifier"
        return
    fi
    (cd "$folder" && ./pan $circles -m20000 -w21) >"$folder/log" 2>&1
    local states
    states=$(awk '/states, stored/ { print $1 }' "$folder/log")
    if grep -q 'errors: 0$' "$folder/log" &&
        ! grep -qE 'not completed|too small|out of memory|MEMLIM' "$folder/log"; then
        ok "$name: $states states, no error (spin -a $*)"
        sed -n '/^unreached in proctype/,$p' "$folder/log" | grep -oE '^unreached in proctype [a-z_]+|db.pml:[0-9]+, state [0-9]+, .*' |
            awk '/^unreached/ { process = $4; next } { sub(/, state [0-9]+/, ""); print process " " $0 }' |
            grep -v 'memory .*-end-' | sort -u >"$tmp/unreached.$tap_count"
    else
        not_ok "$name (spin -a $*; trail in $folder)"
        grep -E '^pan|^error|warning' "$folder/log" | sed 's/^/# /'
    fi
}

# mutant NAME: must be found. What it needs beyond the smallest configuration stands here.
mutant() {
    local name=$1 folder="$B/model/mutant" kind=SAFETY circles='' size=-DSTORES=1 killer
    case $name in
    REVOKE) kind=NP circles=-l size="-DROOM=1" ;;
    esac
    rm -rf "$folder"
    # shellcheck disable=SC2086 # one word a constant
    if ! verifier "$folder" "-O0 -D$kind" "-DMUTANT_$name" $size; then
        not_ok "mutant $name: no verifier"
        return
    fi
    (cd "$folder" && ./pan $circles -m20000 -w18) >"$folder/log" 2>&1
    killer=$(grep -m 1 -E '^pan:1: (assertion|invalid end|non-progress)' "$folder/log")
    if [ -n "$killer" ]; then
        ok "mutant $name: killed by ${killer#pan:1: }"
    else
        not_ok "mutant $name survives (spin -a -DMUTANT_$name $size)"
    fi
}

# ---- The model and the source are about the same protocol

python3 "${0%/*}/accesses.py" "$source" >"$tmp/in_source"
sed -n '/THE ORDERED ACCESSES/,/BY HAND/s/^ \*     //p' "$model" | grep -v '^spin' >"$tmp/in_model"
check "the ordered accesses are those of db.c" diff "$tmp/in_source" "$tmp/in_model"

labels() { grep -oE '\b[A-Z][0-9]\b' | sort -u | tr '\n' ' '; }
in_table=$(sed -n '/WHY IT IS ENOUGH/,/\*\//p' "$source" | grep -oE '^ \*   [A-Z][0-9]' | labels)
in_code=$(sed '1,/^ \*\/$/d' "$model" | labels)
check "each pair of db.c's table stands in the model's code, and no other ($in_code)" \
    test "$in_table" = "$in_code"

# ---- As it is

mkdir -p "$B/model"
explore "2 writers, 1 extent, 2 blocks each" SAFETY -DSTORES=2
explore "2 writers, 2 extents" SAFETY -DEXTENTS=2 -DROOM=1 -DSTORES=1
explore "2 writers, flushed, one block cancelled" SAFETY -DBLOCKS=1 -DFLUSHES=1 -DCANCELS=1 -DSTORES=1
explore "3 writers, 1 extent, without membarrier" SAFETY -DFENCED -DWRITERS=3 -DROOM=1 -DBLOCKS=1
explore "extents whose epoch comes again" SAFETY -DEPOCHS=4 -DWRITERS=1 -DEXTENTS=2 -DROOM=1 -DBLOCKS=6 -DFLUSHES=4
explore "nobody goes round in a circle" NP -DROOM=1 -DBLOCKS=1 -DFLUSHES=1 -DSTORES=1
if [ -n "${SOAK:-}" ]; then
    explore "1 writer, 8 stores on their way" SAFETY -DWRITERS=1 -DBLOCKS=3 -DFLUSHES=2 -DCANCELS=1 -DSTORES=8
    explore "3 writers, 1 extent" SAFETY -DWRITERS=3 -DROOM=1 -DBLOCKS=1 -DSTORES=1
    explore "2 writers, flushed, one block cancelled, 4 stores on their way" SAFETY -DFLUSHES=1 -DCANCELS=1 -DBLOCKS=1
    explore "2 writers, flushed, 8 stores on their way" SAFETY -DFLUSHES=1 -DSTORES=8
    explore "2 writers, 2 extents, 3 blocks each" SAFETY -DEXTENTS=2 -DROOM=1 -DBLOCKS=3 -DSTORES=2
    explore "3 writers without membarrier, flushed" SAFETY -DFENCED -DWRITERS=3 -DROOM=1 -DBLOCKS=1 -DFLUSHES=1
    explore "nobody goes round in a circle, 2 blocks each" NP -DFLUSHES=1 -DSTORES=2
fi

# What no run has reached: listed by each of them.
sort "$tmp"/unreached.* | uniq -c | awk -v runs="$(printf '%s\n' "$tmp"/unreached.* | wc -l)" '$1 == runs' >"$tmp/never"
check "each step of the model is taken in one of them" diff /dev/null "$tmp/never"

# ---- Each mutant

mutants=$(grep -oE 'MUTANT_[A-Z0-9_]+' "$model" | sort -u | sed 's/MUTANT_//')
for name in $mutants; do
    mutant "$name"
done
check "there are mutants ($(wc -w <<<"$mutants"))" test "$(wc -w <<<"$mutants")" -ge 20
tap_end
