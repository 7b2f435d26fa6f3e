/* SPDX-License-Identifier: MIT
 *
 * store: whatever fails, nothing that was accepted is lost, doubled or reordered.
 * Everything is done on a disk's file system and on tmpfs.
 */
#include "stream_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Room under min_free counts as none; what was allocated before is ours all the same. */
static void min_free_is_kept(void **unused)
{
    (void)unused;
    enum { MIN_FREE = 100 << 20 };
    struct faulty faulty;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    struct stat status;
    uint64_t half_bytes = 0;

    faulty_init(&faulty, CALL_OPEN, 0, 0, 0);
    options.output = &faulty.output;
    options.min_free_bytes = MIN_FREE;
    faulty.room = MIN_FREE + 4 * FORMAT_ALIGN;
    struct store *store = open_with(&options, &maker, seed_of_run());
    make_half(&maker, HALF_EXTENTS);
    for (size_t i = 0; i < HALF_EXTENTS; i++)
        half_bytes += extent_stored_bytes(maker.headers[i]->used);
    faulty.room = MIN_FREE + store_offset(store) + half_bytes / 2 + EXTENT_BYTES;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOSPC);
        assert_int_equal(stat(stream_path, &status), 0);
        assert_int_equal(status.st_size, (off_t)store_offset(store)); /* nothing is held back */
        assert_true(status.st_size <= (off_t)(faulty.room - MIN_FREE));
        assert_int_equal(store_finish(store), -EBUSY);
    }
    assert_true(store_account(store).extents > 0); /* what fits is stored */
    assert_true(store_account(store).extents < HALF_EXTENTS);
    faulty.room = (uint64_t)1 << 40;
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    faulty.room = 0;
    write_halves(store, &maker, 2); /* allocated while there was room */
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_int_equal(store_open(&store, &options), 0); /* a full disk is no reason not to start */
    assert_int_equal(store_finish(store), -ENOSPC);
    store_free(store);
}

/* ---- The sweep: every call of every kind fails, in turn, once, thrice, and for ever ---- */

static char sweep_now[128]; /* what a sweep is at: printed if it ends there */

struct sweep {
    enum call call;
    int error;
    enum store_format format;
    enum store_durability durability;
    unsigned times;
    bool resumed;     /* it goes on in the one file of an earlier run */
    bool overlapping; /* several writes are in flight */
};

/* Calls that a full disk or a broken one would let fail again and again end with EIO some time. */
static int store_again(struct store *store, struct maker *maker, struct faulty *faulty)
{
    int rc = 0;
    for (int i = 0; i < 30; i++) {
        rc = store_write(store, maker->headers, HALF_EXTENTS);
        if (rc == 0)
            return 0;
        if (i == 20)
            faulty->first = 0; /* repaired at last */
    }
    return rc;
}

static void see_raw(const struct maker *maker, const uint64_t *first)
{
    struct stream_files files;
    uint64_t bytes = 0, expected = 0;
    assert_int_equal(stream_list(stream_path, &files), 0);
    for (size_t i = 0; i < files.count; i++)
        bytes += files.files[i].bytes;
    stream_files_free(&files);
    for (unsigned w = 0; w < maker->writer_count; w++)
        for (uint64_t b = first ? first[w] : 0; b < maker->next_block[w]; b++)
            expected += block_length(w, b) + (block_flags_of(w, b) & BLOCK_LINE);
    assert_int_equal(bytes, expected);
}

