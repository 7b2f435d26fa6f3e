/* SPDX-License-Identifier: MIT
 *
 * What a reload makes ahead, beside all that runs: memory, output, sources, threads.
 *
 * Happy path: each is made, and lies in the reload until the switch.
 * Failure modes: one cannot be made: that is told, and the reload is freed with what there is of it.
 */
#include "reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* How many of the writers' sources go on in the writers of the same number. */
static unsigned kept_sources(const struct dbufd *d, const struct reload *r)
{
    const unsigned count = (unsigned)r->config->writer_count;
    if ((r->needs & NEEDS_SOURCES) != 0 || r->config->source_type == SOURCE_RANDOM)
        return 0; /* a random source is no more than a place in a sequence */
    return count < d->writer_count ? count : d->writer_count;
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
        reload_refuse(d, "there is no seed, or no list of cores", strerror(-rc));
        return false;
    }
    r->kept = kept_sources(d, r);
    if ((rc = crew_open_sources(&r->crew, d, c, r->seed, r->kept)) < 0) {
        reload_refuse(d, "the source cannot be opened", strerror(-rc));
        return false;
    }
    if (r->needs & NEEDS_OUTPUT)
        rc = make_uring(d, c, &r->uring);
    if (rc == 0 && (r->needs & NEEDS_OUTPUT))
        rc = make_store(d, c, r->seed, &r->geometry, r->uring, &r->store);
    if (rc < 0) {
        reload_refuse(d, "the output cannot be opened", why_not(c, EX_IOERR, rc));
        return false;
    }
    if (r->needs & (NEEDS_BUFFER | NEEDS_OUTPUT))
        rc = open_buffer(d, r);
    if (rc < 0) {
        reload_refuse(
            d,
            "there is no memory for another buffer beside the old one, which a restart would do "
            "without",
            strerror(-rc));
        return false;
    }
    if ((rc = crew_open_threads(&r->crew, c, &r->cpus, r->geometry.extent_count)) < 0) {
        reload_refuse(d,
                      "the threads cannot be started that take over from those that run; raise "
                      "LimitNPROC and TasksMax",
                      strerror(-rc));
        return false;
    }
    return true;
}

/* A new output may be slow to open, and its newest file long to read: that is no reason to end this one. */
bool reload_prepare(struct dbufd *d, struct reload *r)
{
    notify_watchdog_patience(&d->notify, STALL_MAX_NS);
    const bool ready = prepare_parts(d, r);
    notify_watchdog_patience(&d->notify, 0);
    return ready;
}
