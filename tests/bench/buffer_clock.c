/* SPDX-License-Identifier: MIT
 *
 * What lasts nanoseconds: the clock and its own cost, percentiles, and the steps of the double
 * buffer that are too rare to show in a throughput: a swap, and the waking of a held writer.
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../src/buffer/db.h"
#include "buffer_round.h"

enum { CLOCK_SAMPLES = 10001, STEP_BLOCK_BYTES = 64 };
static const uint64_t never_ns = 3600 * 1000000000ULL;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

double ns_of_ticks(double ticks)
{
    static double ns_per_tick; /* measured once a process */
    if (ns_per_tick == 0) {
        const uint64_t from_ns = now_ns(), from = ticks_now();
        while (now_ns() - from_ns < 5000000)
            continue;
        ns_per_tick = (double)(now_ns() - from_ns) / (double)(ticks_now() - from);
    }
    return ticks * ns_per_tick;
}

uint32_t clock_cost_ticks(void)
{
    static uint32_t samples[CLOCK_SAMPLES];
    for (unsigned i = 0; i < CLOCK_SAMPLES; i++) {
        const uint64_t started = ticks_now();
        samples[i] = (uint32_t)(ticks_now() - started);
    }
    qsort(samples, CLOCK_SAMPLES, sizeof(*samples), by_size);
    return samples[CLOCK_SAMPLES / 2];
}

double percentile_ns(uint32_t *samples, size_t count, double percent)
{
    const uint32_t cost = clock_cost_ticks();
    qsort(samples, count, sizeof(*samples), by_size);
    size_t at = (size_t)((double)count * percent / 100);
    const uint32_t ticks = samples[at < count ? at : count - 1];
    return ns_of_ticks(ticks > cost ? ticks - cost : 0);
}

static void give_percentiles(uint32_t *samples, size_t count, double *metrics)
{
    metrics[0] = percentile_ns(samples, count, 50);
    metrics[1] = percentile_ns(samples, count, 99);
}

static uint32_t *need_samples(uint32_t count)
{
    uint32_t *samples = calloc(count, sizeof(*samples));
    if (samples == NULL)
        die("memory", 0);
    return samples;
}

static struct db *open_small(uint32_t extent_count)
{
    struct db *db;
    const struct db_options options = {
        .geometry = {.extent_bytes = 4096, .extent_count = extent_count}, .writer_count = 1};
    int rc = db_open(&db, &options);
    if (rc < 0)
        die("db_open", -rc);
    return db;
}

/* ---- Swap: from a full half to the open other half, the other half being free -----------------
 */

static void *read_and_release(void *db)
{
    struct db_half half;
    while (db_read(db, never_ns, &half) == 1)
        db_release(db);
    return NULL;
}

/* A sample is the whole db_write that finds its half full: it swaps, wakes the reader, who sleeps,
 * takes an extent of the other half, and copies its block. */
void run_swap(const struct round *round, double *metrics)
{
    uint32_t *samples = need_samples(round->samples);
    struct db *db = open_small(64);
    struct db_writer *w = db_writer(db, 0);
    const unsigned char data[STEP_BLOCK_BYTES] = {0};
    pthread_t reader;
    if (pthread_create(&reader, NULL, read_and_release, db) != 0)
        die("thread", 0);
    uint32_t epoch = db_state(db).epoch;
    for (uint32_t taken = 0; taken < round->samples;) {
        if (db_state(db).claimed == db_state(db).extent_count)
            while (db_state(db).halves_unstored != 0) /* only a free half is of interest here */
                sched_yield();
        const uint64_t started = ticks_now();
        db_write(w, data, sizeof(data), 0, 0);
        const uint64_t ticks = ticks_now() - started;
        if (db_state(db).epoch != epoch) {
            epoch++;
            samples[taken++] = (uint32_t)ticks;
            usleep(200); /* the reader gets to sleep again */
        }
    }
    db_close(db);
    pthread_join(reader, NULL);
    db_free(db);
    give_percentiles(samples, round->samples, metrics);
    free(samples);
}

/* ---- Wake: from the release of a half to the end of the db_write that was held for it ----------
 */

