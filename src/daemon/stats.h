/* SPDX-License-Identifier: MIT
 *
 * The figures of stats.def, gathered from everyone's accounts, and the two lines made of them.
 *
 * Main thread only. Gathering takes no lock and stops nobody: what was stored is read first and what
 * was accepted after it, so that the balance accepted = persisted + buffered + dropped closes with
 * nothing negative in it, at any moment.
 */
#ifndef DBUFD_DAEMON_STATS_H
#define DBUFD_DAEMON_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "../buffer/db.h"
#include "../disk/store.h"
#include "notify.h"
#include "reader.h"
#include "writer.h"

struct stats {
#define COUNTER(member, field, unit, help) uint64_t member;
#define GAUGE(member, field, unit, help)   uint64_t member;
#include "stats.def"
#undef COUNTER
#undef GAUGE
    uint64_t time_ns;                     /* CLOCK_MONOTONIC */
    uint64_t sizes[SIZE_CLASSES];         /* accepted blocks by size class */
    uint64_t hold_times[DB_HOLD_CLASSES]; /* holds by their time: see db.h */
    uint64_t durable_bytes;               /* of those persisted, what a power cut cannot take */
    uint64_t disk_held_sec;               /* 0: the disk is well */
    int disk_error;                       /* errno, while held */
    const char *crash_buffer;             /* what is in force */
};

struct stats_sources {
    const struct stats *carried; /* the counters of parts that were replaced: see stats_carry */
    struct db *db;
    const struct store *store;
    const struct reader *reader;
    struct writer *const *writers;
    unsigned writer_count;
    const char *crash_buffer;
};

/* Gathers everything; the rates are those since `before` (all zero: since the start). */
void stats_gather(const struct stats_sources *sources, const struct stats *before,
                  struct stats *ret);

/* Adds the counters of parts that are to be replaced to those of their forerunners; NULL: that part
 * stays. Their threads have ended, and what was accepted is stored. */
void stats_carry(const struct stats_sources *replaced, struct stats *carried);

/* Adds what costs a file for each thread: how often they were preempted. */
void stats_gather_preemptions(const struct stats_sources *sources, struct stats *ret);

/* The report: one line for a person, every figure as a journal field. `final`: the last one. */
void stats_report(const struct notify *notify, const struct stats *stats, int final);

/* The one line for `systemctl status`. Returns text. */
char *stats_status(const struct stats *stats, char *text, size_t text_bytes);

/* "1.92 GB" and the like, units of 1000. Returns text. */
char *stats_bytes(uint64_t bytes, char *text, size_t text_bytes);

#endif
