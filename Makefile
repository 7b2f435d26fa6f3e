# SPDX-License-Identifier: MIT
#
#   make            builds build/dbufd and build/dbufctl
#   make run        records ten seconds of random data, shows its reports, verifies every byte
#   make check      builds and runs every test; T=name runs one, T="a b" two, SAN=thread|address with a sanitizer
#   make check-trixie  the same on Debian 13, FOLDERS=unit only those; make check-arm64  cross-built, under qemu
#   make soak       the tests that draw lots, for hours: SEED= draws the same again, T=name runs one
#   make bench      compares it with its peers; BENCH_QUICK=1 within a minute
#   make install    DESTDIR= PREFIX=/usr; keeps an edited dbufd.conf
#   make deb        a Debian package in build/
#   make deps       gets the packages (Debian, asks for nothing)
#
# CC=clang works too. V=1 shows the commands.

PREFIX ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=
SYSTEMD_PREFIX ?= /usr/lib
ifeq ($(origin CC),default)
CC := gcc
endif
SAN ?=
T ?=
VERSION := 0.1.0
REVISION ?= 1

PACKAGES_BUILD := gcc libc6-dev make pkg-config libconfig-dev libsystemd-dev libjemalloc-dev liburing-dev \
	libmicrohttpd-dev
PACKAGES_CHECK := clang clang-format-14 libclang-rt-14-dev libcmocka-dev mandoc python3 strace valgrind libc6-dbg spin systemd e2fsprogs \
	xfsprogs btrfs-progs \
	util-linux procps python3-prometheus-client
PACKAGES_DEB := dpkg-dev
PACKAGES_SYSTEM := mmdebstrap systemd-container qemu-system-x86 lintian $(PACKAGES_DEB)
PACKAGES_ARM64 := gcc-aarch64-linux-gnu qemu-user-static mmdebstrap file
PACKAGES_BENCH := g++ libconcurrentqueue-dev liburcu-dev libck-dev libglib2.0-dev libdpdk-dev fio mbuffer

# What only a newer service manager knows: it sends the signal of a reload itself, and waits until it is over.
SYSTEMD_254 = $(shell pkg-config --atleast-version=254 libsystemd && echo yes)
UNIT_254 = -e 's/^\#FileDescriptor/FileDescriptor/' -e 's/^Type=notify$$/Type=notify-reload/' -e '/^ExecReload=.*HUP/d'
comma := ,
B := build$(if $(SAN),/$(SAN))
CFLAGS ?= -O2 -g
override CFLAGS += -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wconversion \
	-Wstrict-prototypes -Wmissing-prototypes -Werror -fno-strict-aliasing -pthread \
	-DDBUFD_VERSION='"$(VERSION)"' $(if $(SAN),-fsanitize=$(SAN_LIST) -fno-omit-frame-pointer)
SAN_LIST := $(if $(filter address,$(SAN)),address$(comma)undefined,$(SAN))
override LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN_LIST))
# A sanitizer brings an allocator of its own.
LIBS_DAEMON := -lconfig -lsystemd -luring -lmicrohttpd $(if $(SAN),,-ljemalloc)
LIBS_TEST := -lcmocka $(LIBS_DAEMON)