/* One run with the n-th call failing. False: there was no n-th. */
static bool run_failing(const struct sweep *sweep, unsigned n, uint64_t random)
{
    struct faulty faulty;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;
    struct store *store = NULL;
    uint64_t earlier_blocks = 0;
    int rc;

    if (sweep->resumed) { /* without a fault */
        store = open_with(&options, &maker, random);
        write_halves(store, &maker, 1);
        earlier_blocks = maker.blocks;
        close_both(store, &maker);
        store = NULL;
    }
    faulty_init(&faulty, sweep->call, n, sweep->times, sweep->error);
    if (sweep->overlapping)
        faulty_overlap(&faulty);
    options.output = &faulty.output;
    options.format = sweep->format;
    options.durability = sweep->durability;
    options.segment_bytes = sweep->resumed ? 0 : 20 * EXTENT_BYTES;
    if (sweep->resumed)
        faulty.room = 8 << 20; /* too little to allocate ahead, which tmpfs does slowly */
    for (int i = 0; i < 30 && !store; i++) {
        rc = store_open(&store, &options);
        if (rc < 0)
            assert_null(store);
        if (i == 20)
            faulty.first = 0;
    }
    assert_non_null(store);
    maker_open(&maker, options.writer_count, store_next_blocks(store), random);
    for (int half = 0; half < 4; half++) {
        make_half(&maker, HALF_EXTENTS);
        assert_int_equal(store_again(store, &maker, &faulty), 0);
        assert_int_equal(store_account(store).blocks, maker.blocks); /* each is counted once */
        (void)store_housekeep(store); /* it may fail: that is the point */
    }
    for (int i = 0; (rc = store_finish(store)) < 0 && i < 30; i++)
        if (i == 20)
            faulty.first = 0;
    assert_int_equal(rc, 0);
    struct store_account account = store_account(store);
    assert_int_equal(account.bytes, maker.bytes);
    if (sweep->durability == DURABILITY_HALF)
        assert_int_equal(account.durable_bytes, maker.bytes);
    store_free(store);
    assert_false(faulty_in_flight(&faulty));
    if (sweep->error == SHORT_WRITE && sweep->times <= 5) /* that is no failure yet */
        assert_true(events.count[STORE_NO_DIRECT] + events.count[STORE_SEGMENT_LEFT] == 0);
    if (sweep->format == STORE_SEGMENTS) {
        see_stream(stream_path, &seen);
        assert_int_equal(seen.blocks, earlier_blocks + maker.blocks);
        assert_int_equal(seen.checkpoint_blocks, seen.blocks);
        assert_int_equal(seen.digest, account.digest);
        assert_true(seen.closed);
    } else if (sweep->call != CALL_TRUNCATE && sweep->call != CALL_REMOVE)
        see_raw(&maker, NULL); /* those two leave void bytes behind, which raw cannot tell */
    maker_close(&maker);
    return faulty.failed > 0;
}

/* Every n, until there is no n-th call any more. */
static void sweep_all(const struct sweep *sweep, uint64_t random)
{
    bool failed = true;
    for (unsigned n = 1; failed && n < 400; n++) {
        clear(NULL);
        make(NULL);
        snprintf(sweep_now, sizeof(sweep_now),
                 "call kind %d, number %u, %u times, error %d, %s%s, durability %d",
                 (int)sweep->call, n, sweep->times, sweep->error,
                 sweep->format ? "raw" : "segments",
                 sweep->overlapping ? " in flight"
                 : sweep->resumed   ? " resumed"
                                    : "",
                 (int)sweep->durability);
        failed = run_failing(sweep, n, random);
        sweep_now[0] = 0;
    }
    assert_false(failed);
}

static void sweep_call(enum call call, int error)
{
    static const unsigned times[] = {1, 3, 1000000};
    uint64_t random = seed_of_run();
    /* A disk is slow at syncing: there, each call fails once and for ever, and all else on tmpfs. */
    bool slow = strcmp(test_parent, "/tmp") == 0;
    if (slow && error != EIO && error != ENOSPC)
        return;
    for (int round = slow ? 4 : 0; round < 18; round++) {
        if (slow && (round % 6 < 4 || round / 6 == 1))
            continue;
        struct sweep sweep = {.call = call,
                              .error = error,
                              .format = round & 1 ? STORE_RAW : STORE_SEGMENTS,
                              .durability = (enum store_durability)(round / 2 % 3),
                              .times = times[round / 6]};
        sweep_all(&sweep, random);
    }
}

