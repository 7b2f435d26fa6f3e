#!/bin/bash
# SPDX-License-Identifier: MIT
# The README's commands that need no installation, run as they stand there, but for `make run` and
# `make check` themselves: the first has a line of its own here, the second is running now.
. "${0%/*}/../tap.sh"
sed -n '/^```sh$/,/^```$/p' README.md | grep '^tar\|^build/' >"$tmp/commands"
check "there are commands to run ($(wc -l <"$tmp/commands"))" test "$(wc -l <"$tmp/commands")" -ge 4
rm -f build/t.*dbuf*
while read -r command; do
    run() { bash -o pipefail -c "${command//build\/dbuf/$B/dbuf}"; }
    check "$command" run
done <"$tmp/commands"
rm -f build/t.*dbuf*
for name in $(git ls-tree --name-only HEAD 2>/dev/null || ls); do
    case $name in
    Makefile | README.md | LICENSE | CHANGELOG.md | src | etc | systemd | man | tests | .*) ;;
    build) ;;
    *) not_ok "$name does not belong at the top level" ;;
    esac
done
check "the demonstration records and verifies" tests/demo "$B"
tap_end
