#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufctl as a user meets it: usage, exit status, JSON, and what cat gives back.
. "${0%/*}/../tap.sh"
ctl=$B/dbufctl
stream=$tmp/s.dbuf

# exits STATUS TEXT COMMAND...: ends with that status and says TEXT on one of its outputs.
exits() {
    local status=$1 text=$2 said got
    shift 2
    said=$("$@" 2>&1)
    got=$?
    [ "$got" = "$status" ] && [[ $said == *"$text"* ]] && return
    echo "exit $got instead of $status, or no '$text' in: $said"
    return 1
}
record() { "$B/dbufd" -c /dev/null -o buffer_capacity=1MB -o output.durability=none "$@"; }
json() { "$@" | python3 -m json.tool >"$tmp/json"; }
# field FILE KEY: a member of a JSON object
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }
# change FILE OFFSET: the byte there becomes another one.
change() {
    python3 -c 'import sys
f = open(sys.argv[1], "r+b")
f.seek(int(sys.argv[2]))
byte = f.read(1)[0]
f.seek(int(sys.argv[2]))
f.write(bytes([byte ^ 0x55]))' "$@"
}
equal() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }

check "no command is a usage error" exits 2 "usage:" "$ctl"
check "an unknown command is one" exits 2 "no command 'frob'" "$ctl" frob
check "so is an unknown option" exits 2 "--frob" "$ctl" verify --frob x
check "so is no file" exits 2 "which FILE" "$ctl" verify
check "so is a writer that cannot be" exits 2 "0 to 1023" "$ctl" cat --writer 1024 x
check "so is a time that is none" exits 2 "2026-13-01" "$ctl" cat --from 2026-13-01T00:00:00Z x
check "so is a value for an option without one" exits 2 "--json" "$ctl" info --json=1 x
check "so is a missing value" exits 2 "--from" "$ctl" cat --from
check "so are two forms at a time" exits 2 "only one of --raw" "$ctl" cat --raw --json x
check "help lists the commands" exits 0 "verify" "$ctl" help
check "--help does too" exits 0 "info" "$ctl" --help
check "help tells of one command" exits 0 "--writer N" "$ctl" help cat
check "and so does the command itself" exits 0 "--random" "$ctl" verify --help
check "the version" exits 0 "dbufctl 0." "$ctl" --version
check "a file that is not there cannot be read" exits 3 "No such file" "$ctl" verify "$tmp/none"
check "nor can a folder" exits 3 "directory" "$ctl" verify "$tmp"
check "cat says the same" exits 3 "No such file" "$ctl" cat "$tmp/none"
check "info says the same" exits 3 "No such file" "$ctl" info "$tmp/none"
echo "hello" >"$tmp/hello"
check "what is no segment cannot be read" exits 3 "no segment" "$ctl" verify "$tmp/hello"

# A stream of lines from one writer, in several segments.
seq 1 400000 >"$tmp/lines"
printf '%s\n' 'tab	"quoted" \ back' 'ünïcödé €' '' $'\x01control' $'\xff\xfe' >>"$tmp/lines"
printf 'no newline at the end' >>"$tmp/lines"
check "lines are recorded" record -o writer_count=1 -o source.type=pipe -o source.path=- \
    -o source.framing=lines -o output_file_path="$stream" -o output.segment_size=4MiB <"$tmp/lines"
check "they are whole" exits 0 "whole: " "$ctl" verify "$stream"
check "in several segments" test -e "$tmp/s.000003.dbuf"
mkdir "$tmp/cut"
cp "$tmp"/s.0*.dbuf "$tmp/cut"
rm "$(ls "$tmp"/cut/s.0*.dbuf | tail -n 1)"
check "cat says that the last segment is not there" exits 1 "goes on in a segment that is not there" "$ctl" cat "$tmp/cut/s.dbuf"
rm -r "$tmp/cut"
check "cat gives the lines back" cmp <("$ctl" cat "$stream") "$tmp/lines"
check "segment by segment too" cmp \
    <(for file in "$tmp"/s.0*.dbuf; do "$ctl" cat "$file"; done) "$tmp/lines"
