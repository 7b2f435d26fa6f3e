/* SPDX-License-Identifier: MIT
 *
 * store: segments that end by their age, and old ones that are deleted: never the open one, never one
 * that may not be durable.
 */
#include "stream_fixture.h"

#include "../../src/disk/store_state.h" /* to let time pass */

enum { SEGMENT_BYTES = 20 * EXTENT_BYTES };

static size_t segments_there(uint64_t *ret_oldest)
{
    struct stream_files files;
    assert_int_equal(stream_list(stream_path, &files), 0);
    size_t count = files.count;
    *ret_oldest = count > 0 ? files.files[0].number : 0;
    stream_files_free(&files);
    return count;
}

/* As if a segment had been closed so long ago. */
static void make_older(uint64_t number, time_t seconds)
{
    char *path;
    struct timespec times[2];
    assert_int_equal(stream_segment_path(stream_path, number, &path), 0);
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &times[0]), 0);
    times[0].tv_sec -= seconds;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    free(path);
}

/* Between two halves, if it holds blocks; an idle stream makes no segments. */
static void a_segment_ends_by_its_age(void **unused)
{
    (void)unused;
    for (int size = 0; size < 2; size++) {
        struct store_options options = options_of(NULL);
        struct maker maker;
        struct seen seen;
        uint64_t oldest;
        clear(NULL);
        make(NULL);
        options.segment_bytes = size ? 1 << 30 : 0;
        options.segment_age_ns = (uint64_t)3600 * 1000000000;
        struct store *store = open_with(&options, &maker, seed_of_run());
        store->begun_ns -= options.segment_age_ns;
        assert_int_equal(store_housekeep(store), 0);
        write_halves(store, &maker, 1);
        assert_int_equal(segments_there(&oldest), 1);
        for (unsigned segment = 2; segment < 5; segment++) {
            write_halves(store, &maker, 3);
            assert_int_equal(segments_there(&oldest), segment);
            store->begun_ns -= options.segment_age_ns;
            assert_int_equal(store_housekeep(store), 0);
        }
        close_both(store, &maker);
        assert_int_equal(oldest, 1); /* they are numbered from the first on */
        see_stream(stream_path, &seen);
        assert_int_equal(seen.blocks, maker.blocks);
    }
}

static void segments_go_by_their_age(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    uint64_t oldest;

    options.segment_bytes = SEGMENT_BYTES;
    options.retain_age_ns = (uint64_t)3600 * 1000000000;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 10);
    size_t there = segments_there(&oldest);
    assert_true(there >= 4 && oldest == 1);
    make_older(1, 3700);
    make_older(2, 3700);
    make_older(there, 3700); /* the open one */
    store->retained_ns = 0;
    assert_int_equal(store_housekeep(store), 0);
    assert_int_equal(segments_there(&oldest), there - 2);
    assert_int_equal(oldest, 3);
    assert_int_equal(events.count[STORE_SEGMENT_DELETED], 2);
    assert_int_equal(events.last[STORE_SEGMENT_DELETED].reason, STORE_RETAIN_AGE);
    make_older(4, 3700); /* not the oldest: they go in their order */
    store->retained_ns = 0;
    assert_int_equal(store_housekeep(store), 0);
    assert_int_equal(segments_there(&oldest), there - 2);
    close_both(store, &maker);
}

/* An output whose room is what the segments leave of it. */
struct full {
    struct output output;
    uint64_t bytes;
};

static int full_free_bytes(void *context, int fd, uint64_t *ret)
{
    const struct full *full = context;
    struct stream_files files;
    uint64_t used = 0;
    (void)fd;
    assert_int_equal(stream_list(stream_path, &files), 0);
    for (size_t i = 0; i < files.count; i++)
        used += files.files[i].bytes;
    stream_files_free(&files);
    *ret = used < full->bytes ? full->bytes - used : 0;
    return 0;
}

