/* SPDX-License-Identifier: MIT
 *
 * See stats.h. Nothing here fails: a figure that cannot be had (jemalloc's, in a build without it)
 * is 0.
 */
#include "stats.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TEXT_BYTES = 24, CLASS_TEXT_BYTES = 32 };

/* A build with a sanitizer has the sanitizer's allocator instead. */
int mallctl(const char *name, void *old, size_t *old_bytes, void *new, size_t new_bytes)
    __attribute__((weak));

static uint64_t heap_figure(const char *name)
{
    size_t value = 0, value_bytes = sizeof(value);
    if (mallctl == NULL || mallctl(name, &value, &value_bytes, NULL, 0) != 0)
        return 0;
    return value;
}

static void gather_heap(struct stats *ret)
{
    uint64_t epoch = 1; /* jemalloc's own: setting it makes it count anew */
    if (mallctl != NULL)
        (void)mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
    ret->heap_allocated_bytes = heap_figure("stats.allocated");
    ret->heap_active_bytes = heap_figure("stats.active");
    ret->heap_resident_bytes = heap_figure("stats.resident");
}

static void gather_db(struct db *db, unsigned writer_count, struct stats *ret)
{
    ret->writer_bytes_least = UINT64_MAX;
    for (unsigned i = 0; i < writer_count; i++) {
        const struct db_account in = db_account(db_writer(db, i));
        ret->accepted_blocks += in.blocks;
        ret->accepted_bytes += in.bytes;
        ret->held_usec += in.held_ns / 1000;
        ret->holds += in.holds;
        for (int class = 0; class < DB_HOLD_CLASSES; class ++)
            ret->hold_times[class] += in.hold_times[class];
        if (in.bytes < ret->writer_bytes_least)
            ret->writer_bytes_least = in.bytes;
        if (in.bytes > ret->writer_bytes_most)
            ret->writer_bytes_most = in.bytes;
    }
}

static void gather_writers(struct writer *const writers[], unsigned writer_count, struct stats *ret)
{
    for (unsigned i = 0; i < writer_count; i++) {
        struct writer_account account;
        writer_account(writers[i], &account);
        ret->lines_cut += account.lines_cut;
        ret->kernel_drops += account.kernel_drops;
        for (int class = 0; class < SIZE_CLASSES; class ++)
            ret->sizes[class] += account.sizes[class];
    }
}

static void gather_store(const struct store_account *out, struct stats *ret)
{
    ret->persisted_blocks += out->blocks;
    ret->persisted_bytes += out->bytes;
    ret->durable_bytes += out->durable_bytes;
    ret->file_bytes += out->file_bytes;
    ret->segments += out->segments;
    ret->segments_deleted += out->segments_deleted;
    ret->write_usec += out->write_ns / 1000;
    ret->sync_usec += out->sync_ns / 1000;
    ret->syncs += out->syncs;
    ret->digest = out->digest;
}

static void gather_buffer(const struct stats_sources *sources, struct stats *ret)
{
    const struct db_state state = db_state(sources->db);
    const uint64_t unstored = (uint64_t)state.halves_unstored * state.extent_count;
    ret->fill_percent = (state.claimed + unstored) * 100 / (2 * (uint64_t)state.extent_count);
    ret->held_writers = state.writers_held;
}

static uint64_t per_second(uint64_t now, uint64_t before, uint64_t elapsed_ns)
{
    return elapsed_ns == 0 ? 0 : (uint64_t)((double)(now - before) * 1e9 / (double)elapsed_ns);
}

void stats_gather(const struct stats_sources *sources, const struct stats *before,
                  struct stats *ret)
{
    *ret = *sources->carried;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    ret->time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;

