#!/bin/bash
# SPDX-License-Identifier: MIT
# The Debian package: made for $SUITE, judged by lintian, and in a machine installed by apt, started, upgraded
# under load, removed and purged.
. "${0%/*}/../tap.sh"
. "${0%/*}/machine.sh"
cleanup() { machine_close; }
# It is made of the libraries of the Debian that it is for: here, or in a root of that Debian.
if [ "$suite" = "$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")" ]; then
    made() { "$@"; }
    if ! command -v dpkg-deb >/dev/null; then
        skip package "dpkg-deb is not here"
        tap_end
        exit
    fi
else
    made() { there "$@"; }
    machine_needs package || { tap_end; exit; }
    check "a root of $suite" machine_open
    if ! there sh -c 'command -v dpkg-shlibdeps' >/dev/null; then
        skip package "the root of $suite has nothing to make it with: make check-trixie has"
        tap_end
        exit
    fi
fi

check "make deb" made make --no-print-directory -s deb B="$B" REVISION=1
check "make deb of the next revision" made make --no-print-directory -s deb B="$B" REVISION=2
version=$(sed -n 's/^VERSION := //p' Makefile)
deb() { echo "$B/dbufd_$version-$1_$(dpkg --print-architecture).deb"; }
depends=$(dpkg-deb -f "$(deb 1)" Depends)
for library in ${machine_libraries//,/ }; do
    check "it depends on $suite's $library" grep -qE "(^|, )$library " <<<"$depends"
done
if made sh -c 'command -v lintian' >/dev/null; then
    check "lintian finds no error and gives no warning" made lintian --allow-root --fail-on error,warning \
        --suppress-tags initial-upload-closes-no-bugs "$(deb 1)"
else
    skip "lintian finds no error and gives no warning" "lintian is not there: of Debian 13 it would take 180 packages"
fi
machine_needs "installed by apt" || { tap_end; exit; }

mountpoint -q "$machine" || check "a machine of $suite" machine_open
cp "$(deb 1)" "$(deb 2)" "$machine/root/"
machine_boot
check "it boots" machine_up
apt() { inside env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
file() { basename "$(deb "$1")"; }
state() { inside dpkg-query -W -f '${db:Status-Abbrev} ${Version}' dbufd; }
main() { property MainPID; }

check "apt-get install" apt install "/root/$(file 1)"
check "it is installed" test "$(state)" = "ii  $version-1"
check "it has its user" inside getent passwd dbufd
check "nothing runs before somebody says so" is ActiveState inactive
check "nor at the next boot" not inside systemctl is-enabled --quiet dbufd
check "the unit verifies" inside systemd-analyze verify --man=no dbufd.service
if is FileDescriptorStorePreserve ""; then # a service manager before 254
    check "a reload is a signal, as this service manager knows it" is Type notify
else
    check "a reload is waited for" is Type notify-reload
    check "memory is kept over a stop" is FileDescriptorStorePreserve yes
fi
check "the catalog is known" grep -q 7179648eae96427498825b21b76e8887 <(inside journalctl --list-catalog)
check "the completion is where bash looks" inside bash -c \
    '. /usr/share/bash-completion/completions/dbufctl && complete -p dbufctl'
journal_mark
check "systemctl enable --now" inside systemctl enable --quiet --now dbufd
check "it records" wait_for 60 is ActiveState active

# An edited configuration, at full load, over an upgrade.
sed -i 's/rate = "50MB"/rate = "0"/; s/writer_count = 4/writer_count = 3/' "$machine/etc/dbufd.conf"
inside systemctl restart dbufd
before=$(main)
wait_for 60 told REPORT
journal_mark
check "apt-get install of the next revision, under load" apt install "/root/$(file 2)"
check "it is upgraded" test "$(state)" = "ii  $version-2"
check "the edited file is kept" grep -q 'writer_count = 3' "$machine/etc/dbufd.conf"
check "it records again" wait_for 60 is ActiveState active
check "by another process" test "$(main)" != "$before"
check "what the one before had accepted was stored" told STOPPED
check "systemctl stop" inside systemctl stop dbufd
# What retain_size has deleted is gone; what is there must be whole.
check "the recording goes over the upgrade, whole" whole
inside systemctl start dbufd

journal_mark
check "apt-get remove, under load" apt remove dbufd
check "it has stopped" test -z "$(inside sh -c 'grep -lx dbufd /proc/[0-9]*/comm')"
check "with everything stored" told STOPPED
check "the configuration is kept" test -f "$machine/etc/dbufd.conf"
check "and the recording" test -f "$(find "$machine/var/lib/dbufd" -name '*.dbuf' | head -n 1)"
check "installed again it is enabled as before" apt install "/root/$(file 2)"
check "enabled" inside systemctl is-enabled --quiet dbufd
check "the recording is whole" whole
check "apt-get purge" apt purge dbufd
check "the configuration is gone" test ! -e "$machine/etc/dbufd.conf"
check "the recording is not" test -f "$(find "$machine/var/lib/dbufd" -name '*.dbuf' | head -n 1)"
left() { (cd "$machine" && find etc lib usr -name '*dbufd*' ! -path '*/locale/*'); }
check "nothing else is left of it" test -z "$(left)"
tap_end
