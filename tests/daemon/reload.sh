#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGHUP under load: random valid changes of everything at once lose nothing, each key has its effect, and
# a wrong file changes nothing. RELOADS is how many, SEED
# which.
. "${0%/*}/../tap.sh"
reloads=${RELOADS:-100} seed=${SEED:-$RANDOM}
dbufd=
cleanup() { [ -z "$dbufd" ] || kill -KILL "$dbufd" 2>/dev/null; }

start() { # [OPTION]...
    : >"$tmp/log"
    "$B/dbufd" -c "$tmp/c.conf" "$@" 2>>"$tmp/log" &
    dbufd=$!
    wait_for 60 grep -q 'writers* (' "$tmp/log"
}
stop() {
    kill -TERM "$dbufd" 2>/dev/null
    wait "$dbufd"
    status=$?
    dbufd=
}
said() { grep -cE "$1" "$tmp/log"; }        # how often
told() { test "$(said "$1")" -ge "${2:-1}"; } # told PATTERN [TIMES]
# reload FILE: hands it over, and waits for the answer.
reload() {
    local answers
    answers=$(said '^dbufd: (reloaded|not reloaded)')
    cat >"$tmp/c.conf"
    kill -HUP "$dbufd"
    wait_for 300 told '^dbufd: (reloaded|not reloaded)' $((answers + 1))
}
last() { grep -E '^dbufd: (reloaded|not reloaded)' "$tmp/log" | tail -n 1 | grep -E "$1"; }
conf() { # conf GENERAL SOURCE OUTPUT: a whole file
    printf 'output_file_path = "%s";\n%s\nsource: { %s };\noutput: { %s };\n' "$out" "$1" "$2" "$3"
}

# ---- Anything, under load

