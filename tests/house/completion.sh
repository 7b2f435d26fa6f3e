#!/bin/bash
# SPDX-License-Identifier: MIT
# The completion in bash offers what the programs know.
. "${0%/*}/../tap.sh"
PATH=$PWD/$B:$PATH
. etc/dbufd.bash-completion

# offers LINE WORD...: the completion of LINE, with the cursor at its end, offers each WORD.
offers() {
    local line=$1 word function
    shift
    COMP_LINE=$line COMP_POINT=${#line}
    # As bash splits it: at blanks, and around "=".
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line == *[[:space:]=] ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    function=$(complete -p "${COMP_WORDS[0]}" | sed 's/.*-F \([^ ]*\) .*/\1/')
    COMPREPLY=()
    "$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    for word in "$@"; do
        printf '%s\n' "${COMPREPLY[@]}" | grep -qxF -- "$word" || {
            echo "'$line' offers no $word, but: ${COMPREPLY[*]}"
            return 1
        }
    done
}
offers_only() {
    offers "$@" && [ ${#COMPREPLY[@]} = $(($# - 1)) ] || {
        echo "'$1' offers: ${COMPREPLY[*]}"
        return 1
    }
}
check "dbufd: options" offers "dbufd --" --config --option --duration --check --print-config --version --help
check "dbufd: an option begun" offers_only "dbufd --pr" --print-config
# shellcheck disable=SC2046 # one word a key
check "dbufd -o: every key" offers "dbufd -o " $(sed -nE 's/^[A-Z]+ *\([a-z_0-9]+, "([a-z._]+)",.*/\1=/p' src/daemon/options.def)
check "dbufd -o: a key begun" offers_only "dbufd -o source.ty" source.type=
check "dbufd -o: the values of a choice" offers_only "dbufd -o output.durability=" none interval half
check "dbufd -o: a value begun" offers_only "dbufd -o debug_mode=t" true
check "dbufd -c: files" offers "dbufd -c etc/dbufd.c" etc/dbufd.conf
# shellcheck disable=SC2046 # one word a command
check "dbufctl: every command" offers "dbufctl " $(dbufctl help | sed -n 's/^  \([a-z]*\) .*/\1/p')
check "dbufctl: a command begun" offers_only "dbufctl ver" verify version
check "dbufctl verify: its options" offers_only "dbufctl verify --" --random --json
check "dbufctl cat: files" offers "dbufctl cat Make" Makefile
tap_end
