/* SPDX-License-Identifier: MIT
 *
 * store: an open stream is stored in another way, and gets other writers, without being closed.
 * Everything is done on a disk's file system and on tmpfs.
 */
#include "stream_fixture.h"

static struct store_change change_of(unsigned writers, uint64_t seed)
{
    return (struct store_change){.extent_bytes_max = EXTENT_BYTES,
                                 .writer_count = writers,
                                 .random = true,
                                 .seed = seed,
                                 .min_block = 1,
                                 .max_block = 100};
}

static void goes_on_with_other_writers(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    const unsigned writers[] = {1, FIXTURE_WRITERS, 2, FIXTURE_WRITERS};
    uint64_t blocks = 0, extents = 0;
    options.writer_count = 1;
    struct store *store = open_with(&options, &maker, seed_of_run());

    for (size_t i = 0; i < sizeof(writers) / sizeof(*writers); i++) {
        const struct store_change change = change_of(writers[i], i);
        store_change(store, &change);
        maker_close(&maker);
        maker_open(&maker, writers[i], store_next_blocks(store), seed_of_run() + i);
        write_halves(store, &maker, 2);
        blocks += maker.blocks;
        extents += 2 * HALF_EXTENTS;
    }
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.segments, 1);
    assert_int_equal(seen.blocks, blocks);
    assert_int_equal(seen.checkpoint_blocks, blocks);
    /* One checkpoint for each change, between the first and the last. */
    assert_int_equal(seen.next_seq, extents + 2 + 4);
    assert_true(seen.closed && seen.random);
}

static void says_nothing_where_nothing_changed(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    options.random = true;
    options.seed = 7;
    options.min_block = 1;
    options.max_block = 100;
    struct store *store = open_with(&options, &maker, seed_of_run());
    const struct store_change change = change_of(FIXTURE_WRITERS, 7);
    for (int i = 0; i < 3; i++) {
        store_change(store, &change);
        write_halves(store, &maker, 1);
    }
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.next_seq, 3 * HALF_EXTENTS + 2);
}

static void a_full_segment_ends_before_it_says_so(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    uint64_t blocks = 0;
    options.segment_bytes = 40 * EXTENT_BYTES;
    struct store *store = open_with(&options, &maker, seed_of_run());
    for (unsigned i = 0; i < 30; i++) { /* the change comes at every place of a segment */
        const struct store_change change = change_of(FIXTURE_WRITERS, i + 1);
        store_change(store, &change);
        write_halves(store, &maker, 1);
    }
    blocks = maker.blocks;
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_true(seen.segments > 1);
    assert_int_equal(seen.blocks, blocks);
    assert_int_equal(seen.checkpoint_blocks, blocks);
}

static void is_tuned_while_it_is_open(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 2);
    const uint64_t synced = store_account(store).durable_bytes;
    assert_int_equal(synced, maker.bytes);

    const struct store_tuning lazy = {.durability = DURABILITY_NONE};
    store_tune(store, &lazy);
    write_halves(store, &maker, 2);
    assert_int_equal(store_account(store).durable_bytes, synced);

    const struct store_tuning small = {.durability = DURABILITY_HALF,
                                       .segment_bytes = 8 * EXTENT_BYTES};
    store_tune(store, &small);
    write_halves(store, &maker, 8);
    assert_int_equal(store_account(store).durable_bytes, maker.bytes);
    assert_true(store_account(store).segments > 2);
    const struct store_tuning full = {.durability = DURABILITY_HALF,
                                      .min_free_bytes = UINT64_MAX / 2};
    store_tune(store, &full);
    int rc = 0; /* what the segment has reserved is still used: a half more may fit in it */
    for (int i = 0; i < 3 && rc == 0; i++) {
        make_half(&maker, HALF_EXTENTS);
        rc = store_write(store, maker.headers, HALF_EXTENTS);
    }
    assert_int_equal(rc, -ENOSPC);
    store_tune(store, &small); /* the half that was refused goes by it */
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(goes_on_with_other_writers),
        TEST(says_nothing_where_nothing_changed),
        TEST(a_full_segment_ends_before_it_says_so),
        TEST(is_tuned_while_it_is_open),
    };
    int failed = 0;
    test_parent = "/tmp";
    failed += cmocka_run_group_tests_name("store change on disk", tests, NULL, NULL);
    test_parent = "/dev/shm";
    failed += cmocka_run_group_tests_name("store change on tmpfs", tests, NULL, NULL);
    return failed;
}
