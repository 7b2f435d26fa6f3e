/* SPDX-License-Identifier: MIT
 *
 * Another configuration, while blocks come in.
 *
 * Happy path, for what is only looked at (an interval, a rate, the durability): it is set. For all else dbufd hands over
 * to itself:
 *     prepare    everything new that can fail is made, beside the old: memory, output, sources
 *     pause      the writers end at their next block; their sources keep what they have read
 *     store      the double buffer is closed, the reader stores what is in it and ends
 *     go on      the new parts take the place of the old ones, the sources that stay get new writers,
 *                the sequences go on where they were, and the threads start again
 * The writers are paused for as long as it takes to store what is in memory. No block is in two places
 * at any time, so a crash at any moment finds what it always finds: one buffer with blocks in it.
 * Failure modes: a file with mistakes, or parts that cannot be made: all is as it was, with the reason
 * told. A disk that refuses while writers pause: waited for, as ever. Fewer threads than were asked for:
 * those that there are go on.
 * On stop: a stop that comes in between is one for the new parts.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "config_change.h"
#include "dbufd.h"

/* What is in force once the reader has stored all that was there before. */
struct reload {
    struct config *config;
    bool changed[OPTION_COUNT];
    unsigned needs;     /* of all that has changed: enum change_needs */
    char *description;  /* of the changes */
    uint64_t paused_ns; /* CLOCK_MONOTONIC */
    uint64_t seed;
    struct db_geometry geometry;
    struct cpus_plan cpus;
    struct crash crash;
    enum crash_kind kind;    /* of the crash buffer before */
    struct db *db;           /* NULL: the one that is there */
    struct store *store;     /* likewise */
    struct output *uring;    /* of that store */
    struct source **sources; /* [writer_count], NULL: that of the old writer, or none yet */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void reload_free(struct reload *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; r->sources != NULL && i < r->config->writer_count; i++)
        source_close(r->sources[i]);
    free(r->sources);
    if (r->store != NULL)
        (void)store_finish(r->store); /* it holds nothing: unclosed, its next start would say so */
    store_free(r->store);
    free_uring(r->uring);
    if (r->db != NULL)
        crash_drop(&r->crash);
    db_free(r->db);
    cpus_plan_free(&r->cpus);
    free(r->description);
    config_free(r->config);
    free(r);
}

void reload_give_up(struct dbufd *d)
{
    reload_free(d->reload);
    d->reload = NULL;
}

static void refuse(const struct dbufd *d, const char *what, const char *why)
{
    const struct event_field fields[] = {{"REASON", why, 0}};
    notify_event(&d->notify, EVENT_RELOAD_REFUSED, fields, 1,
                 "not reloaded, the configuration is as it was: %s%s%s", what,
                 why[0] != '\0' ? ": " : "", why);
    notify_ready();
}

/* ---- Prepare ----------------------------------------------------------------------------------- */

/* Whether writer i's source goes on: then the old writer hands it over. */
static bool keeps_source(const struct dbufd *d, const struct reload *r, unsigned i)
{
    return (r->needs & NEEDS_SOURCES) == 0 && r->config->source_type != SOURCE_RANDOM &&
           i < d->writers_opened;
}

/* The sources that are not kept, and of which one is more than a place in a sequence. */
static int open_sources(const struct dbufd *d, struct reload *r)
{
    const unsigned count = (unsigned)r->config->writer_count;
    int rc = 0;
    r->sources = calloc(count, sizeof(struct source *));
    if (r->sources == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < count && rc == 0; i++) {
        if (keeps_source(d, r, i) || r->config->source_type == SOURCE_RANDOM)
            continue;
        const struct source_options options = source_options(d, r->config, r->seed, i);
        rc = source_open(&r->sources[i], &options);
    }
    return rc;
}

static int open_buffer(const struct dbufd *d, struct reload *r)
{
    const struct store *store = r->store != NULL ? r->store : d->store;
    struct crash crash;
    struct db *db;
    int rc = crash_renew(&d->crash, r->config, &crash);
    if (rc < 0)
        return rc;
    rc = make_buffer(r->config, r->seed, &r->geometry, store, &crash, &db);
    if (rc == 0 && (rc = crash_keep(&crash, db)) < 0)
        db_free(db);
    if (rc < 0) {
        crash_drop(&crash);
        return rc;
    }
    r->crash = crash;
    r->db = db;
    return 0;
}

/* Makes what is new. False: it could not, and that was told. */
static bool prepare_parts(struct dbufd *d, struct reload *r)
{
    const struct config *c = r->config;
    int rc = 0;
    r->seed = d->seed;
    r->crash = d->crash;
    r->kind = d->crash.kind;
    cut_capacity(c, &r->geometry);
    if (r->changed[OPTION_source_seed])
        rc = choose_seed(c, &r->seed);
    if (rc == 0)
        rc = plan_cores(c, &r->cpus);
    if (rc < 0) {
        refuse(d, "there is no seed, or no list of cores", strerror(-rc));
        return false;
    }
    if ((rc = open_sources(d, r)) < 0) {
        refuse(d, "the source cannot be opened", strerror(-rc));
        return false;
    }
    if (r->needs & NEEDS_OUTPUT)
        rc = make_uring(d, c, &r->uring);
    if (rc == 0 && (r->needs & NEEDS_OUTPUT))
        rc = make_store(d, c, r->seed, &r->geometry, r->uring, &r->store);
    if (rc < 0) {
        refuse(d, "the output cannot be opened", why_not(c, EX_IOERR, rc));
        return false;
    }
    if (r->needs & (NEEDS_BUFFER | NEEDS_OUTPUT))
        rc = open_buffer(d, r);
    if (rc < 0) {
        refuse(d,
               "there is no memory for another buffer beside the old one, which a restart would do "
               "without",
               strerror(-rc));
        return false;
    }
    return true;
}

