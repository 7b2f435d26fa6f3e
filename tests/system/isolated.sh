#!/bin/bash
# SPDX-License-Identifier: MIT
# Isolated cores for real: a virtual machine of four cores, three of them isolated, boots Debian's own
# kernel and systemd, and starts dbufd there four times: with all the isolated cores, with a cpuset
# that leaves one, with a core offline, and with real-time scheduling. What threads sit where is
# collected inside, and judged here.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
machine_needs isolated || { tap_end; exit; }
if ! command -v qemu-system-x86_64 >/dev/null || [ "$(uname -m)" != x86_64 ]; then
    skip isolated "qemu-system-x86_64 is not here"
    tap_end
    exit
fi
cleanup() { machine_close; }

# Debian's kernel for virtual machines, kept beside the root. It has its file system and its disk's
# driver built in: no initrd.
vmlinuz=$system/$suite.vmlinuz
kernel() {
    local name
    [ ! -s "$vmlinuz" ] || return 0
    name() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1; }
    [ -n "$(name)" ] || apt-get update -qq
    (cd "$tmp" && apt-get download -qq -o APT::Sandbox::User=root "$(name)") &&
        dpkg-deb --fsys-tarfile "$tmp"/linux-image-*.deb |
        tar -xO --wildcards './boot/vmlinuz-*' >"$vmlinuz.new" && mv "$vmlinuz.new" "$vmlinuz"
}

# Runs in the virtual machine as its only job. Each line that it writes begins with the name of the
# start that it is about.
scenario() {
    cat <<'END'
#!/bin/sh
exec >/dev/ttyS1 2>&1
name=boot
say() { echo "$name $*"; }
events() { journalctl -u dbufd -o json "_PID=$pid" "DBUFD_EVENT=$1"; }
field() { sed -n "s/.*\"DBUFD_$1\":\"\([^\"]*\)\".*/\1/p"; }

threads() { # of all that runs, but for the kernel's own: kind, name, cores allowed, core, policy
    for task in /proc/[0-9]*/task/[0-9]*; do
        read -r line <"$task/stat" || continue
        comm=${line#*(}
        comm=${comm%)*}
        set -- ${line##*) }
        [ $(($7 / 0x200000 % 2)) = 0 ] || continue # PF_KTHREAD
        case $task in
        "/proc/$pid/"*) kind=thread ;;
        *) kind=other ;;
        esac
        cores=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' "$task/status")
        say $kind "${comm%% *}" "$cores" "${37}" "${39}"
    done
}

run() { # NAME REPORTS
    name=$1
    systemctl start dbufd || say failed "$(systemctl status dbufd)"
    pid=$(systemctl show dbufd -P MainPID)
    until [ "$(events REPORT | wc -l)" -ge "$2" ]; do sleep 0.5; done
    journalctl --sync
    say cores "$(events CORES | field READER_CORE)" "$(events CORES | field WRITER_CORES)"
    events REPORT | sed -n '1p;$p' >/tmp/reports
    say preempted $(field WRITER_PREEMPTIONS </tmp/reports) $(field READER_PREEMPTIONS </tmp/reports)
    say locked "$(sed -n 's/^VmLck:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status")"
    say messages "$(events MEMORY_NOT_LOCKED | wc -l)" "$(events NOT_PINNED | wc -l)"
    threads
    systemctl stop dbufd
    say result "$(systemctl show dbufd -P Result)"
}

drop_in() { # from standard input
    mkdir -p /run/systemd/system/dbufd.service.d
    cat >/run/systemd/system/dbufd.service.d/test.conf
    systemctl daemon-reload
}

say isolated "$(cat /sys/devices/system/cpu/isolated)"
systemd-sysusers
run all 11
drop_in <<.
[Service]
AllowedCPUs=0,2
.
run cpuset 1
drop_in </dev/null
echo 0 >/sys/devices/system/cpu/cpu2/online
say online "$(cat /sys/devices/system/cpu/online)"
run offline 1
echo 1 >/sys/devices/system/cpu/cpu2/online
drop_in </usr/share/doc/dbufd/drop-ins/realtime.conf
run realtime 1
dbufctl verify --random /var/lib/dbufd/dbufd.dbuf >/tmp/verify 2>&1
say verify $?
echo "the end"
END
}