/* The same where a run goes on in the file of an earlier one. */
static void survives_failures_in_a_resumed_file(void **unused)
{
    (void)unused;
    static const enum call calls[] = {CALL_OPEN,     CALL_WRITE,      CALL_SYNC,  CALL_TRUNCATE,
                                      CALL_ALLOCATE, CALL_FREE_BYTES, CALL_REMOVE};
    uint64_t random = seed_of_run();
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        for (int kind = 0; kind < 4; kind++) {
            struct sweep sweep = {.call = calls[i],
                                  .error = kind & 1 ? ENOSPC : EIO,
                                  .durability = DURABILITY_HALF,
                                  .times = kind & 2 ? 1000000 : 1,
                                  .resumed = true};
            sweep_all(&sweep, random);
        }
}

/* Any write in flight may fail or be short, and any may be refused before it has begun: those behind it
 * are waited for before the file is touched (see faulty_sync), and none of theirs counts twice. */
static void survives_failures_in_flight(void **unused)
{
    (void)unused;
    static const struct {
        enum call call;
        int error;
    } cases[] = {{CALL_WRITE, ENOSPC},       {CALL_WRITE, EIO},          {CALL_WRITE, EAGAIN},
                 {CALL_WRITE, EINVAL},       {CALL_WRITE, EINTR},        {CALL_WRITE, ECANCELED},
                 {CALL_WRITE, SHORT_WRITE},  {CALL_BEGIN_WRITE, EPERM},  {CALL_BEGIN_WRITE, EAGAIN},
                 {CALL_BEGIN_WRITE, EINVAL}, {CALL_BEGIN_WRITE, ENOMEM}, {CALL_SYNC, EIO},
                 {CALL_TRUNCATE, EIO}};
    static const unsigned times[] = {1, 3, 1000000};
    uint64_t random = seed_of_run();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int round = 0; round < 6; round++) {
            bool for_ever = round / 2 == 2;
            if (strcmp(test_parent, "/tmp") == 0 && round % 2 == 0)
                continue; /* a disk is slow at syncing */
            if (for_ever && cases[i].error == SHORT_WRITE)
                continue; /* it is futile, which is another test's */
            struct sweep sweep = {.call = cases[i].call,
                                  .error = cases[i].error,
                                  .durability = round % 2 ? DURABILITY_NONE : DURABILITY_HALF,
                                  .times = times[round / 2],
                                  .overlapping = true};
            sweep_all(&sweep, random);
        }
}

/* Where several writes are refused, one at a time will do, and it is said once. */
static void goes_on_with_one_write_at_a_time(void **unused)
{
    (void)unused;
    static const enum call calls[] = {CALL_WRITE, CALL_BEGIN_WRITE};
    for (int i = 0; i < 2; i++) {
        struct faulty faulty;
        struct events events = {0};
        struct store_options options = options_of(&events);
        struct maker maker;
        struct seen seen;

        faulty_init(&faulty, CALL_OPEN, 0, 0, EOPNOTSUPP);
        faulty_overlap(&faulty);
        options.output = &faulty.output;
        options.segment_bytes = 20 * EXTENT_BYTES;
        struct store *store = open_with(&options, &maker, seed_of_run());
        faulty.call = calls[i];
        faulty.first = faulty.seen[calls[i]] + 1;
        faulty.times = 1;
        write_halves(store, &maker, 4);
        assert_int_equal(events.count[STORE_NO_OVERLAP], 1);
        assert_int_equal(events.last[STORE_NO_OVERLAP].error, EOPNOTSUPP);
        assert_int_equal(events.count[STORE_NO_DIRECT] + events.count[STORE_SEGMENT_LEFT], 0);
        assert_true(faulty.seen[CALL_BEGIN_WRITE] <= 4); /* and none in the next half */
        close_both(store, &maker);
        see_stream(stream_path, &seen);
        assert_int_equal(seen.blocks, maker.blocks);
        clear(NULL);
        make(NULL);
    }
}

