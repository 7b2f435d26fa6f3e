#!/bin/bash
# SPDX-License-Identifier: MIT
# What `make` promises: no warning by either compiler, an install that keeps an edited dbufd.conf.
. "${0%/*}/../tap.sh"
if command -v clang >/dev/null; then
    check "clang builds it without a warning" make -s CC=clang B="$tmp/clang" all units
else
    skip "clang builds it without a warning" "clang is not installed"
fi
check "make install" make -s install B="$B" DESTDIR="$tmp/root"
for file in usr/sbin/dbufd usr/bin/dbufctl etc/dbufd.conf usr/lib/systemd/system/dbufd.service \
    usr/lib/sysusers.d/dbufd.conf usr/share/man/man8/dbufd.8 usr/share/man/man5/dbufd.conf.5 \
    usr/share/man/man5/dbufd-format.5 usr/share/man/man1/dbufctl.1; do
    check "it installs $file" test -f "$tmp/root/$file"
done
echo 'writer_count = 9;' >"$tmp/root/etc/dbufd.conf"
make -s install B="$B" DESTDIR="$tmp/root"
check "an edited dbufd.conf is kept" grep -q 'writer_count = 9' "$tmp/root/etc/dbufd.conf"
make -s install B="$B" DESTDIR="$tmp/root2" PREFIX=/opt/dbufd
check "PREFIX= is where it goes" test -x "$tmp/root2/opt/dbufd/sbin/dbufd"
check "and what the unit starts" grep -q 'ExecStart=/opt/dbufd/sbin/dbufd' \
    "$tmp/root2/usr/lib/systemd/system/dbufd.service"
tap_end