MAINS := src/daemon/main.c src/ctl/main.c
PARTS := $(filter-out $(MAINS),$(wildcard src/*/*.c))
CTL_PARTS := $(wildcard src/ctl/*.c) $(filter-out src/disk/uring.c,$(wildcard src/disk/*.c)) src/source/random.c \
	src/buffer/region.c src/buffer/region_read.c src/daemon/replay.c src/daemon/replay_there.c
UNITS := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*.c tests/stress/*.c tests/fault/*.c))
obj = $(patsubst %.c,$(B)/%.o,$(1))
say = $(if $(V),,@echo '  $(1)' $(2);)

.DEFAULT_GOAL := all
all: $(B)/dbufd $(B)/dbufctl

$(B)/dbufd: $(call obj,src/daemon/main.c) $(B)/libdbufd.a
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_DAEMON)

$(B)/dbufctl: $(call obj,$(sort $(CTL_PARTS)))
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^

$(B)/libdbufd.a: $(call obj,$(PARTS))
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(B)/tests/%: $(B)/tests/%.o $(B)/libdbufd.a
	$(call say,LD,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_TEST)

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(B)/src $(B)/tests -name '*.d' 2>/dev/null)

deps:
	@tests/deps $(PACKAGES_BUILD) $(PACKAGES_CHECK) $(PACKAGES_SYSTEM)

# What `make run` and `make check` need is fetched by themselves; both then go on in a new make.
run:
	@tests/deps $(PACKAGES_BUILD)
	@$(MAKE) --no-print-directory all
	@tests/demo $(B)

# Without SAN= the programs of ours alone run under both sanitizers as well.
check:
	@tests/deps $(PACKAGES_BUILD) $(PACKAGES_CHECK) $(PACKAGES_SYSTEM)
	@$(MAKE) --no-print-directory -j2 all units
	@$(if $(SAN),,$(MAKE) --no-print-directory -j2 SAN=thread units)
	@$(if $(SAN),,$(MAKE) --no-print-directory -j2 SAN=address units)
	@tests/run "$(T)" $(B) $(if $(SAN),,build/thread build/address)

# The same source on Debian 13, and for another processor.
check-trixie:
	@tests/deps $(PACKAGES_SYSTEM)
	@tests/trixie "$(T)" $(PACKAGES_BUILD) $(PACKAGES_DEB) gcc-13 libcmocka-dev python3 python3-prometheus-client strace e2fsprogs util-linux procps

check-arm64:
	@tests/deps $(PACKAGES_ARM64)
	@tests/arm64 "$(T)" libc6-dev libconfig-dev libsystemd-dev libjemalloc-dev liburing-dev libmicrohttpd-dev libcmocka-dev

units: $(UNITS)

# For tests/fuzz/run, with clang and SAN=fuzzer-no-link,address,undefined
fuzzers: $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libdbufd.a
	$(call say,LD,$@)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_DAEMON)

# Those that look at more, or longer, with SOAK in the environment.
SOAKS := model test_stress test_sweep test_power_cut kill crash fuzz test_mutations test_verify_ahead
soak:
	@tests/deps $(PACKAGES_BUILD) $(PACKAGES_CHECK) $(PACKAGES_SYSTEM)
	@$(MAKE) --no-print-directory -j2 all units
	@status=0; for test in $(if $(T),$(T),$(SOAKS)); do \
		SOAK=1 TEST_LIMIT_S=14400 tests/run $$test $(B) || status=1; \
	done; exit $$status

# Compares the double buffer with others; the lines are explained in tests/bench/buffer.c.
bench-buffer:
	@tests/deps $(PACKAGES_BUILD) $(PACKAGES_BENCH)
	@$(MAKE) --no-print-directory $(B)/bench-buffer
	@$(B)/bench-buffer

# Compares the whole process with what else writes to a disk; the lines are explained in tests/bench/disk.
# It writes beside the build: B= on the disk that is meant.
bench-disk:
	@tests/deps $(PACKAGES_BUILD) $(PACKAGES_BENCH) python3 util-linux
	@$(MAKE) --no-print-directory all
	@tests/bench/disk $(B)

BENCH_BUFFER := $(wildcard tests/bench/buffer*.c tests/bench/buffer*.cc)
BENCH_OBJECTS := $(patsubst %,$(B)/%.o,$(basename $(BENCH_BUFFER)))
$(BENCH_OBJECTS): override CFLAGS += -isystem /usr/include/dpdk $(shell pkg-config --cflags glib-2.0 libdpdk 2>/dev/null | sed 's/-I/-isystem /g')
$(B)/bench-buffer: $(BENCH_OBJECTS) $(B)/libdbufd.a
	$(call say,LD,$@)$(CXX) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs glib-2.0) -lurcu-common -lrte_ring -ljemalloc

# With a double buffer of its own.
$(B)/tests/bench/buffer_swap.o: tests/bench/buffer_swap.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $< && objcopy --wildcard --localize-symbol='db_*' $@

$(B)/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(call say,CXX,$@)$(CXX) -O2 -g -std=c++17 -Wall -Wextra -pthread -MMD -MP -c -o $@ $<

install: all
	install -D -m 755 $(B)/dbufd $(DESTDIR)$(PREFIX)/sbin/dbufd
	install -D -m 755 $(B)/dbufctl $(DESTDIR)$(PREFIX)/bin/dbufctl
	test -e $(DESTDIR)$(SYSCONFDIR)/dbufd.conf || \
		install -D -m 644 etc/dbufd.conf $(DESTDIR)$(SYSCONFDIR)/dbufd.conf
	install -d $(DESTDIR)$(SYSTEMD_PREFIX)/systemd/system
	sed -e 's|/usr/sbin/|$(PREFIX)/sbin/|' $(if $(SYSTEMD_254),$(UNIT_254)) systemd/dbufd.service \
		> $(DESTDIR)$(SYSTEMD_PREFIX)/systemd/system/dbufd.service
	install -D -m 644 systemd/dbufd.catalog $(DESTDIR)$(SYSTEMD_PREFIX)/systemd/catalog/dbufd.catalog
	install -D -m 644 systemd/dbufd.sysusers $(DESTDIR)$(SYSTEMD_PREFIX)/sysusers.d/dbufd.conf
	install -D -m 644 etc/dbufd.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/dbufd
	ln -sf dbufd $(DESTDIR)$(PREFIX)/share/bash-completion/completions/dbufctl
	for file in systemd/drop-ins/*.conf; do \
		install -D -m 644 $$file $(DESTDIR)$(PREFIX)/share/doc/dbufd/drop-ins/$${file##*/} || exit; \
	done
	for page in man/*.[1-8]; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit; \
	done

# A Debian package, build/dbufd_VERSION-REVISION_ARCHITECTURE.deb
deb:
	@tests/deps $(PACKAGES_BUILD) $(PACKAGES_DEB)
	@systemd/deb/build $(B) $(VERSION)-$(REVISION)

clean:
	rm -rf build

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

bench: bench-buffer bench-disk

.PHONY: all help deps run check check-trixie check-arm64 soak units fuzzers bench bench-buffer bench-disk install deb clean
.SECONDARY:
.DELETE_ON_ERROR:
