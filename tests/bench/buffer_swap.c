/* SPDX-License-Identifier: MIT
 *
 * The swap: from a full half to the open other half, when that one is free. db.c is compiled once
 * more in here, with a clock in its steps; the Makefile hides its names from the library's.
 *
 * One writer, and a reader that sleeps until its half is sealed. The gap is from the writer's look at
 * the full half to the compare-exchange that opens the other one; from then on every writer goes on.
 * The write that swaps lasts longer: it wakes the reader, takes an extent, and copies its block.
 */
#include "buffer_round.h"

static void note_step(const char *step);
#define DB_STEP(step, writer) note_step(step)
#include "../../src/buffer/db.c"

#include <pthread.h>
#include <sched.h>

enum { EXTENT_BYTES = 4096, EXTENTS = 64, SWAP_BLOCK_BYTES = 64, REST_US = 200 };

/* Of the one writer. */
static uint64_t looked;
static uint64_t gap;

static void note_step(const char *step)
{
    if (strcmp(step, "claiming") == 0)
        looked = ticks_now();
    else if (strcmp(step, "swapped") == 0)
        gap = ticks_now() - looked;
}

static void *read_and_release(void *db)
{
    const uint64_t never_ns = 3600 * 1000000000ULL;
    struct db_half half;
    while (db_read(db, never_ns, &half) == 1)
        db_release(db);
    return NULL;
}

/* The samples of so many swaps: of the gap, or of the whole write. */
static void swap_often(struct db *db, uint32_t *samples, uint32_t count, bool whole)
{
    const unsigned char data[SWAP_BLOCK_BYTES] = {0};
    struct db_writer *w = db_writer(db, 0);
    for (uint32_t taken = 0; taken < count;) {
        const struct db_state before = db_state(db);
        /* Only a half that is free by then is of interest. */
        while (before.claimed == before.extent_count && db_state(db).halves_unstored != 0)
            sched_yield();
        const uint64_t started = ticks_now();
        db_write(w, data, sizeof(data), 0, 0);
        const uint64_t ticks = ticks_now() - started;
        if (db_state(db).epoch != before.epoch) {
            samples[taken++] = (uint32_t)(whole ? ticks : gap);
            usleep(REST_US); /* the reader gets to sleep again */
        }
    }
}

static void swap_round(const struct round *round, bool whole, double *metrics)
{
    uint32_t *samples = calloc(round->samples, sizeof(*samples));
    struct db *db;
    const struct db_options options = {.geometry = {EXTENT_BYTES, EXTENTS}, .writer_count = 1};
    pthread_t reader;
    if (samples == NULL || db_open(&db, &options) < 0 ||
        pthread_create(&reader, NULL, read_and_release, db) != 0)
        die("swap", 0);
    swap_often(db, samples, round->samples, whole);
    db_close(db);
    pthread_join(reader, NULL);
    db_free(db);
    metrics[0] = percentile_ns(samples, round->samples, 50);
    metrics[1] = percentile_ns(samples, round->samples, 99);
    free(samples);
}

void run_swap_gap(const struct round *round, double *metrics)
{
    swap_round(round, false, metrics);
}

void run_swap_write(const struct round *round, double *metrics)
{
    swap_round(round, true, metrics);
}