check "a machine of $suite" machine_open
check "a kernel for it" kernel
machine_install
configure <<END
buffer_capacity = "8MB";
writer_count = 2;
output_file_path = "$stream";
stats_interval = "1s";
source: { rate = "4MB"; };
END
scenario >"$machine/root/scenario"
chmod 755 "$machine/root/scenario"
check "a disk of it" mke2fs -q -t ext4 -O ^has_journal -d "$machine" "$tmp/disk" 2G
isolated="isolcpus=domain,managed_irq,1-3 nohz_full=1-3 rcu_nocbs=1-3"
timeout 400 qemu-system-x86_64 -machine q35 -cpu max -accel tcg,thread=multi -smp 4 -m 1024 \
    -display none -monitor none -nic none -no-reboot \
    -serial "file:$tmp/console" -serial "file:$tmp/said" -kernel "$vmlinuz" \
    -append "root=/dev/nvme0n1 rw console=ttyS0 $isolated mitigations=off audit=0 systemd.run=/root/scenario \
        systemd.run_success_action=poweroff systemd.run_failure_action=poweroff" \
    -drive "file=$tmp/disk,if=none,id=disk,format=raw,cache=unsafe" -device nvme,serial=1,drive=disk
tr -d '\r' <"$tmp/said" >"$tmp/lines"
ended() { grep -qx 'the end' "$tmp/lines" || { tail -n 30 "$tmp/lines" "$tmp/console"; false; }; }
check "it boots, does its job and powers off" ended

# line NAME KIND VALUE...: there is that line.
line() { grep -qxF -- "$*" "$tmp/lines" || { grep "^$1 " "$tmp/lines"; false; }; }
# threads NAME COMM: of dbufd's threads of that name, the cores that each may use and the one it is on.
threads() { awk -v name="$1" -v comm="$2" '$1 == name && $2 == "thread" && $3 ~ "^" comm { print $4, $5 }' "$tmp/lines"; }
on() { # NAME READER WRITER WRITER: each is allowed on that core alone, and is there
    check "$1: the reader is on core $2, where it is reported" test "$(threads "$1" reader)" = "$2 $2"
    check "$1: the writers are on $3 and $4, where they are reported" \
        test "$(threads "$1" writer)" = "$3 $3"$'\n'"$4 $4"
    check "$1: it ends well" line "$1" result success
}

check "three cores are isolated" line boot isolated 1-3
check "all: all of them are taken" line all cores 1 2-3
on all 1 2 3
check "all: dbufd's main thread is on none of them" test "$(threads all dbufd)" = "0 0"
check "all: no other thread of a user runs there" \
    test -z "$(awk '$1 == "all" && $2 == "other" && ($4 != 0 || $5 != 0)' "$tmp/lines")"
check "all: there are others" test "$(grep -c '^all other ' "$tmp/lines")" -ge 3
check "all: the buffer is locked" test "$(awk '$1 == "all" && $2 == "locked" { print $3 }' "$tmp/lines")" -ge 7000
check "all: no message says that anything is missing" line all messages 0 0
# From the first report to the eleventh, a second apart each. A core that were shared would be taken
# away at every tick of its clock, several thousand times.
read -r _ _ w1 w11 r1 r11 < <(grep '^all preempted' "$tmp/lines")
check "all: nobody takes the writers' cores away ($((w11 - w1)) times in ten seconds)" test $((w11 - w1)) -le 100
check "all: nor the reader's ($((r11 - r1)) times)" test $((r11 - r1)) -le 100
check "cpuset: the one isolated core that it leaves is taken" line cpuset cores 2 2
on cpuset 2 2 2
check "offline: one core is offline" line cpuset online 0-1,3
check "offline: the others are taken" line offline cores 1 1,3
on offline 1 3 1
on realtime 1 2 3
check "realtime: every thread is scheduled so" \
    test "$(awk '$1 == "realtime" && $2 == "thread" { print $6 }' "$tmp/lines" | sort -u)" = 1
check "the four recordings are one, and whole" line realtime verify 0
tap_end
