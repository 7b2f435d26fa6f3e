#!/bin/bash
# SPDX-License-Identifier: MIT
# Every event stands in the code, in the message catalog with its cause and its remedy, and in dbufd(8);
# every figure of the report in dbufd(8) too. And none of them has anything that the code has not.
. "${0%/*}/../tap.sh"
catalog=systemd/dbufd.catalog

sed -nE 's/^EVENT\(([A-Z_]+), LOG_([A-Z]+), "([0-9a-f]{32})"\)$/\1 \2 \3/p' src/daemon/events.def >"$tmp/events"
check "every line of events.def is understood" \
    test "$(grep -c '^EVENT(' src/daemon/events.def)" = "$(wc -l <"$tmp/events")"
check "no id stands for two events" test -z "$(cut -d ' ' -f 3 "$tmp/events" | sort | uniq -d)"

same() { # A B: sorted lists
    diff <(sort "$1") <(sort "$2")
}
cut -d ' ' -f 3 "$tmp/events" >"$tmp/ids"
sed -n 's/^-- \([0-9a-f]*\)$/\1/p' $catalog >"$tmp/catalog"
check "the catalog has every event, once" same "$tmp/ids" "$tmp/catalog"
# One line an event: the id, then what is missing in its entry.
incomplete() {
    awk 'function judge() {
            if (id != "") {
                if (!subject) print id, "has no Subject"
                if (!by) print id, "has no Defined-By"
                if (!cause) print id, "has no Cause"
                if (!remedy) print id, "has no Remedy"
            }
            subject = by = cause = remedy = 0
        }
        /^-- / { judge(); id = $2 }
        /^Subject: ./ { subject = 1 }
        /^Defined-By: dbufd$/ { by = 1 }
        /^Cause: ./ { cause = 1 }
        /^Remedy: ./ { remedy = 1 }
        END { judge() }' $catalog
}
check "each entry has its subject, cause and remedy" test -z "$(incomplete)"
# A field that no event has would stand in the text as it is.
grep -oE '@[A-Z_]+@' $catalog | tr -d @ | sed 's/^DBUFD_//' | sort -u >"$tmp/wanted"
grep -ohE '\{"[A-Z_]+",' src/daemon/*.c | tr -d '{",' >"$tmp/fields"
check "the catalog speaks of fields that events have" \
    test -z "$(grep -vxFf "$tmp/fields" "$tmp/wanted")"
if command -v journalctl >/dev/null; then
    mkdir -p "$tmp/root/usr/lib/systemd/catalog" "$tmp/root/var/lib/systemd/catalog"
    cp $catalog "$tmp/root/usr/lib/systemd/catalog/"
    check "journalctl takes the catalog" journalctl --root="$tmp/root" --update-catalog
    check "and nothing in it is said to be wrong" test -z "$tap_out"
    check "and has the text of each event" test \
        "$(journalctl --root="$tmp/root" --list-catalog 2>/dev/null | grep -cFf "$tmp/ids")" = "$(wc -l <"$tmp/ids")"
else
    skip "journalctl takes the catalog" "journalctl is not here"
fi

# dbufd(8): .It Dv EVENT Pq PRIORITY, and .It Dv DBUFD_FIELD Pq UNIT
cut -d ' ' -f 1,2 "$tmp/events" | tr '[:upper:]' '[:lower:]' >"$tmp/told"
sed -nE 's/^\.It Dv ([A-Z_]+) Pq ([a-z]+)$/\1 \2/p' man/dbufd.8 | tr '[:upper:]' '[:lower:]' >"$tmp/page"
check "dbufd.8 has every event with its priority" same "$tmp/told" "$tmp/page"
sed -nE 's/^(COUNTER|GAUGE)\([a-z_0-9]+, "([A-Z_0-9]+)", "([^"]+)",.*/DBUFD_\2 \3/p' src/daemon/stats.def >"$tmp/figures"
check "every line of stats.def is understood" \
    test "$(grep -cE '^(COUNTER|GAUGE)\(' src/daemon/stats.def)" = "$(wc -l <"$tmp/figures")"
sed -nE 's/^\.It Va (DBUFD_[A-Z_0-9]+) Pq (.*)$/\1 \2/p' man/dbufd.8 >"$tmp/page"
check "dbufd.8 has every figure of the report with its unit" same "$tmp/figures" "$tmp/page"
tap_end
