/* SPDX-License-Identifier: MIT
 *
 * The switch of a reload: the writers pause, the reader stores what is in memory, and all goes on with
 * the new parts in the place of the old ones.
 *
 * Failure modes: a disk that refuses while writers pause: waited for, as ever. Fewer threads than were
 * asked for: those that there are go on.
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
    const struct reader_tuning tuning = reader_tuning(r->config);
    reader_tune(d->reader, &tuning);
    r->paused_ns = now_ns();
    if (r->store == NULL)
        reader_keep_stream(d->reader);
    for (unsigned i = 0; i < d->writers_started; i++)
        writer_order(d->writers[i], reload_keeps_source(d, r, i) && i < r->config->writer_count
                                        ? WRITER_PAUSE
                                        : WRITER_END);
    ssize_t n = write(d->stop_fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
}

/* ---- Go on ------------------------------------------------------------------------------------- */

/* Ends the old writers. Their sources that go on are the reload's then. */
static void take_sources(struct dbufd *d, struct reload *r)
{
    for (unsigned i = 0; i < d->writers_opened; i++) {
        int rc;
        struct source *source = writer_take_source(d->writers[i], &rc);
        if (rc < 0)
            d->status = EX_NOINPUT;
        if (i < r->config->writer_count && reload_keeps_source(d, r, i))
            r->sources[i] = source;
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
    for (unsigned i = 0; i < d->writers_opened; i++)
        (void)writer_close(d->writers[i]); /* why it ended was asked for before */
    free(d->writers);
    d->writers = NULL;
    d->writers_opened = d->writers_started = d->writers_ended = 0;
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

/* Opens and starts the writers; `taken` bytes of the limit are used up. How many run. */
static unsigned start_anew(struct dbufd *d, struct reload *r, uint64_t taken)
{
    const struct config *c = d->config;
    const unsigned count = (unsigned)c->writer_count;
    const uint64_t left = c->source_limit > taken ? c->source_limit - taken : 0;
    unsigned sources = 0, running = 0;
    for (unsigned i = 0; i < count; i++)
        sources += c->source_type == SOURCE_RANDOM || r->sources[i] != NULL;
    d->writers = calloc(count, sizeof(*d->writers));
    for (unsigned i = 0; d->writers != NULL && i < count; i++) {
        struct writer_options options = writer_options(d, i);
        const bool ended = c->source_type != SOURCE_RANDOM && r->sources[i] == NULL;
        if (c->source_limit != 0 && !ended)
            options.limit = part_of(left, sources, running);
        int rc = ended ? writer_open_ended(&d->writers[i], &options)
                       : writer_open(&d->writers[i], &options, r->sources[i]);
        if (rc < 0)
            break;
        r->sources[i] = NULL;
        d->writers_opened = i + 1;
        if (!ended && writer_start(d->writers[i]) == 0)
            running++;
        else
            d->writers_ended++;
    }
    d->writers_started = d->writers_opened;
    for (unsigned i = 0; i < count; i++) {
        source_close(r->sources[i]); /* of a writer that there is no memory for */
        r->sources[i] = NULL;
    }
    if (running < sources) {
        const struct event_field fields[] = {{"WRITERS", NULL, running}, {"WANTED", NULL, sources}};
        notify_event(&d->notify, EVENT_WRITERS_MISSING, fields, 2,
                     "only %u of %u writers could be started; they go on; raise LimitNPROC and "
                     "TasksMax, then restart",
                     running, sources);
    }
    return running;
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
static bool go_on(struct dbufd *d, struct reload *r)
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

    int rc = start_reader(d);
    if (rc < 0) {
        d->status = cannot(d, EX_OSERR, "start", "the reader's thread", rc);
        return false;
    }
    d->notify.debug = d->config->debug_mode;
    const unsigned running = start_anew(d, r, stats.accepted_bytes);
    if (r->changed[OPTION_stats_interval] || r->changed[OPTION_enable_stats])
        set_report_timer(d);
    reload_tell(d, r->description, now_ns() - r->paused_ns);
    tell_parts(d, r, &memory);
    if (running == 0) { /* all sources have come to their ends meanwhile */
        ask_stop(d);
        db_close(d->db);
    }
    return true;
}

bool reload_go_on(struct dbufd *d)
{
    struct reload *r = d->reload;
    if (r == NULL)
        return false;
    d->reload = NULL;
    const bool on = go_on(d, r);
    r->config = NULL; /* it is the daemon's */
    free(r->sources);
    r->sources = NULL;
    reload_free(r);
    if (on && d->reload_again) {
        d->reload_again = false;
        reload(d);
    }
    return on;
}
