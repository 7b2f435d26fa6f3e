/* SPDX-License-Identifier: MIT
 *
 * Happy path: db_read gives a sealed half, disk_write stores it, db_release frees it for the writers,
 * aux_work does what can wait until then.
 * Failure: a disk that refuses holds the half where it is. disk_write tells at once what happened,
 * tries again a few times a second, tells again once a minute, and when it goes on. Nothing is given
 * up.
 * On stop: db_close makes db_read give the rest and then 0; the stream is finished the same way.
 */
#include "reader.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../disk/scan.h"
#include "disk_events.h"
#include "thread.h"

static const uint64_t second_ns = 1000000000;
static const uint64_t retry_ns = 200000000;
static const uint64_t repeat_ns = 60 * 1000000000ULL; /* between two messages about one trouble */

struct reader {
    struct reader_options options;
    struct extent_header **extents; /* of the half being stored: [extent_count] */
    uint32_t extent_count;
    struct thread thread;
    pthread_mutex_t
        storing; /* the thread's from storing a half until it is freed, but for its rests */
    uint64_t housekeeping_told_ns;
    _Atomic bool rotate_asked; /* set by the main thread, taken back by the reader's */

    struct reader_tuning tuning; /* the thread's */

    /* Written by the main thread, read by the thread. */
    _Atomic bool keep_stream; /* before db_close, which orders it */
    _Atomic bool tuned;       /* there is a new tuning in: */
    pthread_mutex_t lock;
    struct reader_tuning new_tuning; /* under lock */

    /* Written by the thread alone, read by the main thread. */
    _Atomic int state;
    _Atomic uint64_t progress;
    _Atomic uint64_t halves;
    _Atomic uint64_t store_ns;
    _Atomic uint64_t last_bytes_per_sec;
    _Atomic uint64_t store_times[TIME_CLASSES];
    _Atomic uint64_t disk_held_since_ns;
    _Atomic int disk_error;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * second_ns + (uint64_t)now.tv_nsec;
}

static void set(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    set(counter, atomic_load_explicit(counter, memory_order_relaxed) + n);
}

static void set_state(struct reader *r, enum reader_state state)
{
    atomic_store_explicit(&r->state, (int)state, memory_order_relaxed);
    add(&r->progress, 1);
}

/* ---- The disk refuses ---------------------------------------------------------------------------
 */

static void tell_disk_held(struct reader *r, int error, uint64_t since_ns)
{
    const char *path = store_path(r->options.store);
    const uint64_t offset = store_offset(r->options.store);
    const struct db_state state = db_state(r->options.db);
    const uint64_t seconds = (now_ns() - since_ns) / second_ns;
    const struct event_field fields[] = {{"PATH", path, 0},
                                         {"OFFSET", NULL, offset},
                                         {"ERRNO", NULL, (uint64_t)error},
                                         {"HELD_WRITERS", NULL, state.writers_held},
                                         {"SECONDS", NULL, seconds}};
    notify_event(r->options.notify, EVENT_DISK_HELD, fields, 5,
                 "cannot store at %s, offset %" PRIu64 ": %s; nothing is lost, it waits in memory "
                 "(for %" PRIu64 " s now, %u writers held) and goes on by itself: %s",
                 path, offset, strerror(error), seconds, state.writers_held, disk_remedy(error));
}

static void tell_disk_resumed(struct reader *r, uint64_t since_ns)
{
    const uint64_t seconds = (now_ns() - since_ns) / second_ns;
    const struct event_field fields[] = {{"SECONDS", NULL, seconds}};
    notify_event(r->options.notify, EVENT_DISK_RESUMED, fields, 1,
                 "storing goes on after %" PRIu64 " s", seconds);
}

/* Goes by what the main thread has asked for since. */
static void take_tuning(struct reader *r)
{
    /* With reader_tune's the pair of db.c's F2: it finds the other half free, or is seen here. */
    if (!atomic_load_explicit(&r->tuned, memory_order_seq_cst))
        return;
    (void)pthread_mutex_lock(&r->lock);
    atomic_store_explicit(&r->tuned, false, memory_order_relaxed);
    r->tuning = r->new_tuning;
    (void)pthread_mutex_unlock(&r->lock);
    store_tune(r->options.store, &r->tuning.store);
}

