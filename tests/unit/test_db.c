/* SPDX-License-Identifier: MIT
 *
 * The double buffer, one step at a time in one thread; stress/ has the threads.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/buffer/db.h"

enum { EXTENT = 4096, BLOCK = 1000 };
static const uint64_t soon_ns = 1000000;
static const uint64_t long_ns = 3600 * 1000000000ULL;

static struct db *open_db(uint32_t extent_count, unsigned writer_count, uint32_t first_epoch)
{
    struct db *db;
    const struct db_options options = {
        .geometry = {.extent_bytes = EXTENT, .extent_count = extent_count},
        .writer_count = writer_count,
        .first_epoch = first_epoch,
    };
    assert_int_equal(db_open(&db, &options), 0);
    return db;
}

static const struct block_header *first_block(const struct extent_header *extent)
{
    return (const void *)(extent + 1);
}

static void a_block_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    unsigned char data[13] = "hello, world";
    db_write(db_writer(db, 0), data, sizeof(data), 5, 77);
    assert_int_equal(db_read(db, soon_ns, &half), 1);

    const struct extent_header *extent = db_half_extent(&half, 0);
    assert_non_null(extent);
    assert_null(db_half_extent(&half, 1));
    assert_int_equal(extent->block_count, 1);
    assert_int_equal(extent->used, 16 + 16);
    assert_int_equal(extent->writer, 0);
    assert_int_equal(extent->first_block, 0);
    const struct block_header *block = first_block(extent);
    assert_int_equal(block->length, 13);
    assert_int_equal(block->flags, 5);
    assert_int_equal(block->time_ns, 77);
    assert_memory_equal(block + 1, data, 13);
    assert_memory_equal((const char *)(block + 1) + 13, "\0\0\0", 3); /* padding */
    db_release(db);

    const struct db_account account = db_account(db_writer(db, 0));
    assert_int_equal(account.blocks, 1);
    assert_int_equal(account.bytes, 13);
    assert_int_equal(account.holds, 0);
    db_free(db);
}

static void an_empty_block_is_a_block(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    db_write(db_writer(db, 0), "", 0, 1, 1);
    assert_int_equal(db_read(db, soon_ns, &half), 1);
    assert_int_equal(db_half_extent(&half, 0)->block_count, 1);
    assert_int_equal(db_half_extent(&half, 0)->used, 16);
    db_free(db);
}

static void nothing_in_it_is_a_timeout_and_then_the_end(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    assert_int_equal(db_read(db, soon_ns, &half), -ETIMEDOUT);
    assert_int_equal(db_read(db, 0, &half), -ETIMEDOUT);
    db_close(db);
    assert_int_equal(db_read(db, long_ns, &half), 0);
    assert_int_equal(db_read(db, long_ns, &half), 0); /* and it stays so */
    db_free(db);
}

static void sealing_brings_the_reader_by(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    db_seal(db);
    assert_int_equal(db_read(db, long_ns, &half), -ETIMEDOUT); /* at once, with nothing in it */
    db_write(db_writer(db, 0), "x", 1, 0, 0);
    db_seal(db);
    assert_int_equal(db_read(db, long_ns, &half), 1);
    assert_int_equal(db_half_extent(&half, 0)->block_count, 1);
    db_seal(db); /* the other half is not free */
    db_write(db_writer(db, 0), "y", 1, 0, 0);
    db_release(db);
    assert_int_equal(db_read(db, soon_ns, &half), 1);
    assert_int_equal(db_half_extent(&half, 0)->first_block, 1);
    db_free(db);
}

static void it_opens_again_after_the_end(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    for (uint64_t block = 0; block < 5; block++) {
        db_write(db_writer(db, 0), "x", 1, 0, 0);
        db_close(db);
        assert_int_equal(db_read(db, long_ns, &half), 1);
        assert_int_equal(db_half_extent(&half, 0)->first_block, block);
        db_release(db);
        assert_int_equal(db_read(db, long_ns, &half), 0);
        db_reopen(db);
        assert_int_equal(db_read(db, 0, &half), -ETIMEDOUT);
    }
    assert_int_equal(db_account(db_writer(db, 0)).blocks, 5);
    db_free(db);
}

/* The reader has looked, and says that it is over, while db_close is about to seal the empty half. */
static void a_close_that_comes_to_its_end_late_can_be_reopened(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, UINT32_MAX - 2);
    struct db_half half;
    for (uint64_t block = 0; block < 4; block++) {
        db_close(db);
        assert_int_equal(db_read(db, long_ns, &half), 0);
        db_seal(db);
        db_reopen(db);
        db_write(db_writer(db, 0), "x", 1, 0, 0);
        assert_int_equal(db_read(db, soon_ns, &half), 1);
        assert_int_equal(db_half_extent(&half, 0)->first_block, block);
        db_release(db);
    }
    db_free(db);
}