/* What a failed allocation leaves behind is given back at once (ext4 keeps what it got). */
static void a_failed_allocation_leaves_nothing(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct stat status;

    faulty_init(&faulty, CALL_ALLOCATE, 1, 1, ENOSPC);
    options.output = &faulty.output;
    struct store *store = open_with(&options, &maker, 1);
    assert_int_equal(faulty.failed, 1);
    assert_int_equal(stat(stream_path, &status), 0);
    assert_int_equal(status.st_size, (off_t)store_offset(store) + FORMAT_ALIGN);
    assert_true(status.st_blocks <= 64);
    close_both(store, &maker);
}

/* The segment that was made ready is given up when the open one needs the room. */
static void the_next_segment_is_ballast(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct store_options options = options_of(NULL);
    struct maker maker;

    faulty_init(&faulty, CALL_OPEN, 0, 0, 0);
    options.output = &faulty.output;
    options.segment_bytes = 20 * EXTENT_BYTES;
    faulty.room = 4 * FORMAT_ALIGN;
    struct store *store = open_with(&options, &maker, seed_of_run());
    make_half(&maker, HALF_EXTENTS);
    for (uint64_t room = 4; store_write(store, maker.headers, HALF_EXTENTS) < 0; room++)
        faulty.room = room * EXTENT_BYTES;
    make_half(&maker, HALF_EXTENTS);
    while (store_offset(store) < 10 * EXTENT_BYTES) {
        if (store_write(store, maker.headers, HALF_EXTENTS) == 0)
            make_half(&maker, HALF_EXTENTS);
        faulty.room += EXTENT_BYTES;
    }
    faulty.room = 0;
    assert_int_equal(store_housekeep(store), 0);
    assert_int_equal(directory_entries(test_directory), 3); /* segment, next, lock */
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOSPC);
    assert_int_equal(directory_entries(test_directory), 2);
    faulty.room = UINT64_MAX;
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    close_both(store, &maker);
}

static void survives_failing_writes(void **unused)
{
    (void)unused;
    static const int errors[] = {ENOSPC, EDQUOT, EIO, EROFS, EAGAIN, ESTALE, EFBIG, ENOMEM};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        sweep_call(CALL_WRITE, errors[i]);
}

static void survives_short_writes(void **unused)
{
    (void)unused;
    uint64_t random = seed_of_run();
    static const unsigned times[] = {1, 2, 5, 40};
    for (int format = 0; format < 2; format++)
        for (size_t i = 0; i < 4; i++) {
            struct sweep sweep = {.call = CALL_WRITE,
                                  .error = SHORT_WRITE,
                                  .format = format ? STORE_RAW : STORE_SEGMENTS,
                                  .durability = DURABILITY_HALF,
                                  .times = times[i]};
            for (unsigned n = 1; run_failing(&sweep, n, random); n += 1 + n / 10) {
                clear(NULL);
                make(NULL);
            }
            clear(NULL);
            make(NULL);
        }
}

/* A signal is no failure at all. */
static void interruption_is_no_failure(void **unused)
{
    (void)unused;
    static const enum call calls[] = {CALL_WRITE, CALL_OPEN, CALL_SYNC, CALL_TRUNCATE,
                                      CALL_ALLOCATE};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct faulty faulty;
        struct events events = {0};
        struct store_options options = options_of(&events);
        struct maker maker;
        faulty_init(&faulty, calls[i], 1, 50, EINTR);
        options.output = &faulty.output;
        options.segment_bytes = 20 * EXTENT_BYTES;
        clear(NULL);
        make(NULL);
        struct store *store = open_with(&options, &maker, seed_of_run());
        write_halves(store, &maker, 3);
        close_both(store, &maker);
        assert_int_equal(faulty.failed, 50);
        assert_int_equal(events.count[STORE_SEGMENT_LEFT], 0);
    }
}