    /* The order matters: see the header. */
    const struct store_account out = store_account(sources->store);
    gather_store(&out, ret);
    gather_db(sources->db, sources->writer_count, ret);
    gather_writers(sources->writers, sources->writer_count, ret);
    assert(ret->accepted_bytes >= ret->persisted_bytes);
    assert(ret->accepted_blocks >= ret->persisted_blocks);
    ret->buffered_bytes = ret->accepted_bytes - ret->persisted_bytes - ret->dropped_bytes;
    ret->buffered_blocks = ret->accepted_blocks - ret->persisted_blocks - ret->dropped_blocks;
    ret->at_risk_bytes = ret->accepted_bytes - ret->dropped_bytes - ret->durable_bytes;

    const uint64_t elapsed_ns = ret->time_ns - before->time_ns;
    ret->in_bytes_per_sec = per_second(ret->accepted_bytes, before->accepted_bytes, elapsed_ns);
    ret->in_blocks_per_sec = per_second(ret->accepted_blocks, before->accepted_blocks, elapsed_ns);
    ret->out_bytes_per_sec = per_second(ret->persisted_bytes, before->persisted_bytes, elapsed_ns);

    struct reader_account reader;
    reader_account(sources->reader, &reader);
    ret->halves += reader.halves;
    ret->last_half_bytes_per_sec = reader.last_bytes_per_sec;
    ret->disk_error = reader.disk_error;
    if (reader.disk_held_since_ns != 0)
        ret->disk_held_sec = (ret->time_ns - reader.disk_held_since_ns) / 1000000000 + 1;

    ret->crash_buffer = sources->crash_buffer;
    gather_buffer(sources, ret);
    gather_heap(ret);
}

void stats_gather_preemptions(const struct stats_sources *sources, struct stats *ret)
{
    ret->reader_preemptions += reader_preemptions(sources->reader);
    for (unsigned i = 0; i < sources->writer_count; i++)
        ret->writer_preemptions += writer_preemptions(sources->writers[i]);
}

void stats_carry(const struct stats_sources *replaced, struct stats *carried)
{
    struct reader_account reader;
    if (replaced->db != NULL)
        gather_db(replaced->db, replaced->writer_count, carried);
    if (replaced->store != NULL) {
        const struct store_account out = store_account(replaced->store);
        gather_store(&out, carried);
    }
    gather_writers(replaced->writers, replaced->writer_count, carried);
    reader_account(replaced->reader, &reader);
    carried->halves += reader.halves;
    stats_gather_preemptions(replaced, carried);
    /* These are of the parts that are there. */
    carried->writer_bytes_least = carried->writer_bytes_most = 0;
    carried->digest = 0;
}

/* ---- In words
 * ------------------------------------------------------------------------------------ */

char *stats_bytes(uint64_t bytes, char *text, size_t text_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof(units) / sizeof(*units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text, text_bytes, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.3g %s", value,
                   units[unit]);
    return text;
}

/* The least value of a class: each is twice as wide as the one before. */
static unsigned long class_least(int class)
{
    return class == 0 ? 0 : 1UL << (class - 1);
}

/* Writes "least: count" pairs, "16:120 32:77", of the classes that are not empty. */
static void format_classes(const uint64_t *counts, int classes, char *text, size_t text_bytes)
{
    size_t at = 0;
    text[0] = '\0';
    for (int class = 0; class < classes; class ++) {
        if (counts[class] == 0)
            continue;
        int n = snprintf(text + at, text_bytes - at, "%s%lu:%" PRIu64, at == 0 ? "" : " ",
                         class_least(class), counts[class]);
        assert(n > 0 && (size_t)n < text_bytes - at);
        at += (size_t)n;
    }
}

/* "65.5 ms", "2.1 s". Returns text. */
static char *format_time(unsigned long usec, char text[static TEXT_BYTES])
{
    const double ms = (double)usec / 1e3;
    (void)snprintf(text, TEXT_BYTES, "%.3g %s", ms < 999.5 ? ms : ms / 1e3,
                   ms < 999.5 ? "ms" : "s");
    return text;
}

/* How long writers were held, half of the times and the longest, as far as the classes tell: for the
 * line that is about all of a run. */