static void next_blocks_can_come_later(void **state)
{
    (void)state;
    struct db *db = open_db(2, 2, 0);
    struct db_half half;
    db_set_next_blocks(db, (const uint64_t[]){7, 9});
    db_write(db_writer(db, 1), "x", 1, 0, 0);
    assert_int_equal(db_read(db, soon_ns, &half), 1);
    assert_int_equal(db_half_extent(&half, 0)->first_block, 9);
    db_free(db);
}

static void close_gives_out_what_is_left(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    db_write(db_writer(db, 0), "x", 1, 0, 0);
    db_close(db);
    assert_int_equal(db_read(db, long_ns, &half), 1);
    assert_non_null(db_half_extent(&half, 0));
    db_release(db);
    assert_int_equal(db_read(db, long_ns, &half), 0);
    db_free(db);
}

static void room_given_back_stores_nothing(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    (void)db_write_begin(db_writer(db, 0), BLOCK);
    db_write_cancel(db_writer(db, 0));
    assert_int_equal(db_read(db, soon_ns, &half), -ETIMEDOUT);
    db_write(db_writer(db, 0), "x", 1, 0, 0);
    assert_int_equal(db_read(db, soon_ns, &half), 1);
    assert_int_equal(db_half_extent(&half, 0)->first_block, 0);
    db_free(db);
}

static uint32_t *epoch_in_header(const struct db_half *half, uint32_t index)
{
    void *extent = half->extents + (size_t)index * half->geometry.extent_bytes;
    return &((struct extent_header *)extent)->epoch;
}

/* Half A is filled once, and then never again so far; 2^32 swaps later its second extent's epoch would
 * be the open one. */
static void an_epoch_that_comes_again_brings_no_block_back(void **state)
{
    (void)state;
    struct db *db = open_db(2, 1, 0);
    struct db_half half;
    static const char data[EXTENT - 200];
    for (uint32_t epoch = 0; epoch < 6; epoch++) {
        for (int blocks = epoch == 0 ? 2 : 1; blocks > 0; blocks--)
            db_write(db_writer(db, 0), data, sizeof(data), 0, 0);
        assert_int_equal(db_read(db, soon_ns, &half), 1);
        assert_int_equal(half.epoch, epoch);
        assert_true((db_half_extent(&half, 1) != NULL) == (epoch == 0));
        if (epoch == 2)
            *epoch_in_header(&half, 1) = 4;
        db_release(db);
    }
    db_free(db);
}

/* Blocks of one size through many small halves: sequences go on over extents, halves and the wrap of
 * the epoch. */
static void sequences_go_on(void **state)
{
    (void)state;
    static const uint64_t next_block[] = {1000, 5};
    const struct db_options options = {
        .geometry = {.extent_bytes = EXTENT, .extent_count = 2},
        .writer_count = 2,
        .first_epoch = UINT32_MAX - 2,
        .next_block = next_block,
    };
    struct db *db;
    struct db_half half;
    unsigned char data[BLOCK] = {0};
    uint64_t seen = 1000, put = 0;
    assert_int_equal(db_open(&db, &options), 0);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3 + round % 4; i++, put++)
            db_write(db_writer(db, 0), data, BLOCK, 0, 0);
        assert_int_equal(db_read(db, 0, &half), 1);
        for (uint32_t i = 0; i < 2; i++) {
            const struct extent_header *extent = db_half_extent(&half, i);
            if (extent == NULL)
                continue;
            assert_int_equal(extent->first_block, seen);
            assert_int_equal(extent->epoch, half.epoch);
            seen += extent->block_count;
        }
        assert_int_equal(seen, 1000 + put);
        db_release(db);
    }
    assert_int_equal(half.epoch, 6); /* it has wrapped */
    db_free(db);
}

static void a_full_half_swaps_by_itself(void **state)
{
    (void)state;
    struct db *db = open_db(1, 1, 7);
    struct db_half half;
    unsigned char data[BLOCK];
    memset(data, 'a', sizeof(data));
    for (int i = 0; i < 4; i++) /* three fit into one extent */
        db_write(db_writer(db, 0), data, BLOCK, 0, 0);
    const struct db_state seen = db_state(db);
    assert_int_equal(seen.epoch, 8);
    assert_int_equal(seen.halves_unstored, 1);
    assert_int_equal(seen.claimed, 1);
    assert_int_equal(db_read(db, long_ns, &half), 1); /* without waiting for flush */
    assert_int_equal(db_half_extent(&half, 0)->block_count, 3);
    db_release(db);
    assert_int_equal(db_state(db).halves_unstored, 0);
    db_free(db);
}

struct held {
    struct db *db;
    int blocks;
};

static void *write_blocks(void *argument)
{
    const struct held *held = argument;
    unsigned char data[BLOCK] = {0};
    for (int i = 0; i < held->blocks; i++)
        db_write(db_writer(held->db, 0), data, BLOCK, 0, 0);
    return NULL;
}