/* Calls `step` until it succeeds, however long that takes. */
static void insist(struct reader *r, int (*step)(struct reader *r, size_t count), size_t count)
{
    uint64_t since_ns = 0, told_ns = 0;
    int told_error = 0, rc;
    while ((rc = step(r, count)) < 0) {
        const uint64_t now = now_ns();
        if (since_ns == 0)
            since_ns = now;
        if (rc != told_error || now - told_ns >= repeat_ns) {
            tell_disk_held(r, -rc, since_ns);
            told_ns = now;
            told_error = rc;
        }
        atomic_store_explicit(&r->disk_error, -rc, memory_order_relaxed);
        set(&r->disk_held_since_ns, since_ns);
        set_state(r, READER_DISK_HELD);
        const struct timespec rest = {.tv_nsec = (long)retry_ns};
        (void)pthread_mutex_unlock(&r->storing);
        (void)nanosleep(&rest, NULL);
        (void)pthread_mutex_lock(&r->storing);
        take_tuning(r); /* it may be what lets it go on */
    }
    if (since_ns != 0) {
        tell_disk_resumed(r, since_ns);
        set(&r->disk_held_since_ns, 0);
    }
}

/* ---- The cycle
 * ----------------------------------------------------------------------------------- */

static int store_step(struct reader *r, size_t count)
{
    return store_write(r->options.store, r->extents, count);
}

static int finish_step(struct reader *r, size_t count)
{
    (void)count;
    return store_finish(r->options.store);
}

/* debug_mode's self-check: the blocks must add up to what the header says of them, or something has
 * written where it should not have. */
static void check_extent(const struct extent_header *extent)
{
    const unsigned char *data = (const unsigned char *)(extent + 1), *block_data;
    const struct block_header *block;
    size_t position = 0;
    uint32_t count = 0;
    int rc;
    while ((rc = scan_block(data, extent->used, &position, &block, &block_data)) == 1)
        count++;
    assert(rc == 0);
    assert(count == extent->block_count);
}

static void disk_write(struct reader *r, const struct db_half *half)
{
    size_t count = 0;
    for (uint32_t i = 0; i < half->geometry.extent_count; i++) {
        struct extent_header *extent = db_half_extent(half, i);
        if (extent == NULL)
            continue;
        if (r->tuning.self_check)
            check_extent(extent);
        r->extents[count++] = extent;
    }
    set_state(r, READER_STORING);
    insist(r, store_step, count);
}

static unsigned time_class(uint64_t ns)
{
    const uint64_t us = ns / 1000;
    const unsigned class = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);
    return class < TIME_CLASSES ? class : TIME_CLASSES - 1;
}

/* Hands what the main thread was asked for on to the store, which is this thread's alone. */
static void take_rotation(struct reader *r)
{
    struct store *store = r->options.store;

    if (!atomic_exchange_explicit(&r->rotate_asked, false, memory_order_relaxed))
        return;
    const bool can = store_rotate(store);
    const struct event_field fields[] = {{"PATH", store_path(store), 0}};
    notify_event(r->options.notify, EVENT_ROTATION, fields, 1,
                 can ? "SIGUSR2: %s ends here, the next segment begins"
                     : "SIGUSR2: %s is a pipe or device and has no segments: it goes on",
                 store_path(store));
}

/* The helper work between two halves, when the writers have their room again: the half's figures
 * (0 bytes: there was none), and the keeping of the segments. The digest over all that is stored is
 * the store's. */
static void aux_work(struct reader *r, uint64_t bytes, uint64_t took_ns)
{
    if (bytes != 0) {
        add(&r->halves, 1);
        add(&r->store_ns, took_ns);
        add(&r->store_times[time_class(took_ns)], 1);
        set(&r->last_bytes_per_sec,
            (uint64_t)((double)bytes * (double)second_ns / (double)(took_ns + 1)));
    }
    take_rotation(r);
    int rc = store_housekeep(r->options.store);
    if (rc < 0 &&
        (r->housekeeping_told_ns == 0 || now_ns() - r->housekeeping_told_ns > repeat_ns)) {
        const char *path = store_path(r->options.store);
        const struct event_field fields[] = {{"PATH", path, 0}, {"ERRNO", NULL, (uint64_t)-rc}};
        notify_event(r->options.notify, EVENT_HOUSEKEEPING_FAILED, fields, 2,
                     "keeping the segments beside %s failed: %s; it is tried again, the recording "
                     "goes on: %s",
                     path, strerror(-rc), disk_remedy(-rc));
        r->housekeeping_told_ns = now_ns();
    }
}

/* As db_read. A tuning that comes while it sleeps wakes it, and holds for the half that it then gets. */
static int read_half(struct reader *r, struct db_half *ret)
{
    take_tuning(r);
    int rc = db_read(r->options.db, r->tuning.flush_ns, ret);
    take_tuning(r);
    return rc;
}

