/* SPDX-License-Identifier: MIT
 *
 * The double buffer under many threads on few cores, with halves so small that it swaps all the time:
 * every byte of every block is made again and compared, every sequence checked.
 *
 * STRESS_BLOCKS sets how many blocks each case has (default 200000; SOAK: 100 million), STRESS_SEED the
 * seed; a failing case prints both.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "blocks.h"

struct stress {
    const char *name;
    unsigned writer_count;
    uint32_t extent_bytes, extent_count;
    size_t min_block, max_block;
    unsigned stall_percent; /* of the blocks: the writer gives up its core inside them */
    uint64_t flush_ns;      /* the reader's */
};

static const struct stress cases[] = {
    {"2 writers, 1 extent a half", 2, 4096, 1, 1, 1000, 1, 50000},
    {"2 writers, 2 extents a half", 2, 4096, 2, 1, 4016, 1, 1000000000},
    {"4 writers, 8 extents a half", 4, 8192, 8, 0, 8112, 1, 200000},
    {"16 writers, 4 extents a half", 16, 4096, 4, 1, 300, 1, 100000},
    {"64 writers, 8 extents a half", 64, 4096, 8, 1, 300, 1, 1000000000},
    {"64 writers, 100 extents a half", 64, 16384, 100, 10, 10000, 0, 1000000},
};

struct stress_writer {
    const struct stress *stress;
    struct db_writer *db_writer;
    struct blocks blocks;
    uint64_t count;
    unsigned index;
    pthread_t thread;
};

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* A pause inside a block, of a kind that depends on the block. */
static void stall(uint64_t dice)
{
    const struct timespec rest = {.tv_nsec = (long)(dice % 200000)};
    if (dice & 1 << 20)
        sched_yield();
    else
        (void)nanosleep(&rest, NULL);
}

static void *write_blocks(void *argument)
{
    const struct stress_writer *w = argument;
    const struct stress *s = w->stress;
    for (uint64_t i = 0; i < w->count; i++) {
        const uint64_t dice = mix(w->blocks.seed ^ mix(i * 1024 + w->index));
        void *room = db_write_begin(w->db_writer, s->max_block);
        size_t bytes = blocks_fill(&w->blocks, w->index, i, room);
        if (dice >> 32 < (uint64_t)s->stall_percent * (UINT32_MAX / 100) / 10)
            stall(dice);
        if ((dice & 0xff00000) == 0) { /* now and then it thinks better of it, and begins again */
            db_write_cancel(w->db_writer);
            room = db_write_begin(w->db_writer, s->max_block);
            bytes = blocks_fill(&w->blocks, w->index, i, room);
        }
        db_write_end(w->db_writer, bytes, w->index, i);
    }
    return NULL;
}

/* Joins the writers and tells the reader, so that the reader can be the test's own thread. */
struct closer {
    struct db *db;
    struct stress_writer *writers;
    unsigned writer_count;
};

static void *close_when_done(void *argument)
{
    const struct closer *closer = argument;
    for (unsigned i = 0; i < closer->writer_count; i++)
        (void)pthread_join(closer->writers[i].thread, NULL);
    db_close(closer->db);
    return NULL;
}

static void stress_one(void **state)
{
    const struct stress *s = *state;
    const uint64_t seed = setting("STRESS_SEED", (uint64_t)time(NULL));
    const uint64_t blocks = setting("STRESS_BLOCKS", getenv("SOAK") != NULL ? 100000000 : 200000);
    const struct blocks made = {seed, s->writer_count, s->min_block, s->max_block};
    struct stress_writer *writers = calloc(s->writer_count, sizeof(*writers));
    uint64_t *next = calloc(s->writer_count, sizeof(*next));
    struct db *db;
    struct db_half half;
    const struct db_options options = {
        .geometry = {s->extent_bytes, s->extent_count},
        .writer_count = s->writer_count,
        .first_epoch = UINT32_MAX - 100, /* it wraps early on */
    };
    printf("# %s: STRESS_SEED=%llu STRESS_BLOCKS=%llu\n", s->name, (unsigned long long)seed,
           (unsigned long long)blocks);
    assert_non_null(writers);
    assert_non_null(next);
    assert_int_equal(db_open(&db, &options), 0);
    for (unsigned i = 0; i < s->writer_count; i++) {
        writers[i] = (struct stress_writer){.stress = s,
                                            .db_writer = db_writer(db, i),
                                            .blocks = made,
                                            .count = blocks / s->writer_count,
                                            .index = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_blocks, &writers[i]), 0);
    }
    struct closer closer = {db, writers, s->writer_count};
    pthread_t closing;
    assert_int_equal(pthread_create(&closing, NULL, close_when_done, &closer), 0);

    uint64_t halves = 0;
    int rc;
    while ((rc = db_read(db, s->flush_ns, &half)) != 0) {
        if (rc != 1)
            continue;
        for (uint32_t i = 0; i < s->extent_count; i++) {
            const struct extent_header *extent = db_half_extent(&half, i);
            if (extent != NULL)
                blocks_check(&made, extent, next);
        }
        if (mix(seed + halves++) % 64 == 0)
            stall(mix(halves));
        db_release(db);
    }
    assert_int_equal(pthread_join(closing, NULL), 0);
    for (unsigned i = 0; i < s->writer_count; i++) {
        assert_int_equal(next[i], blocks / s->writer_count);
        assert_int_equal(db_account(db_writer(db, i)).blocks, next[i]);
    }
    assert_int_equal(db_state(db).writers_held, 0);
    assert_true(halves > 100 || blocks < 100000);
    db_free(db);
    free(writers);
    free(next);
}

int main(void)
{
    struct CMUnitTest tests[sizeof(cases) / sizeof(*cases)];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = stress_one,
                                       .initial_state = (void *)(uintptr_t)&cases[i]};
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