check "one segment alone is whole, and goes on" exits 0 "goes on" "$ctl" verify "$tmp/s.000001.dbuf"
check "segments in any order are whole" exits 0 "whole: " "$ctl" verify "$tmp"/s.00000[321].dbuf
check "a writer that is not there has no blocks" equal "$("$ctl" cat --writer 1 "$stream" 2>/dev/null | wc -c)" 0
check "and that is said" exits 3 "no writer 1: the stream has 1" "$ctl" cat --writer 1 "$stream"
"$ctl" cat --json "$stream" >"$tmp/blocks"
cat >"$tmp/join.py" <<'END'
import base64, json, sys
out = []
for number, line in enumerate(open(sys.argv[1], encoding="utf-8")):
    block = json.loads(line)
    assert block["writer"] == 0 and block["block"] == number, line
    data = block["data"].encode() if "data" in block else base64.b64decode(block["data_base64"])
    assert len(data) == block["length"], line
    out.append(data + (b"\n" if block["flags"] & 1 else b""))
assert b"".join(out) == open(sys.argv[2], "rb").read()
END
check "cat --json is one object a line, and holds every byte" \
    python3 "$tmp/join.py" "$tmp/blocks" "$tmp/lines"
check "cat --hex shows blocks" exits 0 "|1|" "$ctl" cat --hex "$tmp/s.000001.dbuf"
first=$(head -n 1 "$tmp/blocks" | python3 -c 'import json, sys; print(json.load(sys.stdin)["time"])')
check "no block is before the first" equal "$("$ctl" cat --to "$first" "$stream" | wc -c)" 0
check "all are from the first on" cmp <("$ctl" cat --from "$first" "$stream") "$tmp/lines"
check "none is after tomorrow" equal \
    "$("$ctl" cat --from "$(($(date +%s) + 86400))" "$stream" | wc -c)" 0
"$ctl" cat "$stream" 2>"$tmp/said" | head -n 1 >"$tmp/head"
check "a reader that goes away ends cat in silence" \
    equal "${PIPESTATUS[0]}$(cat "$tmp/said" "$tmp/head")" "01"
check "a full disk does not" exits 3 "No space left" \
    bash -c '"$0" cat "$1" >/dev/full' "$ctl" "$stream"

check "info says that it is closed" exits 0 "closed" "$ctl" info "$stream"
check "info --json parses" json "$ctl" info --json "$stream"
check "and counts the blocks" equal "$(field "$tmp/json" blocks)" "$(wc -l <"$tmp/blocks")"
check "verify --json parses" json "$ctl" verify --json "$stream"
check "and counts the same" equal "$(field "$tmp/json" blocks)" "$(wc -l <"$tmp/blocks")"
check "and says whole" equal "$(field "$tmp/json" verdict)" whole
check "lines are no random blocks" exits 1 "random source" "$ctl" verify --random "$stream"

# Damage.
cp "$tmp/s.000002.dbuf" "$tmp/saved"
change "$tmp/s.000002.dbuf" 20000
check "a changed byte is damage" exits 1 "s.000002.dbuf: offset " "$ctl" verify "$stream"
check "verify --json names it" json "$ctl" verify --json "$stream"
check "by its kind" exits 0 "blocks-changed" cat "$tmp/json"
check "cat says so, and goes on" exits 1 "blocks are changed" "$ctl" cat "$stream"
"$ctl" cat "$stream" 2>/dev/null | comm -13 <(sort "$tmp/lines") <(sort) >"$tmp/strange"
check "cat never gives a changed byte out" test ! -s "$tmp/strange"
check "cat --damaged says what it gives out" exits 1 "given out unproven" "$ctl" cat --damaged "$stream"
check "that is every byte, but for the changed one" test \
    "$("$ctl" cat --damaged "$stream" 2>/dev/null | cmp -l - "$tmp/lines" 2>&1 | wc -l)" -le 1
"$ctl" cat --damaged --json "$stream" >"$tmp/json" 2>/dev/null
check "--json marks it" grep -q '"unproven":true' "$tmp/json"
# The header of an extent in the middle: its writer and sequence are still to be read.
cp "$tmp/saved" "$tmp/s.000002.dbuf"
cat >"$tmp/places.py" <<'END'
import sys
data = open(sys.argv[1], "rb").read()
print(*[at for at in range(4096, len(data), 4096) if data[at:at + 4] == b"dBXT"])
END
read -ra places < <(python3 "$tmp/places.py" "$tmp/saved")
change "$tmp/s.000002.dbuf" $((places[3] + 60))
check "an extent without a valid header is given out by --damaged" \
    cmp <("$ctl" cat --damaged "$stream" 2>/dev/null) "$tmp/lines"
check "and by it alone" sh -c "! '$ctl' cat '$stream' 2>/dev/null | cmp -s - '$tmp/lines'"
# A file that ends inside an extent.
head -c $((places[6] + 3000)) "$tmp/saved" >"$tmp/s.000002.dbuf"
"$ctl" cat "$tmp/s.000002.dbuf" 2>/dev/null | wc -c >"$tmp/whole"
"$ctl" cat --damaged "$tmp/s.000002.dbuf" >"$tmp/salvaged" 2>/dev/null
check "the beginning of a cut extent is given out by --damaged" \
    test $(($(stat -c %s "$tmp/salvaged") - $(cat "$tmp/whole"))) -gt 500
check "with nothing in it that was not there" \
    test -z "$(comm -13 <(sort "$tmp/lines") <(sort "$tmp/salvaged"))"
rm "$tmp/s.000002.dbuf"
check "a missing segment is named" exits 1 "segment 2: missing" "$ctl" verify "$stream"
check "cat tells of it" exits 1 "are not there" "$ctl" cat "$stream"
cp "$tmp/saved" "$tmp/s.000002.dbuf"
check "put right again it is whole" exits 0 "whole: " "$ctl" verify "$stream"
change "$tmp/s.000002.dbuf" 4096
check "info of damage says that it is damaged" exits 1 "see dbufctl verify" "$ctl" info "$tmp/s.000002.dbuf"
cp "$tmp/saved" "$tmp/s.000002.dbuf"

# Random blocks of several writers.
check "random blocks are recorded" record -o writer_count=3 -o source.limit=3MB -o source.seed=9 \
    -o output.segment_size=0 -o output_file_path="$tmp/r.dbuf"
check "verify --random proves them" exits 0 "random source makes" "$ctl" verify --random "$tmp/r.dbuf"
"$ctl" cat --json "$tmp/r.dbuf" >"$tmp/blocks"
for writer in 0 1 2; do
    check "cat --writer $writer gives just its bytes" equal \
        "$("$ctl" cat --writer $writer "$tmp/r.dbuf" | wc -c)" \
        "$(python3 -c 'import json, sys
print(sum(b["length"] for b in map(json.loads, open(sys.argv[1])) if b["writer"] == int(sys.argv[2])))' \
            "$tmp/blocks" $writer)"
done
"$ctl" info --json "$tmp/r.dbuf" >"$tmp/info"
check "info counts as many as verify, closed" equal "$(field "$tmp/info" blocks)" "$(wc -l <"$tmp/blocks")"
size=$(stat -c %s "$tmp/r.dbuf")
truncate -s $((size - 4096)) "$tmp/r.dbuf"
check "a stream without its end is not closed" exits 1 "not closed" "$ctl" verify "$tmp/r.dbuf"
check "info says so" exits 0 "not closed" "$ctl" info "$tmp/r.dbuf"
check "cat does, too" exits 0 "is not closed: its end may be missing" "$ctl" cat "$tmp/r.dbuf"
"$ctl" info --json "$tmp/r.dbuf" >"$tmp/info"
check "and counts as many, not closed" equal "$(field "$tmp/info" blocks)" "$(wc -l <"$tmp/blocks")"

# Large enough for several threads, and for a progress bar.
check "a larger stream is recorded" record -o source.limit=60MB -o source.seed=9 -o output.segment_size=0 \
    -o output_file_path="$tmp/l.dbuf"
