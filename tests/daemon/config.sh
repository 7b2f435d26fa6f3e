#!/bin/bash
# SPDX-License-Identifier: MIT
# dbufd and its configuration: bad input is refused with exit status 78 and words, at a check as at a
# start, and leaves everything on disk as it is; good input is printed so that it reads back.
. "${0%/*}/../tap.sh"

conf=$tmp/dbufd.conf
out=$tmp/out
mkdir "$out"
echo "these bytes stay" >"$out/existing.dbuf"
echo "these too" >"$out/new.000001.dbuf"
mkfifo "$out/fifo"
# libconfig 1.5 loses the string in hand when it stops at an error.
echo leak:libconfig.so >"$tmp/lsan"
export LSAN_OPTIONS=suppressions=$tmp/lsan:print_suppressions=0

# Names, kinds, sizes, times and contents of all that is in the folder.
snapshot() {
    (cd "$out" && find . -printf '%p %y %m %s %T@\n' | sort && cat existing.dbuf new.000001.dbuf)
}

# refused NAME LINE ARGUMENT...: dbufd says LINE (as a whole line), ends with 78, changes nothing.
refused() {
    local name=$1 line=$2 mode status
    shift 2
    for mode in "--check" ""; do
        # shellcheck disable=SC2086 # no mode is no argument
        timeout 60 "$B/dbufd" $mode "$@" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null
        status=$?
        if [ "$status" = 78 ] && [ ! -s "$tmp/stdout" ] && grep -qFx -- "$line" "$tmp/stderr" &&
            [ "$(snapshot)" = "$before" ]; then
            ok "$name${mode:+ ($mode)}"
        else
            not_ok "$name${mode:+ ($mode)}"
            echo "#   status $status, wanted 78 and: $line"
            sed 's/^/#   stderr: /' "$tmp/stderr"
            diff <(echo "$before") <(snapshot) | sed 's/^/#   /'
        fi
    done
}
# refused_file NAME LINE: the same for what $conf holds; F in LINE stands for it.
refused_file() {
    refused "$1" "${2/#F:/$conf:}" -c "$conf" -o "output_file_path=$out/existing.dbuf"
}
before=$(snapshot)
size_wanted='(B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, or an integer of bytes)'

# ---- What a file can have wrong

printf '\n\nwriter_cout = 4;\n' >"$conf"
refused_file "unknown key" 'F:3: writer_cout = 4: there is no such key, did you mean writer_count?'
printf '\nwriter_count = "four";\n' >"$conf"
refused_file "wrong type" 'F:2: writer_count = "four": is a string, must be an integer, 1 to 1024'
printf 'writer_count = 0;\n' >"$conf"
refused_file "out of bounds" 'F:1: writer_count = 0: must be 1 to 1024'
printf 'writer_count = 4294967297;\n' >"$conf"
refused_file "out of 32 bits" 'F:1: writer_count = 4294967297: must be 1 to 1024'
printf 'source:\n{\n  type = "tcp";\n};\n' >"$conf"
refused_file "unknown choice" 'F:3: source.type = "tcp": must be "random", "pipe", "unix" or "udp"'
printf 'buffer_capacity = "1.5GB";\n' >"$conf"
refused_file "bad size" "F:1: buffer_capacity = \"1.5GB\": has a fraction, take a smaller unit, must be a size, \"64KiB\" to \"64GiB\" $size_wanted"
printf 'debug_mode = true;\n\ndebug_mode = false;\n' >"$conf"
refused_file "duplicate key" 'F:3: debug_mode = false;: duplicate setting name; a key must stand only once'
printf 'writer_count = 4;\nstats_interval = = 3;\n' >"$conf"
refused_file "syntax" 'F:2: stats_interval = = 3;: syntax error, must be KEY = VALUE; or GROUP: { ... }; with strings in "quotes"'
printf 'buffer_capacity = "64KiB";\nwriter_count = 64;\n' >"$conf"
refused_file "capacity too small" "$("$B/dbufd" --check -c "$conf" -o "output_file_path=$out/x" 2>&1 |
    grep -E ':1: buffer_capacity = "64KiB": .*is too small for writer_count 64 .* must be at least "[0-9]+[KM]iB"$')"

# ---- All of it at once

cat >"$conf" <<END
writer_count = 0;
buffer_capacity = "lots";
wirter_count = 4;
stats_interval = 3 s;
source:
{
    type = 7;
    rate = "fast";
    min_block = 20;
    max_block = 10;
};
debug_mode = 1;
debug_mode = 0;
output: { retain_size = "3GB"; segment_size = "2GB"; };
END
"$B/dbufd" --check -c "$conf" -o output_file_path="$out/none/x" -o foo -o cpus.reader=x 2>"$tmp/stderr"
status=$?
sed -E "s|^$conf:([0-9]+): .*|\1|; s|^-o ([^:]*):.*|\1|" "$tmp/stderr" | sort >"$tmp/places"
sort >"$tmp/wanted" <<END
1
2
3
4
7
8
12
13
foo
cpus.reader=x
END
check "all errors at once, each with its place" diff "$tmp/wanted" "$tmp/places"
check "and exit status 78" test "$status" = 78
sed -i '/stats_interval/s/.*//' "$conf"
"$B/dbufd" --check -c "$conf" -o output_file_path="$out/none/x" 2>"$tmp/stderr"
# type is bad, so min_block is not held against max_block; the rest is.
for line in "$conf:14: output.retain_size = \"3GB\": output.retain_size must be \"0\" or at least twice output.segment_size" \
    "-o output_file_path=$out/none/x: the directory $out/none is missing, make it or name another"; do
    check "what does not fit is told with the rest: ${line##*: }" grep -qFx -- "$line" "$tmp/stderr"
