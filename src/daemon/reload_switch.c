/* SPDX-License-Identifier: MIT
 *
 * The switch of a reload: the writers pause, the reader stores what is in memory, and all goes on with
 * the new parts in the place of the old ones. What sources that go on have read and not given out yet is
 * in nobody's hands but ours here, so from the pause on nothing is done that can fail.
 *
 * Failure modes: a disk that refuses while writers pause: waited for, as ever.
 */
#include "reload.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- Pause ------------------------------------------------------------------------------------- */

void reload_pause(struct dbufd *d)
{
    const uint64_t one = 1;
    struct reload *r = d->reload;
    /* What is in memory is stored by the new settings already: they may be what it waits for. */
    struct reader_tuning tuning = reader_tuning(r->config);
    if (r->store !=
        NULL) { /* what may be deleted of the output that is left its own settings say */
        const struct store_tuning own = reader_tuning(d->config).store;
        tuning.store.retain_bytes = own.retain_bytes;
        tuning.store.retain_age_ns = own.retain_age_ns;
        tuning.store.full_deletes = own.full_deletes;
        tuning.store.min_free_bytes = own.min_free_bytes;
    }
    reader_tune(d->reader, &tuning);
    r->paused_ns = now_ns();
    if (r->store == NULL)
        reader_keep_stream(d->reader);
    for (unsigned i = r->crew.count; i < d->writer_count; i++)
        writer_leave(d->writers[i]); /* until it is closed the disk may need long */
    for (unsigned i = 0; i < d->writer_count; i++)
        writer_order(d->writers[i], i < r->kept ? WRITER_PAUSE : WRITER_END);
    ssize_t n = write(d->stop_fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
}

/* ---- Go on ------------------------------------------------------------------------------------- */

/* Ends the old writers. Their sources that go on are the reload's then. */
static void take_sources(struct dbufd *d, struct reload *r)
{
    for (unsigned i = 0; i < d->writer_count; i++) {
        int rc;
        struct source *source = writer_take_source(d->writers[i], &rc);
        if (rc < 0)
            d->status = EX_NOINPUT;
        if (i < r->kept)
            r->crew.sources[i] = source;
        else
            source_close(source);
    }
}

/* The counters of what goes are kept. */
static void retire(struct dbufd *d, const struct reload *r)
{
    struct stats_sources replaced = stats_sources(d);
    if (r->db == NULL)
        replaced.db = NULL;
    if (r->store == NULL)
        replaced.store = NULL;
    stats_carry(&replaced, &d->carried);
    if (reader_join(d->reader))
        (void)store_rotate(d->store);
    d->reader = NULL;
    d->stall = (struct stall){0};
    for (unsigned i = 0; i < d->writer_count; i++)
        (void)writer_close(d->writers[i]); /* why it ended was asked for before */
    free(d->writers);
    d->writers = NULL;
}

/* The new parts are in the place of the old ones, which are gone. */
static void replace(struct dbufd *d, struct reload *r)
{
    enum crash_kind kind;
    if (r->store != NULL) {
        store_free(d->store);
        free_uring(d->uring);
        d->store = r->store;
        d->uring = r->uring;
        r->store = NULL;
        r->uring = NULL;
    } else
        change_store(d->store, r->config, r->seed, &r->geometry);
    if (r->db != NULL) {
        int rc = crash_replace(&d->crash, &r->crash);
        if (rc < 0) {
            r->crash.kind = CRASH_OFF;
            r->crash.why_not = rc;
        }
        db_free(d->db);
        d->db = r->db;
        r->db = NULL;
        db_set_next_blocks(d->db, store_next_blocks(d->store));
    } else
        db_reopen(d->db);
    d->crash = r->crash;
    (void)crash_parse(r->config->crash_buffer, &kind, &d->crash.path); /* as it was, in this text */
    cpus_plan_free(&d->cpus);
    d->cpus = r->cpus;
    r->cpus = (struct cpus_plan){0};
    d->seed = r->seed;
    config_free(d->config);
    d->config = r->config;
}

/* What is told of parts at the start is told of new ones, where it is news: `memory` is that before. */
static void tell_parts(const struct dbufd *d, const struct reload *r, const struct region *memory)
{
    const struct region *now = db_region(d->db);
    if (now->huge_errno > memory->huge_errno || now->lock_errno > memory->lock_errno)
        tell_memory(d);
    if (d->crash.kind != r->kind)
        crash_tell(d);
    if (r->changed[OPTION_cpus_writers] || r->changed[OPTION_cpus_reader] ||
        r->changed[OPTION_writer_count])
        tell_cores(d);
}

/* An eventfd is not readable any more. */
static void take_count(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));
    assert(n == (ssize_t)sizeof(count) || errno == EAGAIN);
}

/* The reader has stored all there was: the hand-over itself. */
static void go_on(struct dbufd *d, struct reload *r)
{
    struct stats stats;
    const struct stats_sources sources = stats_sources(d);
    const struct region memory = *db_region(d->db);
    take_sources(d, r);
    stats_gather(&sources, &d->reported, &stats);
    assert(stats.buffered_blocks == 0 && stats.buffered_bytes == 0);
    retire(d, r);
    replace(d, r);
    take_count(d->fds[FD_WRITERS_ENDED]);
    take_count(d->fds[FD_READER_ENDED]);
    if (!atomic_load_explicit(&d->stop, memory_order_relaxed))
        take_count(d->stop_fd);

    d->notify.debug = d->config->debug_mode;
    const unsigned running = crew_go(d, &r->crew, stats.accepted_bytes);
    if (r->changed[OPTION_stats_interval] || r->changed[OPTION_enable_stats])
        set_report_timer(d);
    reload_serve(d, r);
    reload_tell(d, r->description, now_ns() - r->paused_ns);
    tell_parts(d, r, &memory);
    if (running == 0) { /* all sources have come to their ends meanwhile */
        ask_stop(d);
        db_close(d->db);
    }
}

bool reload_go_on(struct dbufd *d)
{
    struct reload *r = d->reload;
    if (r == NULL)
        return false;
    d->reload = NULL;
    go_on(d, r);
    r->config = NULL; /* it is the daemon's */
    reload_free(r);
    if (d->reload_again) {
        d->reload_again = false;
        reload(d);
    }
    return true;
}