check "all threads together prove it" exits 0 "random source makes" "$ctl" verify --random "$tmp/l.dbuf"
shown() { # COMMAND...: what it says on a standard error that is a terminal
    python3 -c 'import os, pty, subprocess, sys
ours, its = pty.openpty()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=its)
os.write(its, b"\n")
sys.stdout.buffer.write(os.read(ours, 65536))' "$@"
}
shown "$ctl" verify "$tmp/l.dbuf" >"$tmp/shown"
check "on a terminal it shows how far it is" grep -aqE '\[=+ *\] [0-9.]+ MB of 6[0-9.]+ MB, [0-9]+ MB/s' "$tmp/shown"
"$ctl" verify "$tmp/l.dbuf" >/dev/null 2>"$tmp/shown"
check "and elsewhere nothing" test ! -s "$tmp/shown"
change "$tmp/l.dbuf" 41943040
check "a byte that changed in the middle of it is found" exits 1 "changed" "$ctl" verify "$tmp/l.dbuf"
rm -f "$tmp/l.dbuf"

# A region's file stays when a daemon is killed.
"$B/dbufd" -c /dev/null -o buffer_capacity=1MB -o crash_buffer="file:$tmp/region" -o source.rate=1MB \
    -o output.segment_size=0 -o output_file_path="$tmp/k.dbuf" 2>"$tmp/log" &
recorder=$!
wait_for 20 grep -q 'buffer of' "$tmp/log"
kill -KILL $recorder
wait $recorder 2>/dev/null
printf 'torn' >>"$tmp/r.dbuf" # behind the last whole extent
check "recover says what it cuts" exits 0 "r.dbuf.torn" "$ctl" recover "$tmp/r.dbuf"
check "just that" test "$(stat -c %s "$tmp/r.dbuf")" = $((size - 4096))
check "which is kept" equal "$(cat "$tmp/r.dbuf.torn")" torn
check "once more there is nothing to cut" exits 0 "nothing to cut" "$ctl" recover "$tmp/r.dbuf"
truncate -s +1MiB "$tmp/r.dbuf"
check "unused room is given back" exits 0 "1048576 bytes of room" "$ctl" recover "$tmp/r.dbuf"
check "just that, too" test "$(stat -c %s "$tmp/r.dbuf")" = $((size - 4096))
check "a rescue file is not taken for a stream" exits 2 "into which OUTPUT" "$ctl" recover "$tmp/region"
printf 'more' >>"$tmp/r.dbuf"
check "a second torn tail has a file of its own" exits 0 "r.dbuf.torn.2" "$ctl" recover "$tmp/r.dbuf"
check "with what was cut" cmp "$tmp/r.dbuf.torn.2" <(printf more)
change "$tmp/s.000002.dbuf" 20000
mkdir "$tmp/middle"
cp "$tmp/s.000002.dbuf" "$tmp/middle/m.dbuf"
check "damage in the middle stays" exits 0 "nothing to cut" "$ctl" recover "$tmp/middle/m.dbuf"
check "byte for byte" cmp "$tmp/s.000002.dbuf" "$tmp/middle/m.dbuf"
check "there is nothing to recover" exits 3 "No such file" "$ctl" recover "$tmp/none.dbuf"
check "what is no segment is left alone" exits 3 "damaged where it begins" "$ctl" recover "$tmp/hello"
check "byte for byte" equal "$(cat "$tmp/hello")" hello
printf 'torn' >>"$tmp/r.dbuf"
(
    flock 9
    exits 3 "a dbufd that runs has it" "$ctl" recover "$tmp/r.dbuf" >"$tmp/locked" 2>&1
) 9>"$tmp/.r.dbuf.lock"
check "while a daemon has it, it is not touched" test ! -s "$tmp/locked"
check "at all" test "$(stat -c %s "$tmp/r.dbuf")" = $((size - 4096 + 4))
"$ctl" recover "$tmp/r.dbuf" >/dev/null
(
    flock 9
    exits 0 "still being written: whole so far" "$ctl" verify "$tmp/r.dbuf" >"$tmp/locked" 2>&1
) 9>"$tmp/.r.dbuf.lock"
check "while a daemon has it, it is being written" test ! -s "$tmp/locked"
tap_end