/* Both halves full: the writer is held, nothing is overwritten, and a release lets it go on. */
static void a_writer_is_held_while_both_halves_are_full(void **state)
{
    (void)state;
    struct held held = {.db = open_db(1, 1, 0), .blocks = 7};
    struct db_half half;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_blocks, &held), 0);
    while (db_state(held.db).writers_held == 0)
        sched_yield();
    assert_int_equal(db_account(db_writer(held.db, 0)).blocks, 6);

    uint64_t next = 0;
    assert_int_equal(db_read(held.db, long_ns, &half), 1);
    assert_int_equal(db_half_extent(&half, 0)->first_block, next);
    next += db_half_extent(&half, 0)->block_count;
    assert_int_equal(db_account(db_writer(held.db, 0)).blocks, 6); /* still */
    db_release(held.db);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(db_account(db_writer(held.db, 0)).blocks, 7);
    const struct db_account account = db_account(db_writer(held.db, 0));
    assert_int_equal(account.holds, 1);
    assert_true(account.held_ns > 0);
    unsigned class = 0; /* the one whose microseconds it was held for */
    while (account.held_ns / 1000 >> class != 0)
        class ++;
    assert_int_equal(account.hold_times[class], 1);

    db_close(held.db);
    while (db_read(held.db, long_ns, &half) == 1) {
        assert_int_equal(db_half_extent(&half, 0)->first_block, next);
        next += db_half_extent(&half, 0)->block_count;
        db_release(held.db);
    }
    assert_int_equal(next, 7);
    db_free(held.db);
}

static void geometry_fits_or_says_what_would(void **state)
{
    (void)state;
    struct db_geometry g;
    size_t least = 0;
    assert_int_equal(db_geometry(100000000, 4, 10000, &g, &least), 0);
    assert_int_equal(g.extent_bytes, 256 << 10);
    assert_int_equal(g.extent_count, 190);
    assert_int_equal(db_geometry(1000000, 64, 10000, &g, &least), 0);
    assert_true(g.extent_count >= 8);
    assert_int_equal(db_geometry(1000000000, 64, 10000, &g, &least), 0);
    assert_true(g.extent_count >= 8 * 64);

    assert_int_equal(db_geometry(1000000, 1024, 1 << 20, &g, &least), -ENOSPC);
    assert_int_equal(db_geometry(least, 1024, 1 << 20, &g, &least), 0);
    assert_int_equal(db_geometry(least - 1, 1024, 1 << 20, &g, &least), -ENOSPC);
    assert_int_equal(db_geometry(1000000, 0, 10, &g, &least), -EINVAL);
    assert_int_equal(db_geometry(1000000, 1025, 10, &g, &least), -EINVAL);
    assert_int_equal(db_geometry(1000000, 1, (1 << 20) + 1, &g, &least), -EINVAL);
}

/* Every geometry that is granted fits into its capacity, holds the largest block, and gives a power
 * of two. */
static void every_geometry_holds(void **state)
{
    (void)state;
    for (unsigned writers = 1; writers <= 1024; writers = writers * 3 + 1) {
        for (size_t block = 1; block <= 1 << 20; block = block * 5 + 3) {
            for (size_t capacity = 1000; capacity < (size_t)5 << 30; capacity = capacity * 7 / 2) {
                struct db_geometry g;
                size_t least;
                if (db_geometry(capacity, writers, block, &g, &least) != 0)
                    continue;
                assert_true((size_t)g.extent_bytes * g.extent_count <= capacity / 2);
                assert_true(g.extent_bytes >= 64 + block_bytes(block));
                assert_int_equal(g.extent_bytes & (g.extent_bytes - 1), 0);
                assert_true(g.extent_bytes >= FORMAT_ALIGN && g.extent_count >= 4);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_comes_out_as_it_went_in),
        cmocka_unit_test(an_empty_block_is_a_block),
        cmocka_unit_test(nothing_in_it_is_a_timeout_and_then_the_end),
        cmocka_unit_test(sealing_brings_the_reader_by),
        cmocka_unit_test(it_opens_again_after_the_end),
        cmocka_unit_test(a_close_that_comes_to_its_end_late_can_be_reopened),
        cmocka_unit_test(next_blocks_can_come_later),
        cmocka_unit_test(close_gives_out_what_is_left),
        cmocka_unit_test(room_given_back_stores_nothing),
        cmocka_unit_test(an_epoch_that_comes_again_brings_no_block_back),
        cmocka_unit_test(sequences_go_on),
        cmocka_unit_test(a_full_half_swaps_by_itself),
        cmocka_unit_test(a_writer_is_held_while_both_halves_are_full),
        cmocka_unit_test(geometry_fits_or_says_what_would),
        cmocka_unit_test(every_geometry_holds),
    };
    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
