#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGKILL at random moments, at work and in the start that recovers: everything that was published is in
# the files, once, in order, byte for byte. KILL_ROUNDS says how often (SOAK: 5000 times), KILL_SEED repeats a run.
. "${0%/*}/../tap.sh"
seed=${KILL_SEED:-$RANDOM$RANDOM}
echo "# KILL_SEED=$seed"
rounds=${KILL_ROUNDS:-${SOAK:+5000}}
mkdir "$tmp/k"
"${0%/*}/kill.py" "$B" "$tmp/k" "${rounds:-200}" "$seed"