static void format_holds(const struct stats *stats, char *text, size_t text_bytes)
{
    uint64_t seen = 0;
    int median = -1, most = -1;
    text[0] = '\0';
    for (int class = 0; class < DB_HOLD_CLASSES; class ++) {
        seen += stats->hold_times[class];
        if (median < 0 && seen > 0 && seen * 2 >= stats->holds)
            median = class;
        if (stats->hold_times[class] > 0)
            most = class;
    }
    char half[TEXT_BYTES], all[TEXT_BYTES];
    const bool open_ended = most == DB_HOLD_CLASSES - 1;
    if (most >= 0)
        (void)snprintf(text, text_bytes, "; held %" PRIu64 " times, half of them under %s, %s %s",
                       stats->holds, format_time(class_least(median + 1), half),
                       open_ended ? "the longest over" : "all under",
                       format_time(class_least(open_ended ? most : most + 1), all));
}

void stats_report(const struct notify *notify, const struct stats *stats, int final)
{
    char in[TEXT_BYTES], out[TEXT_BYTES], risk[TEXT_BYTES], holds[128] = "";
    char sizes[SIZE_CLASSES * CLASS_TEXT_BYTES], hold_times[DB_HOLD_CLASSES * CLASS_TEXT_BYTES];
    char drops[80] = "";
    format_classes(stats->sizes, SIZE_CLASSES, sizes, sizeof(sizes));
    format_classes(stats->hold_times, DB_HOLD_CLASSES, hold_times, sizeof(hold_times));
    if (final)
        format_holds(stats, holds, sizeof(holds));
    if (stats->kernel_drops > 0)
        (void)snprintf(drops, sizeof(drops), "; %" PRIu64 " datagrams dropped by the kernel before",
                       stats->kernel_drops);
    const struct event_field fields[] = {
#define COUNTER(member, field, unit, help) {field, NULL, stats->member},
#define GAUGE(member, field, unit, help)   {field, NULL, stats->member},
#include "stats.def"
#undef COUNTER
#undef GAUGE
        {"BLOCK_SIZES", sizes, 0},
        {"HOLD_TIMES", hold_times, 0},
        {"CRASH_BUFFER", stats->crash_buffer, 0},
    };
    notify_event(notify, EVENT_REPORT, fields, sizeof(fields) / sizeof(*fields),
                 "%s %s/s, out %s/s, %" PRIu64 " blocks/s; accepted %" PRIu64
                 " = persisted %" PRIu64 " + buffered %" PRIu64 " + dropped %" PRIu64
                 " bytes; buffer %" PRIu64 " %% full, %" PRIu64 " held; %s at risk%s%s",
                 final ? "in all: in" : "in", stats_bytes(stats->in_bytes_per_sec, in, sizeof(in)),
                 stats_bytes(stats->out_bytes_per_sec, out, sizeof(out)), stats->in_blocks_per_sec,
                 stats->accepted_bytes, stats->persisted_bytes, stats->buffered_bytes,
                 stats->dropped_bytes, stats->fill_percent, stats->held_writers,
                 stats_bytes(stats->at_risk_bytes, risk, sizeof(risk)), drops, holds);
}

char *stats_status(const struct stats *stats, char *text, size_t text_bytes)
{
    char in[TEXT_BYTES], out[TEXT_BYTES], risk[TEXT_BYTES], disk[96] = "disk ok";
    if (stats->disk_held_sec != 0)
        (void)snprintf(disk, sizeof(disk), "disk refuses for %" PRIu64 " s: %s",
                       stats->disk_held_sec, strerror(stats->disk_error));
    (void)snprintf(text, text_bytes,
                   "in %s/s, out %s/s, %" PRIu64 " blocks/s; buffer %" PRIu64 " %% full, %" PRIu64
                   " held; %s at risk; %s",
                   stats_bytes(stats->in_bytes_per_sec, in, sizeof(in)),
                   stats_bytes(stats->out_bytes_per_sec, out, sizeof(out)),
                   stats->in_blocks_per_sec, stats->fill_percent, stats->held_writers,
                   stats_bytes(stats->at_risk_bytes, risk, sizeof(risk)), disk);
    return text;
}