/* One that comes again and again does not keep the reader: it is told, waits, and tries again. Nothing is
 * said against the file. */
static void endless_interruption_is_waited_out(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    faulty_init(&faulty, CALL_WRITE, 0, 1000000, EINTR);
    options.output = &faulty.output;
    clear(NULL);
    make(NULL);
    struct store *store = open_with(&options, &maker, seed_of_run());
    make_half(&maker, HALF_EXTENTS);
    faulty.first = 1;
    for (unsigned tries = 1; tries <= 3; tries++) {
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -EINTR);
        assert_in_range(faulty.failed, tries, tries * 300);
    }
    faulty.first = 0;
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 0);
    close_both(store, &maker);
}

/* Nor a start, which cuts off a torn tail and keeps it aside: it fails by that name, and the next one
 * finds all that there was. */
static void endless_interruption_ends_a_start(void **unused)
{
    (void)unused;
    static const enum call calls[] = {CALL_WRITE, CALL_OPEN, CALL_SYNC, CALL_TRUNCATE};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct faulty faulty;
        struct events events = {0};
        struct store_options options = options_of(&events);
        struct maker maker;
        clear(NULL);
        make(NULL);
        struct store *store = open_with(&options, &maker, seed_of_run());
        write_halves(store, &maker, 1);
        close_both(store, &maker);
        const uint64_t before = maker.blocks;
        FILE *file = fopen(stream_path, "a");
        assert_non_null(file);
        for (int c = 0; c < 5000; c++)
            fputc('t', file);
        assert_int_equal(fclose(file), 0);

        faulty_init(&faulty, calls[i], 1, 1000000, EINTR);
        options.output = &faulty.output;
        const int rc = store_open(&store, &options);
        assert_in_range(faulty.failed, 1, 300);
        assert_int_equal(rc, calls[i] == CALL_WRITE ? -EIO : -EINTR);
        faulty.first = 0;
        store = open_with(&options, &maker, seed_of_run());
        write_halves(store, &maker, 1);
        close_both(store, &maker);
        struct seen seen;
        see_stream(stream_path, &seen);
        assert_int_equal(seen.blocks, before + maker.blocks);
    }
}

static void survives_failing_syncs(void **unused)
{
    (void)unused;
    sweep_call(CALL_SYNC, EIO);
    sweep_call(CALL_SYNC, ENOSPC);
}

static void survives_failing_calls_of_other_kinds(void **unused)
{
    (void)unused;
    sweep_call(CALL_TRUNCATE, EIO);
    sweep_call(CALL_TRUNCATE, ENOSPC);
    sweep_call(CALL_ALLOCATE, ENOSPC);
    sweep_call(CALL_ALLOCATE, EIO);
    sweep_call(CALL_ALLOCATE, EFBIG);
    sweep_call(CALL_OPEN, EMFILE);
    sweep_call(CALL_OPEN, ENOSPC);
    sweep_call(CALL_FREE_BYTES, EIO);
    sweep_call(CALL_RENAME, EIO);
    sweep_call(CALL_REMOVE, EROFS);
    sweep_call(CALL_SYNC_DIRECTORY, EIO);
}

/* A checkpoint of which a part was written when the disk was full is made anew, in one piece. */
static void a_torn_checkpoint_is_cut_off(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;

    faulty_init(&faulty, CALL_WRITE, 0, 2, SHORT_WRITE);
    faulty.then = ENOSPC;
    options.output = &faulty.output;
    options.writer_count = 1024; /* it takes several pages */
    options.segment_bytes = 1 << 30;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 1);
    uint64_t end = store_offset(store);
    store_rotate(store);
    make_half(&maker, HALF_EXTENTS);
    faulty.first = faulty.seen[CALL_WRITE] + 1;
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOSPC);
    assert_int_equal(faulty.failed, 2);
    assert_int_equal(store_offset(store), end);
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.segments, 2);
    assert_int_equal(seen.blocks, maker.blocks);
}

