/* SPDX-License-Identifier: MIT
 *
 * What recovery would find if the daemon were killed at this moment: while the writers fill the open
 * half, someone looks at every extent of it, over and over, and must find readable prefixes only: all
 * that counts is complete, of this epoch, and grows.
 *
 * The looking is done by the reader's own thread between two releases: nobody else can free the half
 * that is looked at, so what is seen changes only by the writers' hands. db.c is included, for the
 * view of its memory.
 */
#include "../../src/buffer/db.c"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "blocks.h"

enum { WRITERS = 3, EXTENT_BYTES = 4096, EXTENTS = 100, BLOCKS_DEFAULT = 50000 };

struct test {
    struct db *db;
    struct blocks blocks;
    uint64_t count;         /* blocks of each writer */
    uint64_t next[WRITERS]; /* after the halves whose every byte was checked */
    uint64_t read[WRITERS]; /* after the half that was read last */
    _Atomic unsigned writers_left;
    uint64_t seen; /* blocks found by looking */
};

struct test_writer {
    struct test *test;
    unsigned index;
};

static void *write_blocks(void *argument)
{
    const struct test_writer *w = argument;
    struct db_writer *db_writer_ = db_writer(w->test->db, w->index);
    for (uint64_t i = 0; i < w->test->count; i++) {
        void *room = db_write_begin(db_writer_, w->test->blocks.max_block);
        db_write_end(db_writer_, blocks_fill(&w->test->blocks, w->index, i, room), w->index, i);
    }
    if (atomic_fetch_sub(&w->test->writers_left, 1) == 1)
        db_close(w->test->db);
    return NULL;
}

/* An extent as it was when it was looked at: it may grow meanwhile. */
struct copy {
    struct extent_header header;
    unsigned char data[EXTENT_BYTES - sizeof(struct extent_header)];
};

static void take_copy(struct live_header *live, uint32_t epoch, struct copy *ret)
{
    ret->header.block_count = 0;
    if (atomic_load_explicit(&live->epoch, memory_order_acquire) != epoch)
        return;
    const uint64_t published = atomic_load_explicit(&live->published, memory_order_acquire);
    if (published == 0)
        return;
    ret->header = (struct extent_header){.writer = live->writer,
                                         .epoch = epoch,
                                         .first_block = live->first_block,
                                         .block_count = (uint32_t)published,
                                         .used = (uint32_t)(published >> 32)};
    assert_in_range(ret->header.used, 1, sizeof(ret->data));
    memcpy(ret->data, live + 1, ret->header.used);
}

/* One look at every extent of the half that is open in `epoch`. The last extent first: when a writer's
 * later extent has blocks, its earlier one is complete, and is so too by the time that we get there. */
static uint64_t look(struct test *test, uint32_t epoch)
{
    static struct copy copies[EXTENTS];
    uint64_t next[WRITERS], found = 0;
    memcpy(next, test->read, sizeof(next));
    for (uint32_t i = EXTENTS; i-- > 0;)
        take_copy((void *)(test->db->halves[epoch & 1] + (size_t)i * EXTENT_BYTES), epoch,
                  &copies[i]);
    for (uint32_t i = 0; i < EXTENTS; i++) {
        if (copies[i].header.block_count == 0)
            continue;
        blocks_check(&test->blocks, &copies[i].header, next);
        found += copies[i].header.block_count;
    }
    return found;
}

/* Where each writer goes on behind this half. */
static void read_headers(const struct db_half *half, uint64_t *next)
{
    for (uint32_t i = 0; i < EXTENTS; i++) {
        const struct extent_header *extent = db_half_extent(half, i);
        if (extent != NULL)
            next[extent->writer] = extent->first_block + extent->block_count;
    }
}

static void what_is_published_is_readable(void **state)
{
    (void)state;
    const char *blocks = getenv("STRESS_BLOCKS");
    struct test test = {.blocks = {17, WRITERS, 1, 700}, .writers_left = WRITERS};
    struct test_writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct db_half half;
    const struct db_options options = {.geometry = {EXTENT_BYTES, EXTENTS},
                                       .writer_count = WRITERS,
                                       .first_epoch = UINT32_MAX - 3};
    test.count = blocks != NULL ? strtoull(blocks, NULL, 0) / 2 : BLOCKS_DEFAULT;
    assert_int_equal(db_open(&test.db, &options), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct test_writer){&test, i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_blocks, &writers[i]), 0);
    }
    int rc;
    while ((rc = db_read(test.db, 1000000, &half)) != 0) {
        if (rc != 1)
            continue;
        /* Looked at before anything else, while the writers are busy with the open half, until there is
         * nothing new in it. */
        read_headers(&half, test.read);
        for (uint64_t found = 1, before = 0; found != before; test.seen += found) {
            before = found;
            found = look(&test, half.epoch + 1);
        }
        for (uint32_t i = 0; i < EXTENTS; i++)
            if (db_half_extent(&half, i) != NULL)
                blocks_check(&test.blocks, db_half_extent(&half, i), test.next);
        db_release(test.db);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(test.next[i], test.count);
    }
    assert_true(test.seen > 0);
    printf("# %llu blocks seen while they were in memory\n", (unsigned long long)test.seen);
    db_free(test.db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_published_is_readable)};
    return cmocka_run_group_tests_name("observer", tests, NULL, NULL);
}
