#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGKILL at random moments, at work and in the start that recovers: everything that was published is in
# the files, once, in order, byte for byte. KILL_ROUNDS says how often, KILL_SEED repeats a run.
. "${0%/*}/../tap.sh"
seed=${KILL_SEED:-$RANDOM$RANDOM}
echo "# KILL_SEED=$seed"
exec 3>&1
mkdir "$tmp/k"
"${0%/*}/kill.py" "$B" "$tmp/k" "${KILL_ROUNDS:-200}" "$seed"