/* A failed sync: never that file again, and what was not released comes again elsewhere. */
static void a_file_that_failed_to_sync_is_left(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct stat status;

    faulty_init(&faulty, CALL_SYNC, 0, 1, EIO);
    options.output = &faulty.output;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 1);
    uint64_t durable = store_offset(store);
    faulty.first = faulty.seen[CALL_SYNC] + 1;
    write_halves(store, &maker, 1);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 1);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].error, EIO);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].offset, durable);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].bytes, 0); /* we still had all of it */
    assert_string_not_equal(store_path(store), stream_path);
    assert_int_equal(stat(stream_path, &status), 0);
    assert_int_equal(status.st_size, (off_t)durable);
    assert_int_equal(store_account(store).durable_bytes, maker.bytes);
    close_both(store, &maker);
}

/* What was released before the sync failed cannot be written again: it is kept, and said. */
static void released_bytes_at_risk_are_told(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;

    faulty_init(&faulty, CALL_SYNC, 0, 1, EIO);
    options.output = &faulty.output;
    options.durability = DURABILITY_NONE;
    options.segment_bytes = 1 << 30;
    struct store *store = open_with(&options, &maker, seed_of_run());
    uint64_t begun = store_offset(store);
    write_halves(store, &maker, 2);
    uint64_t released = store_offset(store), released_bytes = maker.bytes;
    faulty.first = faulty.seen[CALL_SYNC] + 1;
    store_rotate(store);
    write_halves(store, &maker, 1); /* ends the segment, and with that syncs it */
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 1);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].offset, begun);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].bytes, released - begun);
    assert_int_equal(store_finish(store), 0);
    assert_int_equal(store_account(store).durable_bytes, maker.bytes - released_bytes);
    store_free(store);
    see_stream(stream_path, &seen); /* this time they are there after all */
    assert_int_equal(seen.blocks, maker.blocks);
    maker_close(&maker);
}

static void goes_without_what_the_file_system_refuses(void **unused)
{
    (void)unused;
    static const struct {
        enum call call;
        int error;
        enum store_event_kind event;
    } cases[] = {{CALL_OPEN, EINVAL, STORE_NO_DIRECT},
                 {CALL_WRITE, EINVAL, STORE_NO_DIRECT},
                 {CALL_ALLOCATE, EOPNOTSUPP, STORE_NO_PREALLOCATE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct faulty faulty;
        struct events events = {0};
        struct store_options options = options_of(&events);
        struct maker maker;
        struct seen seen;
        clear(NULL);
        make(NULL);
        faulty_init(&faulty, cases[i].call, 1, cases[i].call == CALL_ALLOCATE ? 1000 : 1,
                    cases[i].error);
        options.output = &faulty.output;
        options.segment_bytes = 100 * EXTENT_BYTES;
        struct store *store = open_with(&options, &maker, seed_of_run());
        write_halves(store, &maker, 80); /* enough for the rolling write-out */
        close_both(store, &maker);
        assert_int_equal(events.count[cases[i].event], 1);
        assert_int_equal(events.last[cases[i].event].error, cases[i].error);
        assert_int_equal(events.count[STORE_SEGMENT_LEFT], 0);
        see_stream(stream_path, &seen);
        assert_int_equal(seen.blocks, maker.blocks);
    }
}

/* A buffered file whose pages could not be written out is not to be trusted either. */
static void a_failed_write_out_is_a_failed_write(void **unused)
{
    (void)unused;
    struct faulty faulty;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;

    faulty_init(&faulty, CALL_OPEN, 1, 1, EINVAL);
    options.output = &faulty.output;
    struct store *store = open_with(&options, &maker, seed_of_run());
    faulty.call = CALL_SETTLE;
    faulty.error = EIO;
    write_halves(store, &maker, 100);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 1);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
}

/* ---- A real disk that fills up ---- */