static void work(void *argument)
{
    struct reader *r = argument;
    const struct reader_options *o = &r->options;
    const uint64_t one = 1;
    struct db_half half;
    int rc;

    while ((rc = read_half(r, &half)) != 0) {
        uint64_t bytes = 0, took_ns = 0;
        if (rc == 1) {
            const uint64_t before_bytes = store_account(o->store).bytes;
            const uint64_t before_ns = now_ns();
            (void)pthread_mutex_lock(&r->storing);
            disk_write(r, &half);
            set_state(r, READER_STORING); /* that of a disk that refused is over */
            db_release(o->db);
            (void)pthread_mutex_unlock(&r->storing);
            took_ns = now_ns() - before_ns;
            bytes = store_account(o->store).bytes - before_bytes;
        }
        set_state(r, READER_STORING); /* for what housekeeping asks of the disk */
        aux_work(r, bytes, took_ns);
        set_state(r, READER_WAITING);
    }
    (void)pthread_mutex_lock(&r->storing);
    set_state(r, READER_STORING);
    if (!atomic_load_explicit(&r->keep_stream, memory_order_relaxed))
        insist(r, finish_step, 0);
    else
        take_rotation(r);
    set_state(r, READER_WAITING);
    (void)pthread_mutex_unlock(&r->storing);
    ssize_t n = write(o->ended_fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
}

int reader_open(struct reader **ret, uint32_t extent_count, int core)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    int rc = -ENOMEM;
    r->extent_count = extent_count;
    r->extents = calloc(extent_count, sizeof(struct extent_header *));
    if (r->extents != NULL)
        rc = thread_open(&r->thread, core);
    if (rc < 0) {
        free(r->extents);
        free(r);
        return rc;
    }
    (void)pthread_mutex_init(&r->storing, NULL); /* cannot fail without attributes */
    (void)pthread_mutex_init(&r->lock, NULL);
    *ret = r;
    return 0;
}

void reader_go(struct reader *r, const struct reader_options *options)
{
    assert(db_state(options->db).extent_count <= r->extent_count);
    r->options = *options;
    r->tuning = options->tuning;
    thread_go(&r->thread, "reader", work, r);
}

bool reader_pause(struct reader *r)
{
    if (pthread_mutex_trylock(&r->storing) != 0)
        return false;
    if (atomic_load_explicit(&r->state, memory_order_relaxed) == READER_DISK_HELD)
        return true;
    (void)pthread_mutex_unlock(&r->storing);
    return false;
}

void reader_resume(struct reader *r)
{
    (void)pthread_mutex_unlock(&r->storing);
}

void reader_keep_stream(struct reader *r)
{
    atomic_store_explicit(&r->keep_stream, true, memory_order_relaxed);
}

void reader_tune(struct reader *r, const struct reader_tuning *tuning)
{
    (void)pthread_mutex_lock(&r->lock);
    r->new_tuning = *tuning;
    atomic_store_explicit(&r->tuned, true, memory_order_seq_cst);
    (void)pthread_mutex_unlock(&r->lock);
    db_seal(r->options.db); /* it may sleep for as long as it was told before */
}

void reader_rotate(struct reader *r)
{
    atomic_store_explicit(&r->rotate_asked, true, memory_order_relaxed);
}

bool reader_join(struct reader *r)
{
    thread_close(&r->thread);
    const bool rotation_left = atomic_load_explicit(&r->rotate_asked, memory_order_relaxed);
    (void)pthread_mutex_destroy(&r->storing);
    (void)pthread_mutex_destroy(&r->lock);
    free(r->extents);
    free(r);
    return rotation_left;
}

uint64_t reader_preemptions(const struct reader *r)
{
    return thread_preemptions(&r->thread);
}

uint64_t reader_cpu_ns(const struct reader *r)
{
    return thread_cpu_ns(&r->thread);
}

void reader_account(const struct reader *r, struct reader_account *ret)
{
    ret->state = (enum reader_state)atomic_load_explicit(&r->state, memory_order_relaxed);
    ret->progress = atomic_load_explicit(&r->progress, memory_order_relaxed);
    ret->halves = atomic_load_explicit(&r->halves, memory_order_relaxed);
    ret->store_ns = atomic_load_explicit(&r->store_ns, memory_order_relaxed);
    ret->last_bytes_per_sec = atomic_load_explicit(&r->last_bytes_per_sec, memory_order_relaxed);
    for (int i = 0; i < TIME_CLASSES; i++)
        ret->store_times[i] = atomic_load_explicit(&r->store_times[i], memory_order_relaxed);
    ret->disk_held_since_ns = atomic_load_explicit(&r->disk_held_since_ns, memory_order_relaxed);
    ret->disk_error = atomic_load_explicit(&r->disk_error, memory_order_relaxed);
}
