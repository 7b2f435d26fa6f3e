# SPDX-License-Identifier: MIT
# Several runs of tests as one: . tests/tap.sh, then this; then part, step and left_out, and tally_end as
# the last line: it prints one "N passed, N failed, N skipped" for all of them.
tally_passed=0 tally_failed=0 tally_skipped=0

# part NAME COMMAND...: a run that ends with such a line of its own. One that does not has failed.
part() {
    local name=$1 status line passed=0 failed=0 skipped=0
    shift
    "$@" | tee "$tmp/part"
    status=${PIPESTATUS[0]}
    line=$(grep -xE '[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped' "$tmp/part" | tail -n 1)
    [ -z "$line" ] || read -r passed _ failed _ skipped _ <<<"$line"
    if [ "$failed" = 0 ] && { [ "$status" != 0 ] || [ -z "$line" ]; }; then
        echo "not ok - $name ended with status $status"
        failed=1
    fi
    tally_passed=$((tally_passed + passed)) tally_failed=$((tally_failed + failed))
    tally_skipped=$((tally_skipped + skipped))
}

# step NAME COMMAND...: passed if the command succeeds, a build for one.
step() {
    local name=$1
    shift
    if "$@"; then
        echo "ok - $name"
        tally_passed=$((tally_passed + 1))
    else
        echo "not ok - $name"
        tally_failed=$((tally_failed + 1))
        return 1
    fi
}

left_out() { # NAME REASON
    echo "ok - $1 # SKIP $2"
    tally_skipped=$((tally_skipped + 1))
}

# no_packages NAME LOG [OPTION of mmdebstrap]... SUITE: a root could not be made. Where the mirror has
# nothing of the kind the run is left out; if it has, what we want of it is wrong.
no_packages() {
    local name=$1
    tail -n 20 "$2" | sed 's/^/#   /'
    shift 2
    if unshare --mount mmdebstrap --quiet --simulate --variant=extract "$@" /dev/null >/dev/null 2>&1; then
        echo "not ok - $name: its packages"
        tally_failed=$((tally_failed + 1))
    else
        left_out "$name" "no mirror has packages for it"
    fi
}

tally_end() {
    echo "$tally_passed passed, $tally_failed failed, $tally_skipped skipped"
    [ "$tally_failed" = 0 ]
}
