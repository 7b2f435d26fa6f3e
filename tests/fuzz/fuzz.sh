#!/bin/bash
# SPDX-License-Identifier: MIT
# Every parser against inputs that a fuzzer makes: a few seconds each; with SOAK=1 an hour in all.
if ! command -v clang >/dev/null; then
    echo "ok 1 - fuzzers # SKIP clang is not installed"
    exit 0
fi
exec "${0%/*}/run" "$([ -n "${SOAK:-}" ] && echo 900 || echo 5)"
