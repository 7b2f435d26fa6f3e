# SPDX-License-Identifier: MIT
# TAP for shell tests: . "${0%/*}/../tap.sh", then ok, not_ok, skip, and tap_end as the last line.
# $B is the build folder (build). $tmp is a fresh folder that goes away with the test.
set -u
: "${B:=build}"
export PYTHONDONTWRITEBYTECODE=1 # nothing is left in the source
tap_count=0 tap_failed=0
tmp=$(mktemp -d "${TMPDIR:-/tmp}/dbufd-test.XXXXXX")
trap 'tap_cleanup' EXIT
tap_cleanup() {
    if command -v cleanup >/dev/null; then cleanup; fi # a test may have more to put away
    rm -rf "$tmp"
}
ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $*"
}
not_ok() {
    tap_count=$((tap_count + 1)) tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $*"
}
skip() { # skip NAME REASON
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}
# check NAME COMMAND...: ok if the command succeeds; else shows its output.
check() {
    tap_name=$1
    shift
    if tap_out=$("$@" 2>&1); then
        ok "$tap_name"
    else
        not_ok "$tap_name"
        printf '%s\n' "\$ $*" "$tap_out" | sed 's/^/#   /'
    fi
}
# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is up. A test is
# never judged by it: the time is only a bound on hanging.
wait_for() {
    tap_until=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$tap_until" ] || return 1
        sleep 0.05
    done
}
tap_end() {
    echo "1..$tap_count"
    [ "$tap_failed" = 0 ]
}