done

# ---- Files that cannot be read

refused "missing file" "$tmp/none.conf: cannot be read: No such file or directory; give another file with -c FILE" -c "$tmp/none.conf"
refused "directory as file" "$tmp: cannot be read: Is a directory; give another file with -c FILE" -c "$tmp"
if [ "$(id -u)" = 0 ]; then
    skip "unreadable file" "root reads everything"
else
    echo >"$conf"
    chmod 0 "$conf"
    refused "unreadable file" "$conf: cannot be read: Permission denied; give another file with -c FILE" -c "$conf"
    chmod 600 "$conf"
fi

# ---- The command line

o=(-o "output_file_path=$out/existing.dbuf")
echo >"$conf"
refused "-o out of bounds" "-o writer_count=0: must be 1 to 1024" -c "$conf" "${o[@]}" -o writer_count=0
refused "-o without =" "-o writer_count: must be KEY=VALUE, such as writer_count=4 or source.type=pipe" -c "$conf" "${o[@]}" -o writer_count
refused "-o unknown key" "-o source.typ=pipe: there is no such key, did you mean source.type?" -c "$conf" "${o[@]}" -o source.typ=pipe
refused "pipe without path" '-o source.type=pipe: source.type "pipe" needs source.path: a FIFO, or "-" for standard input' -c "$conf" "${o[@]}" -o source.type=pipe
refused "one pipe for many writers" \
    "-o writer_count=3: writer_count must be 1 with source.path \"$out/fifo\": one pipe feeds one writer; or put %w into the path, which gives each of the 3 writers a FIFO of its own" \
    -c "$conf" "${o[@]}" -o source.type=pipe -o "source.path=$out/fifo" -o writer_count=3
refused "FIFO that cannot be made" \
    "-o source.path=$out/no/%w: there is no FIFO $out/no/0 and it cannot be made: the directory $out/no is missing, make it or name another" \
    -c "$conf" "${o[@]}" -o source.type=pipe -o "source.path=$out/no/%w"
refused "framing without pipe" '-o source.framing=lines: source.framing "lines" needs source.type "pipe" or "unix"' -c "$conf" "${o[@]}" -o source.framing=lines
refused "core that is offline" "$("$B/dbufd" --check -c "$conf" "${o[@]}" -o cpus.writers=1023 2>&1 |
    grep -E '^-o cpus.writers=1023: core 1023 is (offline|not ours), must be of "[0-9,-]+"$')" \
    -c "$conf" "${o[@]}" -o cpus.writers=1023

# ---- The output

refused "output in no directory" "-o output_file_path=$out/no/x: the directory $out/no is missing, make it or name another" -c "$conf" -o "output_file_path=$out/no/x"
refused "output is a directory" "-o output_file_path=$out: is a directory, must be the path of a file, a FIFO or a character device" -c "$conf" -o "output_file_path=$out"
refused "output below a file" "-o output_file_path=$out/existing.dbuf/x: $out/existing.dbuf is no directory, name another" -c "$conf" -o "output_file_path=$out/existing.dbuf/x"
refused "output without a name" "-o output_file_path=: is empty, must be the path of a file" -c "$conf" -o output_file_path=

# ---- What is right

for file in etc/dbufd.conf "$conf"; do
    check "$file is right" "$B/dbufd" --check -c "$file" -o "output_file_path=$out/new.dbuf"
    check "and prints" "$B/dbufd" --print-config -c "$file" -o "output_file_path=$out/new.dbuf"
    echo "$tap_out" >"$tmp/printed"
    "$B/dbufd" --print-config -c "$tmp/printed" >"$tmp/again"
    check "what is printed reads back the same" cmp "$tmp/printed" "$tmp/again"
done
check "later -o win" grep -qx 'writer_count = 9;' <("$B/dbufd" --print-config -c "$conf" "${o[@]}" -o writer_count=8 -o writer_count=9)
check "neither touches the disk" test "$before" = "$(snapshot)"
check "--help names the choices" grep -q '"none", "interval", "half"' <("$B/dbufd" --help)
check "--help names every key" grep -q 'output.min_free *"64MiB"' <("$B/dbufd" --help)

# Nothing that stands in a file may move the cursor of whoever reads the messages.
printf 'writer_count = "\033[2J\302\233";\nfr\ab = 1;\n' >"$tmp/escape.conf"
"$B/dbufd" --check -c "$tmp/escape.conf" >"$tmp/said" 2>&1
check "control characters are told visibly" grep -qF '\x1B[2J\xC2\x9B' "$tmp/said"
check "and never as they are" sh -c "! LC_ALL=C grep -q '[[:cntrl:]]' '$tmp/said'"
mkfifo "$tmp/config.fifo"
check "a FIFO that nobody writes is refused as a configuration" \
    sh -c "timeout 60 '$B/dbufd' --check -c '$tmp/config.fifo' 2>&1 | grep -q 'timed out'"
check "one that is written is taken" \
    bash -c "'$B/dbufd' --check -o output_file_path=$tmp/x.dbuf -c <(sleep 0.3; echo 'writer_count = 2;')"
tap_end
