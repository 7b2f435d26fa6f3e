#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufd.conf(5) says of every key what a change of it needs, as the code has it.
. "${0%/*}/../tap.sh"
# One line a key: the key, then what it needs.
sed -nE 's/^(BOOL|COUNT|SIZE|TIME|TEXT|CHOICE|CPUS) *\(([a-z_]+), "([a-z_.]+)",.*/\2 \3/p' src/daemon/options.def >"$tmp/keys"
sed -nE 's/^    \[OPTION_([a-z_]+)\] = ([A-Z_ |]+),$/\1 \2/p' src/daemon/config_change.c >"$tmp/needs"
while read -r field key; do
    needs=$(sed -n "s/^$field //p" "$tmp/needs")
    case ${needs:-NEEDS_RESTART} in
    *OUTPUT*) echo "$key output" ;;
    *BUFFER*) echo "$key buffer" ;;
    *SOURCES*) echo "$key sources" ;;
    *PAUSE*) echo "$key pause" ;;
    *SETTING*) echo "$key set" ;;
    *) echo "$key restart" ;;
    esac
done <"$tmp/keys" | sort >"$tmp/code"
# The lists of the section, in its order.
awk '/^\.Sh/ { on = $2 == "RELOAD" }
    on && /^\.Bl -item/ { list++; inside = 1 }
    /^\.El/ { inside = 0 }
    on && inside && /^\.Cm/ { gsub(/[.]Cm|,/, ""); for (i = 1; i <= NF; i++) print list, $i }' man/dbufd.conf.5 |
    sed 's/^1 \(.*\)/\1 set/; s/^2 \(.*\)/\1 pause/; s/^3 \(.*\)/\1 sources/; s/^4 \(.*\)/\1 buffer/
        s/^5 \(.*\)/\1 output/; s/^6 \(.*\)/\1 restart/' | sort >"$tmp/page"
check "dbufd.conf.5 says of every key what a reload does" diff "$tmp/code" "$tmp/page"
check "there are keys to say something of" test -s "$tmp/code"
tap_end
