#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual pages are clean, and say what the programs say.
. "${0%/*}/../tap.sh"
mkdir -p "$tmp/man"
for page in man/*.[1-8]; do
    mkdir -p "$tmp/man/man${page##*.}"
    cp "$page" "$tmp/man/man${page##*.}/"
done
for page in man/*.[1-8]; do
    # Our own pages refer to each other before they are installed.
    clean() { ! mandoc -Tlint -W style "$1" | grep -v 'referenced manual not found\|outdated mandoc.db' | grep .; }
    check "${page#man/} is clean" clean "$page"
done
for option in $("$B/dbufd" --help | grep -oE -- '--[a-z-]+' | sort -u); do
    check "dbufd.8 has $option" grep -qE -- "(Fl|,) -${option#--}( |\$)" man/dbufd.8
done
for command in $("$B/dbufctl" help | sed -n 's/^  \([a-z]*\) .*/\1/p' | sort -u); do
    check "dbufctl.1 has $command" grep -qE "(Cm|Fl) -?$command" man/dbufctl.1
done
tap_end