static struct full full_of(uint64_t bytes)
{
    struct full full = {.output = output_pwrite, .bytes = bytes};
    full.output.free_bytes = full_free_bytes;
    return full;
}

static void a_full_disk_takes_the_oldest(void **unused)
{
    (void)unused;
    for (int deletes = 0; deletes < 2; deletes++) {
        struct full full = full_of(4 * SEGMENT_BYTES);
        struct events events = {0};
        struct store_options options = options_of(&events);
        struct maker maker;
        struct seen seen;
        uint64_t oldest;
        int refused = 0;
        clear(NULL);
        make(NULL);
        full.output.context = &full;
        options.output = &full.output;
        options.segment_bytes = SEGMENT_BYTES;
        options.full_deletes = deletes;
        struct store *store = open_with(&options, &maker, seed_of_run());
        for (int half = 0; half < 20 && !refused; half++) {
            make_half(&maker, HALF_EXTENTS);
            refused += store_write(store, maker.headers, HALF_EXTENTS) < 0;
            assert_int_equal(store_housekeep(store), 0);
        }
        assert_int_equal(refused, !deletes);
        assert_true(segments_there(&oldest) >= 2);
        assert_true(deletes ? oldest > 3 : oldest == 1);
        if (deletes) {
            assert_int_equal(events.last[STORE_SEGMENT_DELETED].reason, STORE_DISK_FULL);
            close_both(store, &maker);
            see_stream(stream_path, &seen);
            assert_int_equal(seen.checkpoint_blocks, maker.blocks);
        } else {
            assert_int_equal(events.count[STORE_SEGMENT_DELETED], 0);
            store_free(store);
            maker_close(&maker);
        }
    }
}

/* When none is left that may go it waits, as without. */
static void the_open_segment_never_goes(void **unused)
{
    (void)unused;
    struct full full = full_of(SEGMENT_BYTES / 2);
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;
    int rc = 0;

    full.output.context = &full;
    options.output = &full.output;
    options.segment_bytes = SEGMENT_BYTES;
    options.full_deletes = true;
    struct store *store = open_with(&options, &maker, seed_of_run());
    for (int half = 0; half < 20 && rc == 0; half++) {
        make_half(&maker, HALF_EXTENTS);
        rc = store_write(store, maker.headers, HALF_EXTENTS);
    }
    assert_int_equal(rc, -ENOSPC);
    for (int i = 0; i < 5; i++)
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOSPC);
    assert_int_equal(events.count[STORE_SEGMENT_DELETED], 0);
    full.bytes = UINT32_MAX;
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
}

/* A segment that could not be synced, with bytes in it that nobody has any more, is kept. */
static void what_may_not_be_durable_never_goes(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    uint64_t oldest;

    faulty_init(&faulty, CALL_SYNC, 0, 1, EIO);
    options.output = &faulty.output;
    options.durability = DURABILITY_NONE;
    options.segment_bytes = SEGMENT_BYTES;
    options.retain_bytes = 2 * SEGMENT_BYTES;
    struct store *store = open_with(&options, &maker, seed_of_run());
    make_half(&maker, HALF_EXTENTS);
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    faulty.first = faulty.seen[CALL_SYNC] + 1;
    store_rotate(store);
    write_halves(store, &maker, 1);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 1);
    write_halves(store, &maker, 20);
    assert_true(events.count[STORE_SEGMENT_DELETED] > 3);
    segments_there(&oldest);
    assert_int_equal(oldest, 1); /* the one that was left */
    close_both(store, &maker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_segment_ends_by_its_age),          TEST(segments_go_by_their_age),
        TEST(a_full_disk_takes_the_oldest),       TEST(the_open_segment_never_goes),
        TEST(what_may_not_be_durable_never_goes),
    };
    test_parent = "/dev/shm";
    return cmocka_run_group_tests_name("old segments", tests, NULL, NULL);
}
