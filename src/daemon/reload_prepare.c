/* SPDX-License-Identifier: MIT
 *
 * What a reload makes ahead, beside all that runs: memory, output, sources, threads.
 *
 * All of it is made in a thread of its own, since each may take long: a new output is on another disk,
 * whose newest file is read whole; a source's path may lie on a network; memory is cleared, and the
 * service manager asked to keep it. What is made and not wanted is undone there as well.
 *
 * Happy path: each is made, and lies in the reload until the switch.
 * Failure modes: one cannot be made: the others are undone, and the main thread tells why. A disk that
 * hangs: the thread hangs, nothing else does.
 * On stop: not wanted any more. A thread that hangs is not waited for: the process ends around it.
 */
#include "reload.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* ---- The preparing thread's ---- */

static int open_buffer(struct reload *r)
{
    const uint8_t *uuid = r->store != NULL ? store_uuid(r->store) : r->uuid;
    struct crash crash;
    struct db *db;
    int rc = crash_renew(&r->crash, r->config, &crash);
    if (rc < 0)
        return rc;
    rc = make_buffer(r->config, r->seed, &r->geometry, uuid, &crash, &db);
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

/* Notes what cannot be had, and why; `status` as for why_not. */
static bool missing(struct reload *r, const char *what, int status, int rc)
{
    r->preparation.missing = what;
    r->preparation.missing_status = status;
    r->preparation.missing_rc = rc;
    return false;
}

static int open_output(struct dbufd *d, struct reload *r)
{
    if ((r->needs & NEEDS_OUTPUT) == 0)
        return 0;
    int rc = make_uring(d, r->config, &r->uring);
    if (rc < 0)
        return rc;
    return make_store(d, r->config, r->seed, &r->geometry, r->uring, &r->store);
}

/* False: `missing` says why. */
static bool make_parts(struct reload *r)
{
    struct dbufd *d = r->preparation.d;
    const struct config *c = r->config;
    int rc = 0;
    cut_capacity(c, &r->geometry);
    if (r->changed[OPTION_source_seed])
        rc = choose_seed(c, &r->seed);
    if (rc == 0)
        rc = plan_cores(c, &r->cpus);
    if (rc < 0)
        return missing(r, "there is no seed, or no list of cores", EX_OSERR, rc);
    if ((rc = open_output(d, r)) < 0)
        return missing(r, "the output cannot be opened", EX_IOERR, rc);
    if (r->needs & (NEEDS_BUFFER | NEEDS_OUTPUT))
        rc = open_buffer(r);
    if (rc < 0)
        return missing(r,
                       "there is no memory for another buffer beside the old one, which a restart "
                       "would do without",
                       EX_OSERR, rc);
    if ((rc = crew_open_threads(&r->crew, c, &r->cpus, r->geometry.extent_count)) < 0)
        return missing(r,
                       "the threads cannot be started that take over from those that run; raise "
                       "LimitNPROC and TasksMax",
                       EX_OSERR, rc);
    /* Last: who writes into a FIFO that we have open takes it for read. */
    if ((rc = crew_open_sources(&r->crew, d, c, r->seed, r->kept, &r->sockets)) < 0)
        return missing(r, "the source cannot be opened", EX_NOINPUT, rc);
    return true;
}

void reload_undo(struct reload *r)
{
    crew_close(&r->crew);
    crew_close_sockets(&r->sockets);
    if (r->store != NULL)
        (void)store_finish(r->store); /* it holds nothing: unclosed, its next start would say so */
    store_free(r->store);
    r->store = NULL;
    free_uring(r->uring);
    r->uring = NULL;
    if (r->db != NULL)
        crash_drop(&r->crash);
    db_free(r->db);
    r->db = NULL;
    cpus_plan_free(&r->cpus);
    r->cpus = (struct cpus_plan){0};
}

static void announce(struct preparation *p, enum preparation_stage stage)
{
    const uint64_t one = 1;
    const int fd = p->d->fds[FD_RELOAD_PREPARED];
    atomic_store_explicit(&p->stage, (int)stage, memory_order_release);
    ssize_t n = write(fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
}

static void prepare(void *argument)
{
    struct reload *r = argument;
    struct preparation *p = &r->preparation;
    if (make_parts(r)) {
        announce(p, READY_MADE);
        while (sem_wait(&p->verdict) < 0)
            ; /* EINTR: a debugger */
        if (p->wanted)
            return;
    }
    reload_undo(r);
    announce(p, UNMADE);
}

/* ---- The main thread's ---- */

/* How many of the writers' sources go on in the writers of the same number. */
static unsigned kept_sources(const struct dbufd *d, const struct reload *r)
{
    const unsigned count = (unsigned)r->config->writer_count;
    if ((r->needs & NEEDS_SOURCES) != 0 || r->config->source_type == SOURCE_RANDOM)
        return 0; /* a random source is no more than a place in a sequence */
    return count < d->writer_count ? count : d->writer_count;
}

int reload_prepare(struct dbufd *d, struct reload *r)
{
    struct preparation *p = &r->preparation;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    p->begun_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    p->d = d;
    r->seed = d->seed;
    r->crash = d->crash;
    r->kind = d->crash.kind;
    memcpy(r->uuid, store_uuid(d->store), sizeof(r->uuid));
    r->kept = kept_sources(d, r);
    int rc = crew_copy_sockets(d, &r->sockets);
    if (rc < 0)
        return rc;
    (void)sem_init(&p->verdict, /* shared between processes= */ 0, 0); /* cannot fail so */
    rc = thread_open(&p->thread, /* core= */ -1);
    if (rc == 0)
        thread_go(&p->thread, "reload", prepare, r);
    return rc;
}

enum preparation_stage reload_stage(const struct reload *r)
{
    return (enum preparation_stage)atomic_load_explicit(
        &r->preparation.stage, memory_order_acquire); /* and what is behind it */
}

void reload_judge(struct reload *r, bool wanted)
{
    struct preparation *p = &r->preparation;
    if (p->judged)
        return;
    p->judged = true;
    p->wanted = wanted;
    int rc = sem_post(&p->verdict);
    assert(rc == 0);
}

void reload_join(struct reload *r)
{
    thread_close(&r->preparation.thread);
    (void)sem_destroy(&r->preparation.verdict);
}
