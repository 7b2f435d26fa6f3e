#!/bin/bash
# SPDX-License-Identifier: MIT
# The source has one form, that of .clang-format, and no file is there that nobody knows of.
. "${0%/*}/../tap.sh"
if ! git rev-parse --git-dir >/dev/null 2>&1; then
    skip "the source has its form" "this is no clone"
    tap_end
    exit
fi
if command -v clang-format-14 >/dev/null; then
    formed() { git ls-files '*.[ch]' | xargs clang-format-14 --dry-run -Werror; }
    check "the source has the form that .clang-format gives it" formed
else
    skip "the source has the form that .clang-format gives it" "clang-format-14 is not installed"
fi
check "the top level has what the README names, and no more" diff - <(git ls-files | cut -d / -f 1 | LC_ALL=C sort -u) <<'END'
.ci
.clang-format
.editorconfig
.gitignore
CHANGELOG.md
LICENSE
Makefile
README.md
etc
man
src
systemd
tests
END
tap_end