/* A new output may be slow to open, and its newest file long to read: that is no reason to end this one. */
static bool prepare(struct dbufd *d, struct reload *r)
{
    notify_watchdog_patience(&d->notify, STALL_MAX_NS);
    const bool ready = prepare_parts(d, r);
    notify_watchdog_patience(&d->notify, 0);
    return ready;
}

/* ---- Pause ------------------------------------------------------------------------------------- */

static void pause_writers(struct dbufd *d)
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
        writer_order(d->writers[i], keeps_source(d, r, i) && i < r->config->writer_count
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
        if (i < r->config->writer_count && keeps_source(d, r, i))
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

/* What is only looked at. */
static void apply_settings(struct dbufd *d)
{
    const struct config *c = d->config;
    const struct reader_tuning tuning = reader_tuning(c);
    d->notify.debug = c->debug_mode;
    reader_tune(d->reader, &tuning);
    for (unsigned i = 0; i < d->writers_started; i++)
        writer_set_rate(d->writers[i], rate_of(c, i));
}

static void tell_reloaded(const struct dbufd *d, const char *description, uint64_t paused_ns)
{
    const uint64_t usec = paused_ns / 1000;
    const struct event_field fields[] = {{"CHANGES", description, 0}, {"PAUSED_USEC", NULL, usec}};
    if (paused_ns == 0)
        notify_event(&d->notify, EVENT_RELOADED, fields, 2, "reloaded: %s", description);
    else
        notify_event(&d->notify, EVENT_RELOADED, fields, 2,
                     "reloaded: %s; the writers were paused for %" PRIu64 ".%" PRIu64 " ms",
                     description, usec / 1000, usec / 100 % 10);
    notify_ready();
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
    tell_reloaded(d, r->description, now_ns() - r->paused_ns);
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

/* ---- Reload ------------------------------------------------------------------------------------ */

/* Of what needs a restart, the new configuration has the old value. False: no memory. */
static bool put_back(const struct dbufd *d, struct reload *r)
{
    char *text = config_describe_changes(d->config, r->config, r->changed, NEEDS_RESTART);
    if (text == NULL)
        return false;
    const struct event_field fields[] = {{"CHANGES", text, 0}};
    if (text[0] != '\0')
        notify_event(&d->notify, EVENT_NEEDS_RESTART, fields, 1,
                     "needs a restart, and is as it was until then: %s", text);
    free(text);
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        if (r->changed[id] && config_needs(id) == NEEDS_RESTART &&
            config_copy(r->config, d->config, id) < 0)
            return false;
    return true;
}

/* Only what is looked at has changed: the texts of the configuration stay. */
static void set(struct dbufd *d, const struct reload *r)
{
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        if (r->changed[id] && config_needs(id) == NEEDS_SETTING) {
            int rc = config_copy(d->config, r->config, id);
            assert(rc == 0); /* none of them is a text */
        }
    apply_settings(d);
    if (r->changed[OPTION_stats_interval] || r->changed[OPTION_enable_stats])
        set_report_timer(d);
    tell_reloaded(d, r->description[0] != '\0' ? r->description : "nothing has changed", 0);
}

static struct reload *read_file(struct dbufd *d)
{
    int rc;
    struct reload *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        refuse(d, "no memory", "");
        return NULL;
    }
    r->crash.file = -1;
    r->config = load_config(&d->notify, d->line, d->config_path, &rc);
    if (r->config == NULL) {
        refuse(d, "the file has mistakes, or cannot be read", "");
        free(r);
        return NULL;
    }
    r->needs = config_changes(d->config, r->config, r->changed);
    r->description =
        config_describe_changes(d->config, r->config, r->changed, NEEDS_SETTING | NEEDS_MORE);
    if (r->description == NULL || !put_back(d, r)) {
        refuse(d, "no memory", "");
        reload_free(r);
        return NULL;
    }
    return r;
}

void reload(struct dbufd *d)
{
    if (atomic_load_explicit(&d->stop, memory_order_relaxed))
        return; /* it makes no difference any more */
    if (d->reload != NULL) {
        d->reload_again = true;
        return;
    }
    notify_reloading();
    struct reload *r = read_file(d);
    if (r == NULL)
        return;
    /* Both streams would have the same other place at a time. */
    const bool shares_place =
        (r->needs & NEEDS_OUTPUT) != 0 && d->config->output_failover_path[0] != '\0';
    if (shares_place)
        refuse(d, "with output.failover_path another output needs a restart", r->description);
    else if ((r->needs & NEEDS_MORE) == 0)
        set(d, r);
    else if (prepare(d, r)) {
        d->reload = r;
        pause_writers(d);
        return;
    }
    reload_free(r);
}