/* Mounts a small ext4, or says that it cannot be done here. */
static bool mount_small(void)
{
    char command[512];
    snprintf(command, sizeof(command),
             "cd %s && truncate -s 64M disk && mkfs.ext4 -q disk && mkdir m && "
             "mount -o loop disk m >/dev/null 2>&1",
             test_directory);
    return geteuid() == 0 && system(command) == 0;
}

static int clear_sweep(void **unused)
{
    if (sweep_now[0])
        print_error("at %s\n", sweep_now);
    sweep_now[0] = 0;
    return clear(unused);
}

static int unmount(void **unused)
{
    char mountpoint[80];
    snprintf(mountpoint, sizeof(mountpoint), "%s/m", test_directory);
    if (umount(mountpoint) < 0 && errno != EINVAL && errno != ENOENT && errno != EPERM)
        return -1;
    return clear(unused);
}

static void a_full_disk_is_waited_for(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;
    char name[96], ballast[96];
    off_t ballast_bytes = 44 << 20;
    int refused = 0;

    if (!mount_small()) {
        printf("# skipped: not root, or no loop devices\n");
        skip();
    }
    snprintf(name, sizeof(name), "%s/m/s.dbuf", test_directory);
    snprintf(ballast, sizeof(ballast), "%s/m/ballast", test_directory);
    options.path = name;
    options.segment_bytes = 4 << 20;
    int fd = open(ballast, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(posix_fallocate(fd, 0, ballast_bytes), 0);
    struct store *store = open_with(&options, &maker, seed_of_run());
    for (int half = 0; half < 200; half++) {
        make_half(&maker, HALF_EXTENTS);
        int rc = -ENOSPC;
        for (int tries = 1; rc < 0; tries++) {
            rc = store_write(store, maker.headers, HALF_EXTENTS);
            assert_true(rc == 0 || rc == -ENOSPC);
            refused += rc < 0;
            if (rc < 0 && tries % 3 == 0) /* somebody makes a little room at last */
                assert_int_equal(ftruncate(fd, ballast_bytes -= 2 << 20), 0);
        }
        assert_int_equal(store_housekeep(store), 0);
    }
    close(fd);
    assert_true(refused > 6);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 0);
    close_both(store, &maker);
    see_stream(name, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_true(seen.closed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(min_free_is_kept),
        cmocka_unit_test_setup_teardown(survives_failing_writes, make, clear_sweep),
        cmocka_unit_test_setup_teardown(survives_short_writes, make, clear_sweep),
        TEST(interruption_is_no_failure),
        TEST(endless_interruption_is_waited_out),
        TEST(endless_interruption_ends_a_start),
        cmocka_unit_test_setup_teardown(survives_failing_syncs, make, clear_sweep),
        cmocka_unit_test_setup_teardown(survives_failing_calls_of_other_kinds, make, clear_sweep),
        cmocka_unit_test_setup_teardown(survives_failures_in_a_resumed_file, make, clear_sweep),
        cmocka_unit_test_setup_teardown(survives_failures_in_flight, make, clear_sweep),
        TEST(goes_on_with_one_write_at_a_time),
        TEST(a_failed_allocation_leaves_nothing),
        TEST(the_next_segment_is_ballast),
        TEST(a_torn_checkpoint_is_cut_off),
        TEST(a_file_that_failed_to_sync_is_left),
        TEST(released_bytes_at_risk_are_told),
        TEST(goes_without_what_the_file_system_refuses),
        TEST(a_failed_write_out_is_a_failed_write),
        cmocka_unit_test_setup_teardown(a_full_disk_is_waited_for, make, unmount),
    };
    int failed = 0;
    test_parent = "/tmp";
    failed += cmocka_run_group_tests_name("faults on disk", tests, NULL, NULL);
    test_parent = "/dev/shm";
    failed += cmocka_run_group_tests_name("faults on tmpfs", tests, NULL, NULL);
    return failed;
}