struct wake {
    struct db *db;
    uint64_t woken; /* atomic: the tick at which the held write had ended; 0: not yet */
    bool done;      /* atomic */
    uint32_t word;  /* atomic, futex: of sleep_and_answer */
};

static void *write_and_be_held(void *arg)
{
    struct wake *wake = arg;
    struct db_writer *w = db_writer(wake->db, 0);
    const unsigned char data[STEP_BLOCK_BYTES] = {0};
    uint64_t holds = 0;
    while (!__atomic_load_n(&wake->done, __ATOMIC_RELAXED)) {
        db_write(w, data, sizeof(data), 0, 0);
        if (db_account(w).holds == holds)
            continue;
        holds = db_account(w).holds;
        __atomic_store_n(&wake->woken, ticks_now(), __ATOMIC_RELEASE);
    }
    return NULL;
}

/* Waits for the sleeper's answer to what was done at `started`. */
static uint32_t answer_ticks(struct wake *wake, uint64_t started)
{
    uint64_t woken;
    while ((woken = __atomic_load_n(&wake->woken, __ATOMIC_ACQUIRE)) == 0)
        sched_yield();
    __atomic_store_n(&wake->woken, 0, __ATOMIC_RELAXED);
    return woken > started ? (uint32_t)(woken - started) : 0;
}

void run_wake(const struct round *round, double *metrics)
{
    uint32_t *samples = need_samples(round->samples);
    struct wake wake = {.db = open_small(4)};
    struct db_half half;
    pthread_t writer;
    if (pthread_create(&writer, NULL, write_and_be_held, &wake) != 0)
        die("thread", 0);
    for (uint32_t i = 0; i < round->samples; i++) {
        while (db_state(wake.db).writers_held == 0)
            sched_yield();
        usleep(200); /* it sleeps by now */
        (void)db_read(wake.db, never_ns, &half);
        const uint64_t started = ticks_now();
        db_release(wake.db);
        samples[i] = answer_ticks(&wake, started);
    }
    while (db_state(wake.db).writers_held == 0)
        sched_yield();
    __atomic_store_n(&wake.done, true, __ATOMIC_RELAXED);
    (void)db_read(wake.db, never_ns, &half);
    db_release(wake.db);
    pthread_join(writer, NULL);
    db_free(wake.db);
    give_percentiles(samples, round->samples, metrics);
    free(samples);
}

/* ---- The least that waking can cost: one futex call, one sleeper -------------------------------
 */

static void *sleep_and_answer(void *arg)
{
    struct wake *wake = arg;
    for (uint32_t seen = 0; !__atomic_load_n(&wake->done, __ATOMIC_RELAXED);) {
        while (__atomic_load_n(&wake->word, __ATOMIC_ACQUIRE) == seen)
            syscall(SYS_futex, &wake->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        seen++;
        __atomic_store_n(&wake->woken, ticks_now(), __ATOMIC_RELEASE);
    }
    return NULL;
}

static void ring(struct wake *wake)
{
    __atomic_fetch_add(&wake->word, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &wake->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Measures either the call alone, or until the sleeper runs. */
static void futex_round(const struct round *round, bool call_alone, double *metrics)
{
    uint32_t *samples = need_samples(round->samples);
    struct wake wake = {0};
    pthread_t sleeper;
    if (pthread_create(&sleeper, NULL, sleep_and_answer, &wake) != 0)
        die("thread", 0);
    for (uint32_t i = 0; i < round->samples; i++) {
        usleep(200);
        const uint64_t started = ticks_now();
        ring(&wake);
        const uint32_t call = (uint32_t)(ticks_now() - started);
        const uint32_t answer = answer_ticks(&wake, started);
        samples[i] = call_alone ? call : answer;
    }
    __atomic_store_n(&wake.done, true, __ATOMIC_RELAXED);
    ring(&wake);
    pthread_join(sleeper, NULL);
    give_percentiles(samples, round->samples, metrics);
    free(samples);
}

void run_futex_call(const struct round *round, double *metrics)
{
    futex_round(round, true, metrics);
}

void run_futex_wake(const struct round *round, double *metrics)
{
    futex_round(round, false, metrics);
}