pick() { # pick NAME VALUE...: one of them
    local -n it=$1
    shift
    it=${*:RANDOM % $# + 1:1}
}
random_conf() { # [STREAM]
    local n capacity debug stats interval writers reader least most rate seeds segment durability sync flush free
    pick out a a a b
    out=$tmp/${1:-$out}.dbuf
    pick n 1 2 4 7 16
    pick capacity 1MB 2MB 4MB 8MB
    pick debug true false
    pick stats true false
    pick interval 100ms 1s 1h
    pick writers auto none 0
    pick reader auto none 0
    pick least 0 10 100
    pick most 5000 10000 20000
    pick rate 0 0 0 100MB
    pick seeds 0 0 5 6
    pick segment 0 8MiB 32MiB 1GiB
    pick durability none interval half
    pick sync 10ms 1s
    pick flush 10ms 1s 1h
    pick free 0 1MiB
    conf "writer_count = $n; buffer_capacity = \"$capacity\"; debug_mode = $debug; enable_stats = $stats;
            stats_interval = \"$interval\"; cpus: { writers = \"$writers\"; reader = \"$reader\"; };" \
        "min_block = $least; max_block = $most; rate = \"$rate\"; seed = $seeds;" \
        "segment_size = \"$segment\"; durability = \"$durability\"; sync_interval = \"$sync\";
            flush_interval = \"$flush\"; min_free = \"$free\";"
}
under_load() { # NAME HOW_MANY [OPTION]...
    local name=$1 reloads=$2 refused=0 first=a
    shift 2
    RANDOM=$seed
    random_conf b >"$tmp/c.conf"
    start -o crash_buffer=off "$@"
    for _ in $(seq "$reloads"); do
        random_conf $first >"$tmp/new"
        first=
        reload <"$tmp/new" || break
        last '^dbufd: reloaded' >/dev/null || refused=$((refused + 1))
    done
    stop
    check "$name: $reloads reloads are answered (SEED=$seed)" told '^dbufd: (reloaded|not reloaded)' "$reloads"
    check "$name: none is refused" test $refused = 0
    check "$name: it ends well" test $status = 0
    local blocks=0 stored n
    for n in a b; do
        check "$name: stream $n is whole, byte for byte" "$B/dbufctl" verify --random --json "$tmp/$n.dbuf"
        stored=$(sed -nE 's/.*"blocks": ?([0-9]+).*/\1/p' <<<"$tap_out" | head -n 1)
        blocks=$((blocks + stored))
    done
    check "$name: every block that was accepted is there ($blocks)" \
        grep -q "stopped: $blocks blocks, .* nothing left in memory" "$tmp/log"
    check "$name: every report closes" awk '
        match($0, /accepted [0-9]+ = persisted [0-9]+ \+ buffered [0-9]+ \+ dropped [0-9]+/) {
            split(substr($0, RSTART, RLENGTH), w, " ")
            if (w[2] != w[5] + w[8] + w[11] || w[8] < 0 || w[8] > 8000000 || w[2] < before) { print; bad = 1 }
            before = w[2]
        }
        END { exit bad }' "$tmp/log"
    rm -f "$tmp"/[ab].*
}
under_load "load" $((reloads / 5))
under_load "load, memory in a file" "$reloads" -o crash_buffer="file:$tmp/region"
check "the file that memory lay in is gone" test ! -e "$tmp/region" -a ! -e "$tmp/region.next"

# ---- One key after the other

out=$tmp/k.dbuf
quiet='stats_interval = "1h"; buffer_capacity = "1MB"; writer_count = 2;'
slow='rate = "1MB"; max_block = 1000;'
small='segment_size = "1GiB";'
threads() { test "$(cat /proc/$dbufd/task/*/comm | grep -c '^writer-')" = "$1"; }
region() { test "$(stat -c %s "$tmp/region")" -ge "$1" -a "$(stat -c %s "$tmp/region")" -lt "$2"; }
effect() { check "$1" wait_for 30 "${@:2}"; }
persisted() { # more than so many bytes, by a report that is asked for
    kill -USR1 $dbufd
    sleep 0.05
    test "$(sed -nE 's/.* = persisted ([0-9]+) .*/\1/p' "$tmp/log" | tail -n 1)" -gt "$1"
}
conf "$quiet" "$slow" "$small" >"$tmp/c.conf"
start -o crash_buffer="file:$tmp/region"

conf "${quiet/1h/100ms}" "$slow" "$small" | reload
effect "stats_interval: reports come" told ' = persisted ' 3
conf "${quiet/1h/100ms} enable_stats = false;" "$slow" "$small" | reload
reports=$(said ' = persisted ')
sleep 0.3
check "enable_stats: they come no more" test "$(said ' = persisted ')" = "$reports"

conf "$quiet" 'rate = "20MB"; max_block = 1000;' "$small" | reload
effect "source.rate: more comes" persisted 10000000
not_paused() { ! last 'paused'; }
check "source.rate: nobody was paused for it" not_paused

conf "${quiet/1MB/4MB}" "$slow" "$small" | reload
check "buffer_capacity: it is larger" region 3000000 5000000
check "buffer_capacity: the writers were paused for it" last 'paused for [0-9.]* ms'
conf "$quiet" "$slow" "$small" | reload
check "buffer_capacity: it is smaller again" region 900000 1200000
conf "${quiet/count = 2/count = 5}" "$slow" "$small" | reload
effect "writer_count: more" threads 5
conf "${quiet/count = 2/count = 1}" "$slow" "$small" | reload
effect "writer_count: fewer" threads 1

core() { grep -q '^Cpus_allowed_list:[[:space:]]*0$' "$(grep -l '^writer-0$' /proc/$dbufd/task/*/comm | sed 's/comm$/status/')"; }
conf "$quiet cpus: { writers = \"0\"; };" "$slow" "$small" | reload
effect "cpus.writers: they are pinned" core

conf "$quiet debug_mode = true;" 'rate = "20MB"; max_block = 1000;' 'segment_size = "4MiB";' | reload
effect "output.segment_size, debug_mode: segments are closed, and told of" told 'segment [0-9]* closed' 3
conf "$quiet" 'rate = "20MB"; max_block = 1000;' 'segment_size = "4MiB"; retain_size = "8MiB";' | reload
effect "output.retain_size: the oldest are deleted" told 'segment 1 deleted'

risk() { # so many MB at risk, at least
    kill -USR1 $dbufd
    sleep 0.05
    sed -nE 's/.* ([0-9.]+) (.?)B at risk$/\1 \2/p' "$tmp/log" | tail -n 1 |
        awk -v least="$1" '{ exit !($1 * ($2 == "G" ? 1000 : $2 == "M" ? 1 : 0.001) >= least) }'
}
conf "$quiet" 'rate = "50MB"; max_block = 1000;' "$small durability = \"none\";" | reload
effect "output.durability: none leaves more at risk than memory has" risk 5
conf "$quiet" 'rate = "50MB"; max_block = 1000;' "$small durability = \"interval\"; sync_interval = \"1h\";" | reload
effect "output.durability: so does a long interval" risk 5
conf "$quiet" 'rate = "50MB"; max_block = 1000;' "$small durability = \"interval\"; sync_interval = \"1ms\";" | reload
safe() { ! risk 5; }
effect "output.sync_interval: a short one does not" safe

conf "$quiet" 'rate = "10kB"; max_block = 1000;' "$small flush_interval = \"1h\";" | reload
persisted 0
before=$(sed -nE 's/.* = persisted ([0-9]+) .*/\1/p' "$tmp/log" | tail -n 1)
sleep 0.3
kill -USR1 $dbufd
sleep 0.1
check "output.flush_interval: a long one keeps a few blocks in memory" \
    grep -qE 'buffered [1-9]' <(grep 'persisted' "$tmp/log" | tail -n 1)
conf "$quiet" 'rate = "10kB"; max_block = 1000;' "$small flush_interval = \"10ms\";" | reload
effect "output.flush_interval: a short one stores them" persisted $((before + 2000))

conf "$quiet" 'rate = "50MB"; max_block = 1000;' "segment_size = \"4MiB\"; min_free = \"1000TB\";" | reload
effect "output.min_free: too much of it holds the disk" told 'cannot store at .*No space left'
conf "${quiet/1MB/2MB}" 'rate = "50MB"; max_block = 1000;' "$small min_free = \"0\";" | reload
check "output.min_free: less lets it go on, and a change of the buffer with it" last 'min_free.*paused'
effect "output.min_free: and it says so" told 'storing goes on'

first=$out
out=$tmp/other.dbuf
conf "$quiet" "$slow" "$small" | reload
check "output_file_path: the old stream is closed and whole" "$B/dbufctl" verify --random "$first"
effect "output_file_path: the new one is written" test -s "$tmp/other.000001.dbuf"

conf "$quiet" "$slow" "$small format = \"raw\";" | reload
check "output.format: not without another path" last 'not reloaded.*output'
out=$tmp/other.raw
conf "$quiet" "$slow" "$small format = \"raw\"; flush_interval = \"10ms\";" | reload
effect "output.format: with one" test -s "$tmp/other.000001.raw"

# ---- What is wrong

conf "$quiet writer_cuont = 3;" "min_block = 20000; $slow" "$small format = \"raw\";" | reload
check "a wrong file is refused" last 'not reloaded'
check "with each mistake" grep -q 'did you mean writer_count?' "$tmp/log"
check "and the next one" grep -q 'source.min_block = 20000' "$tmp/log"
check "and nothing of it is in force" threads 2
printf 'writer_count = ' | reload
check "so is half a file" last 'not reloaded'
out=$tmp/none/x.dbuf
conf "$quiet" "$slow" "$small" | reload
check "and an output that cannot be" last 'not reloaded'
out=$tmp/other.raw
conf "$quiet crash_buffer = \"off\";" "$slow" "$small format = \"raw\"; flush_interval = \"10ms\";" | reload
check "a key on the command line stays in force" last 'nothing has changed'

kill -HUP $dbufd
conf "$quiet" "$slow limit = \"100\";" "$small format = \"raw\"; flush_interval = \"10ms\";" >"$tmp/c.conf"
kill -HUP $dbufd
wait $dbufd
status=$?
dbufd=
check "source.limit: one that is reached already ends it, well" test $status = 0

out=$tmp/r.dbuf
conf "$quiet" "$slow" "$small" >"$tmp/c.conf"
start
conf "$quiet crash_buffer = \"off\"; debug_mode = true;" "$slow" "$small" | reload
check "what needs a restart is named" grep -q 'needs a restart.*crash_buffer "auto" -> "off"' "$tmp/log"
check "and the rest is taken over" last 'reloaded: debug_mode false -> true$'
rm "$tmp/c.conf"
kill -HUP $dbufd
effect "a file that is gone is refused" last 'not reloaded'
stop

mkdir "$tmp/other"
place="$small failover_path = \"$tmp/other/r.dbuf\";"
conf "$quiet" "$slow" "$place" >"$tmp/c.conf"
start
out=$tmp/s.dbuf
conf "$quiet" "$slow" "$place" | reload
check "another output, with one more place for it, is refused" last 'another output needs a restart'
stop

# What may be deleted of an output its own settings say, also when another one comes with smaller ones.
out=$tmp/t.dbuf
conf "$quiet" 'rate = "100MB";' 'segment_size = "4MiB"; min_free = 0;' >"$tmp/c.conf"
start
wait_for 60 test -e "$tmp/t.000006.dbuf"
out=$tmp/u.dbuf
conf "$quiet" 'rate = "100MB";' 'segment_size = "4MiB"; min_free = 0; retain_size = "8MiB";' | reload
wait_for 60 test -e "$tmp/u.000004.dbuf"
stop
check "the retention of a new output deletes nothing of the old one" \
    "$B/dbufctl" verify --random "$tmp/t.dbuf"
check "from its first segment on" test -e "$tmp/t.000001.dbuf"
check "and holds for the new one" test ! -e "$tmp/u.000001.dbuf"
rm "$tmp"/t.* "$tmp"/u.*

# ---- Pipes

lines='type = "pipe"; framing = "lines"; path = '
out=$tmp/p.dbuf
mkfifo "$tmp/in" "$tmp/in2"
seq 400000 >"$tmp/lines"
conf 'writer_count = 1;' "$lines \"$tmp/in\";" "$small" >"$tmp/c.conf"
start
while read -r line; do echo "$line"; done <"$tmp/lines" >"$tmp/in" & # small pieces, ends of lines anywhere
sender=$!
n=0
while kill -0 $sender 2>/dev/null && [ $n -lt 30 ]; do
    n=$((n + 1))
    conf "writer_count = 1; buffer_capacity = \"$((n % 5 + 1))MB\";" \
        "$lines \"$tmp/in\"; max_block = $((n % 3 == 0 ? 9000 : 10000));" "$small" | reload
done
wait $sender
wait $dbufd
status=$?
dbufd=
check "a pipe's lines come through $n reloads" test $status = 0
check "each of them, unbroken where its own settings stay" cmp <("$B/dbufctl" cat "$tmp/p.dbuf" | tr -d '\n') <(tr -d '\n' <"$tmp/lines")
check "and the stream is whole" "$B/dbufctl" verify "$tmp/p.dbuf"

out=$tmp/q.dbuf
conf 'writer_count = 1;' "$lines \"$tmp/in\";" "$small" >"$tmp/c.conf"
start
exec 5>"$tmp/in"
printf 'one\ntw' >&5
conf 'writer_count = 1; buffer_capacity = "2MB";' "$lines \"$tmp/in\";" "$small" | reload
printf 'o\nthree' >&5
conf 'writer_count = 1; buffer_capacity = "2MB";' "$lines \"$tmp/in2\";" "$small" | reload
check "source.path: another one" last 'reloaded: source.path'
exec 5>&-
printf 'four\n' >"$tmp/in2"
wait $dbufd
status=$?
dbufd=
check "it ends well with the new one" test $status = 0
check "a line that was begun goes on after a reload, and comes out before its source is left" \
    test "$("$B/dbufctl" cat --json "$tmp/q.dbuf" | wc -l) $("$B/dbufctl" cat "$tmp/q.dbuf" | tr '\n' ,)" = "4 one,two,threefour,"
tap_end
