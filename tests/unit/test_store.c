/* SPDX-License-Identifier: MIT
 *
 * store: what was stored comes back, byte for byte and in order, whatever happens in between.
 * Everything is done on a disk's file system and on tmpfs.
 */
#include "stream_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static const char *parent; /* of the group's directories */
static char directory[64];
static char path[96];

static int make(void **unused)
{
    (void)unused;
    make_directory(parent, directory);
    snprintf(path, sizeof(path), "%s/s.dbuf", directory);
    return 0;
}

static char sweep_now[128]; /* what a sweep is at: printed if it ends there */

static int clear(void **unused)
{
    (void)unused;
    if (sweep_now[0])
        print_error("at %s\n", sweep_now);
    sweep_now[0] = 0;
    remove_directory(directory);
    return 0;
}

static struct store_options options_of(struct events *events)
{
    return (struct store_options){
        .path = path,
        .format = STORE_SEGMENTS,
        .durability = DURABILITY_HALF,
        .extent_bytes_max = EXTENT_BYTES,
        .writer_count = FIXTURE_WRITERS,
        .on_event = events ? count_event : NULL,
        .context = events,
    };
}

/* Opens the stream and a maker that goes on where the stream does. */
static struct store *open_with(const struct store_options *options, struct maker *maker,
                               uint64_t random)
{
    struct store *store = NULL;
    assert_int_equal(store_open(&store, options), 0);
    maker_open(maker, options->writer_count, store_next_blocks(store), random);
    return store;
}

static void write_halves(struct store *store, struct maker *maker, int halves)
{
    for (int i = 0; i < halves; i++) {
        make_half(maker, HALF_EXTENTS);
        assert_int_equal(store_write(store, maker->headers, HALF_EXTENTS), 0);
        assert_int_equal(store_housekeep(store), 0);
    }
}

static void close_both(struct store *store, struct maker *maker)
{
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    maker_close(maker);
}

static void comes_back(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;
    options.random = true;
    options.seed = 77;
    struct store *store = open_with(&options, &maker, seed_of_run());

    write_halves(store, &maker, 5);
    struct store_account account = store_account(store);
    assert_int_equal(account.blocks, maker.blocks);
    assert_int_equal(account.bytes, maker.bytes);
    assert_int_equal(account.durable_bytes, maker.bytes);
    assert_int_equal(account.extents, 5 * HALF_EXTENTS);
    assert_string_equal(store_path(store), path);
    uint64_t used = store_offset(store);
    close_both(store, &maker);

    see_stream(path, &seen);
    assert_int_equal(seen.segments, 1);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_int_equal(seen.bytes, maker.bytes);
    assert_int_equal(seen.checkpoint_blocks, maker.blocks);
    assert_int_equal(seen.digest, account.digest);
    assert_int_equal(seen.next_seq, 5 * HALF_EXTENTS + 2);
    assert_int_equal(account.file_bytes, used);
    assert_true(seen.closed && seen.random && seen.dropped > 0);
    assert_int_equal(directory_entries(directory), 1);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, (off_t)used + FORMAT_ALIGN); /* and the last checkpoint */
}

static void nothing_stored_is_a_whole_stream_too(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    close_both(open_with(&options, &maker, 1), &maker);
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, 0);
    assert_true(seen.closed);
}

static void goes_on_in_the_same_file(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    uint64_t random = seed_of_run(), blocks = 0;
    struct maker maker;
    struct seen seen;

    for (int run = 0; run < 4; run++) {
        options.seed = (uint64_t)run;
        struct store *store = open_with(&options, &maker, random + (uint64_t)run);
        write_halves(store, &maker, 2);
        blocks += maker.blocks;
        close_both(store, &maker);
    }
    see_stream(path, &seen);
    assert_int_equal(seen.segments, 1);
    assert_int_equal(seen.blocks, blocks);
    assert_int_equal(seen.checkpoint_blocks, blocks);
}

static void fewer_writers_keep_the_others_sequences(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen before, seen;

    options.writer_count = 1024;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 3);
    close_both(store, &maker);
    see_stream(path, &before);
    options.writer_count = 2;
    store = open_with(&options, &maker, 5);
    write_halves(store, &maker, 3);
    close_both(store, &maker);
    see_stream(path, &seen);
    assert_int_equal(seen.writer_count, 1024);
    assert_int_equal(seen.blocks, before.blocks + maker.blocks);
    for (int w = 2; w < 1024; w++)
        assert_int_equal(seen.next_block[w], before.next_block[w]);
}

static void rotates(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;
    uint64_t blocks = 0;

    options.segment_bytes = 20 * EXTENT_BYTES;
    for (int run = 0; run < 2; run++) {
        struct store *store = open_with(&options, &maker, seed_of_run() + (uint64_t)run);
        write_halves(store, &maker, 6);
        store_rotate(store);
        write_halves(store, &maker, 1);
        blocks += maker.blocks;
        assert_int_equal(store_account(store).durable_bytes, maker.bytes);
        close_both(store, &maker);
    }
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, blocks);
    assert_true(seen.segments >= 6);
    assert_true(seen.closed);
    assert_int_equal(events.count[STORE_SEGMENT_OPENED], seen.segments);
    assert_int_equal(events.count[STORE_SEGMENT_CLOSED], seen.segments);
    assert_int_equal(directory_entries(directory), seen.segments);

    struct stream_files files;
    assert_int_equal(stream_list(path, &files), 0);
    for (size_t i = 0; i < files.count; i++) {
        assert_int_equal(files.files[i].number, i + 1);
        assert_true(files.files[i].bytes <= options.segment_bytes);
    }
    stream_files_free(&files);
}

/* A segment smaller than one extent still takes one. */
static void a_segment_holds_at_least_one_extent(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;

    options.segment_bytes = 1;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 2);
    close_both(store, &maker);
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_true(seen.segments > 2 && seen.segments <= 2 * HALF_EXTENTS);
}

/* From one file to numbered ones and back: always the newest goes on. */
static void rotation_can_come_and_go(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    uint64_t blocks = 0;
    static const uint64_t segment_bytes[] = {0, 10 * EXTENT_BYTES, 0, 10 * EXTENT_BYTES};

    for (size_t run = 0; run < 4; run++) {
        options.segment_bytes = segment_bytes[run];
        struct store *store = open_with(&options, &maker, seed_of_run() + run);
        write_halves(store, &maker, 2);
        blocks += maker.blocks;
        close_both(store, &maker);
    }
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, blocks);
    assert_true(seen.closed);
}

static void keeps_what_retention_allows(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;
    struct stream_files files;
    uint64_t sum = 0;

    options.segment_bytes = 16 * EXTENT_BYTES;
    options.retain_bytes = 64 * EXTENT_BYTES;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 20);
    assert_int_equal(store_account(store).segments_deleted, events.count[STORE_SEGMENT_DELETED]);
    close_both(store, &maker);
    assert_true(events.count[STORE_SEGMENT_DELETED] > 3);
    assert_int_equal(stream_list(path, &files), 0);
    assert_int_equal(files.files[0].number, events.count[STORE_SEGMENT_DELETED] + 1);
    for (size_t i = 0; i < files.count; i++)
        sum += files.files[i].bytes;
    assert_true(sum <= options.retain_bytes && sum > options.retain_bytes / 2);
    stream_files_free(&files);
    see_stream(path, &seen); /* the rest is whole, and its checkpoints count what is gone */
    assert_int_equal(seen.checkpoint_blocks, maker.blocks);
}

/* Retention smaller than a segment never takes the open one. */
static void retention_never_takes_the_open_segment(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;

    options.segment_bytes = 16 * EXTENT_BYTES;
    options.retain_bytes = 1;
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 5);
    assert_int_equal(access(store_path(store), F_OK), 0);
    close_both(store, &maker);
    see_stream(path, &seen);
    assert_true(seen.closed);
    assert_int_equal(seen.checkpoint_blocks, maker.blocks);
}

static void durable_counts_what_was_synced(void **unused)
{
    (void)unused;
    static const enum store_durability durabilities[] = {DURABILITY_NONE, DURABILITY_INTERVAL,
                                                         DURABILITY_HALF};
    for (size_t i = 0; i < 3; i++) {
        struct store_options options = options_of(NULL);
        struct maker maker;
        char name[128];
        snprintf(name, sizeof(name), "%s.%zu", path, i);
        options.path = name;
        options.durability = durabilities[i];
        options.sync_interval_ns = 3600000000000u;
        struct store *store = open_with(&options, &maker, seed_of_run());
        write_halves(store, &maker, 1);
        struct store_account account = store_account(store);
        assert_int_equal(account.bytes, maker.bytes);
        assert_int_equal(account.durable_bytes,
                         options.durability == DURABILITY_HALF ? maker.bytes : 0);
        assert_int_equal(store_finish(store), 0);
        assert_int_equal(store_account(store).durable_bytes, maker.bytes);
        store_free(store);
        maker_close(&maker);
    }
}

static void syncs_by_interval_between_halves(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    options.durability = DURABILITY_INTERVAL;
    options.sync_interval_ns = 0;
    struct store *store = open_with(&options, &maker, 3);
    write_halves(store, &maker, 2);
    assert_int_equal(store_account(store).durable_bytes, maker.bytes);
    close_both(store, &maker);
}

static void a_stream_has_one_master(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct store *second = NULL;
    struct store *store = open_with(&options, &maker, 3);
    assert_int_equal(store_open(&second, &options), -EWOULDBLOCK);
    assert_null(second);
    close_both(store, &maker);
    store = open_with(&options, &maker, 3);
    close_both(store, &maker);
}

static void fill_file(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void foreign_content_is_left_alone(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct store *store = NULL;
    char text[64] = {0};
    static const char precious[] = "precious, and none of ours";

    fill_file(path, precious);
    assert_int_equal(store_open(&store, &options), -EBADMSG);
    options.segment_bytes = 1 << 20;
    assert_int_equal(store_open(&store, &options), -EBADMSG);
    assert_null(store);
    assert_int_equal(directory_entries(directory), 1);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), sizeof(precious) - 1);
    close(fd);
    assert_string_equal(text, precious);

    options.path = directory;
    assert_int_equal(store_open(&store, &options), -EISDIR);
    options.path = "/nonexistent/directory/s";
    assert_int_equal(store_open(&store, &options), -ENOENT);
}

/* A stream of segments is no place for raw bytes. */
static void raw_does_not_spoil_segments(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct store *none = NULL;
    struct seen seen;
    struct store *store = open_with(&options, &maker, 3);
    write_halves(store, &maker, 1);
    close_both(store, &maker);
    options.format = STORE_RAW;
    assert_int_equal(store_open(&none, &options), -EBADMSG);
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
}

static void an_empty_file_is_as_good_as_none(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    fill_file(path, "");
    struct store *store = open_with(&options, &maker, 3);
    write_halves(store, &maker, 1);
    close_both(store, &maker);
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_int_equal(directory_entries(directory), 1);
}

/* Moved away, as by a log rotation: it is ended where it is now, and a new file begins. */
static void a_file_moved_away_is_ended_there(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    char moved[128];

    snprintf(moved, sizeof(moved), "%s.1", path);
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 2);
    assert_int_equal(rename(path, moved), 0);
    write_halves(store, &maker, 2);
    assert_string_equal(store_path(store), path);
    close_both(store, &maker);
    seen = (struct seen){0};
    see_segment(&seen, moved, UINT64_MAX);
    assert_true(seen.ended && !seen.closed);
    see_segment(&seen, path, UINT64_MAX);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_true(seen.closed);
}

static void a_replaced_file_is_left_to_its_owner(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    char moved[128];

    snprintf(moved, sizeof(moved), "%s.1", path);
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 1);
    assert_int_equal(rename(path, moved), 0);
    fill_file(path, "another's");
    write_halves(store, &maker, 1);
    assert_string_not_equal(store_path(store), path);
    struct seen seen = {0};
    char *second = strdup(store_path(store));
    close_both(store, &maker);
    see_segment(&seen, moved, UINT64_MAX);
    see_segment(&seen, second, UINT64_MAX);
    assert_int_equal(seen.blocks, maker.blocks);
    free(second);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, strlen("another's"));
}

/* What is in a deleted file is gone, and said to be; everything after it is there. */
static void a_deleted_file_is_told_and_followed(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct seen seen;

    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 2);
    uint64_t lost_blocks = maker.blocks, lost_bytes = maker.bytes, lost = store_offset(store);
    assert_int_equal(unlink(path), 0);
    write_halves(store, &maker, 2);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 1);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].error, ENOENT);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].offset, 0);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].bytes, lost);
    assert_int_equal(store_account(store).durable_bytes, maker.bytes - lost_bytes);
    close_both(store, &maker);
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, maker.blocks - lost_blocks);
    assert_int_equal(seen.checkpoint_blocks, maker.blocks);
}

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
        assert_int_equal(stat(path, &status), 0);
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
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_int_equal(store_open(&store, &options), 0); /* a full disk is no reason not to start */
    assert_int_equal(store_finish(store), -ENOSPC);
    store_free(store);
}

/* ---- The sweep: every call of every kind fails, in turn, once, thrice, and for ever ---- */

struct sweep {
    enum call call;
    int error;
    enum store_format format;
    enum store_durability durability;
    unsigned times;
    bool direct;
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
    assert_int_equal(stream_list(path, &files), 0);
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
    int rc;

    faulty_init(&faulty, sweep->call, n, sweep->times, sweep->error);
    options.output = &faulty.output;
    options.format = sweep->format;
    options.durability = sweep->durability;
    options.segment_bytes = 20 * EXTENT_BYTES;
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
    if (sweep->format == STORE_SEGMENTS) {
        see_stream(path, &seen);
        assert_int_equal(seen.blocks, maker.blocks);
        assert_int_equal(seen.checkpoint_blocks, maker.blocks);
        assert_int_equal(seen.digest, account.digest);
        assert_true(seen.closed);
    } else if (sweep->call != CALL_TRUNCATE && sweep->call != CALL_REMOVE)
        see_raw(&maker, NULL); /* those two leave void bytes behind, which raw cannot tell */
    maker_close(&maker);
    return faulty.failed > 0;
}

static void sweep_call(enum call call, int error)
{
    uint64_t random = seed_of_run();
    /* A disk is slow at syncing: there, each call fails once and for ever, and all else on tmpfs.
     */
    bool slow = strcmp(parent, "/tmp") == 0;
    for (int round = slow ? 4 : 0; round < 18; round++) {
        if (slow && (round % 6 < 4 || round / 6 == 1))
            continue;
        struct sweep sweep = {.call = call,
                              .error = error,
                              .format = round & 1 ? STORE_RAW : STORE_SEGMENTS,
                              .durability = (enum store_durability)(round / 2 % 3),
                              .times = round / 6 == 0   ? 1
                                       : round / 6 == 1 ? 3
                                                        : 1000000};
        bool failed = true;
        for (unsigned n = 1; failed && n < 400; n++) {
            clear(NULL);
            make(NULL);
            snprintf(sweep_now, sizeof(sweep_now),
                     "call kind %d, number %u, %u times, error %d, %s, durability %d", (int)call, n,
                     sweep.times, error, sweep.format ? "raw" : "segments", (int)sweep.durability);
            failed = run_failing(&sweep, n, random);
            sweep_now[0] = 0;
        }
        assert_false(failed);
    }
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
    assert_string_not_equal(store_path(store), path);
    assert_int_equal(stat(path, &status), 0);
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
    see_stream(path, &seen); /* this time they are there after all */
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
        see_stream(path, &seen);
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
    see_stream(path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
}

/* ---- Raw ---- */

static void append_expected(unsigned char *expected, size_t *length, const struct maker *maker,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct extent_header *header = maker->headers[i];
        for (uint64_t b = header->first_block; b < header->first_block + header->block_count; b++) {
            block_content(header->writer, b, expected + *length);
            *length += block_length(header->writer, b);
            if (block_flags_of(header->writer, b) & BLOCK_LINE)
                expected[(*length)++] = '\n';
        }
    }
}

static size_t read_file(const char *name, unsigned char *room, size_t room_bytes)
{
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t got = read(fd, room, room_bytes);
    assert_true(got >= 0);
    close(fd);
    return (size_t)got;
}

enum { RAW_ROOM = 4 << 20 };

static void raw_gives_the_bare_bytes(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    unsigned char *expected = malloc(RAW_ROOM), *found = malloc(RAW_ROOM);
    size_t length = 6;
    uint64_t random = seed_of_run();

    assert_true(expected && found);
    options.format = STORE_RAW;
    fill_file(path, "before"); /* is appended to */
    memcpy(expected, "before", 6);
    for (int run = 0; run < 2; run++) {
        struct maker maker;
        struct store *store = open_with(&options, &maker, random++);
        for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
            assert_int_equal(store_next_blocks(store)[w], 0);
        for (int i = 0; i < 3; i++) {
            make_half(&maker, HALF_EXTENTS);
            append_expected(expected, &length, &maker, HALF_EXTENTS);
            assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
        }
        assert_int_equal(store_account(store).bytes, maker.bytes);
        close_both(store, &maker);
    }
    assert_true(length < RAW_ROOM);
    assert_int_equal(read_file(path, found, RAW_ROOM), length);
    assert_memory_equal(found, expected, length);
    assert_int_equal(directory_entries(directory), 1);
    free(expected);
    free(found);
}

static void raw_rotates_and_its_numbers_go_on(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    unsigned char *expected = malloc(RAW_ROOM), *found = malloc(RAW_ROOM);
    size_t length = 0, found_bytes = 0;
    struct stream_files files;

    assert_true(expected && found);
    options.format = STORE_RAW;
    options.segment_bytes = 10 * EXTENT_BYTES;
    for (int run = 0; run < 2; run++) {
        struct maker maker;
        struct store *store = open_with(&options, &maker, seed_of_run());
        for (int i = 0; i < 3; i++) {
            make_half(&maker, HALF_EXTENTS);
            append_expected(expected, &length, &maker, HALF_EXTENTS);
            assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
        }
        close_both(store, &maker);
    }
    assert_int_equal(stream_list(path, &files), 0);
    assert_true(files.count >= 4);
    for (size_t i = 0; i < files.count; i++) {
        assert_int_equal(files.files[i].number, i + 1);
        found_bytes += read_file(files.files[i].path, found + found_bytes, RAW_ROOM - found_bytes);
    }
    stream_files_free(&files);
    assert_int_equal(found_bytes, length);
    assert_memory_equal(found, expected, length);
    free(expected);
    free(found);
}

/* ---- Devices ---- */

struct drain {
    int fd;
    unsigned char *room;
    size_t bytes;
};

static void *drain_pipe(void *argument)
{
    struct drain *drain = argument;
    ssize_t got;
    while ((got = read(drain->fd, drain->room + drain->bytes, RAW_ROOM - drain->bytes)) > 0)
        drain->bytes += (size_t)got;
    return NULL;
}

static void goes_through_a_pipe(enum store_format format, struct drain *drain)
{
    struct store_options options = options_of(NULL);
    unsigned char *expected = malloc(RAW_ROOM);
    struct maker maker;
    pthread_t thread;
    size_t length = 0;

    assert_non_null(expected);
    options.format = format;
    options.segment_bytes = 1 << 20; /* a pipe does not rotate */
    assert_int_equal(mkfifo(path, 0600), 0);
    struct store *store = open_with(&options, &maker, seed_of_run());
    drain->fd = open(path, O_RDONLY);
    assert_true(drain->fd >= 0);
    assert_int_equal(pthread_create(&thread, NULL, drain_pipe, drain), 0);
    for (int i = 0; i < 4; i++) {
        make_half(&maker, HALF_EXTENTS);
        append_expected(expected, &length, &maker, HALF_EXTENTS);
        int rc;
        while ((rc = store_write(store, maker.headers, HALF_EXTENTS)) == -EAGAIN)
            ;
        assert_int_equal(rc, 0);
    }
    assert_int_equal(store_account(store).durable_bytes, maker.bytes);
    close_both(store, &maker);
    pthread_join(thread, NULL);
    close(drain->fd);
    if (format == STORE_RAW) {
        assert_int_equal(drain->bytes, length);
        assert_memory_equal(drain->room, expected, length);
    }
    assert_int_equal(directory_entries(directory), 1);
    free(expected);
}

static void raw_goes_through_a_pipe(void **unused)
{
    (void)unused;
    struct drain drain = {.room = malloc(RAW_ROOM)};
    goes_through_a_pipe(STORE_RAW, &drain);
    free(drain.room);
}

static void segments_go_through_a_pipe(void **unused)
{
    (void)unused;
    struct drain drain = {.room = malloc(RAW_ROOM)};
    struct seen seen = {0};
    char copy[128];

    goes_through_a_pipe(STORE_SEGMENTS, &drain);
    snprintf(copy, sizeof(copy), "%s.copy", path);
    int fd = open(copy, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, drain.room, drain.bytes), (ssize_t)drain.bytes);
    close(fd);
    see_segment(&seen, copy, UINT64_MAX);
    assert_true(seen.closed && seen.blocks > 0);
    free(drain.room);
}

/* Nobody reads the pipe: the store says so again and again, and later nothing is missing. */
static void a_pipe_without_a_reader_waits(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    unsigned char *expected = malloc(RAW_ROOM);
    struct drain drain = {.room = malloc(RAW_ROOM)};
    struct maker maker;
    pthread_t thread;
    size_t length = 0;

    assert_true(expected && drain.room);
    options.format = STORE_RAW;
    assert_int_equal(mkfifo(path, 0600), 0);
    struct store *store = open_with(&options, &maker, seed_of_run());
    make_half(&maker, HALF_EXTENTS);
    append_expected(expected, &length, &maker, HALF_EXTENTS);
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -EAGAIN);
    assert_int_equal(store_finish(store), -EBUSY);
    drain.fd = open(path, O_RDONLY);
    assert_int_equal(pthread_create(&thread, NULL, drain_pipe, &drain), 0);
    int rc;
    while ((rc = store_write(store, maker.headers, HALF_EXTENTS)) == -EAGAIN)
        ;
    assert_int_equal(rc, 0);
    close_both(store, &maker);
    pthread_join(thread, NULL);
    close(drain.fd);
    assert_int_equal(drain.bytes, length);
    assert_memory_equal(drain.room, expected, length);
    free(expected);
    free(drain.room);
}

static void devices_are_written_straight(void **unused)
{
    (void)unused;
    for (int format = 0; format < 2; format++) {
        struct store_options options = options_of(NULL);
        struct maker maker;
        options.path = "/dev/null";
        options.format = format ? STORE_RAW : STORE_SEGMENTS;
        struct store *store = open_with(&options, &maker, 9);
        write_halves(store, &maker, 3);
        assert_int_equal(store_account(store).bytes, maker.bytes);
        close_both(store, &maker);

        options.path = "/dev/full";
        store = open_with(&options, &maker, 9);
        make_half(&maker, HALF_EXTENTS);
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOSPC);
        assert_int_equal(store_account(store).bytes, 0);
        store_free(store);
        maker_close(&maker);
    }
}

/* ---- A real disk that fills up ---- */

/* Mounts a small ext4, or says that it cannot be done here. */
static bool mount_small(void)
{
    char command[512];
    snprintf(command, sizeof(command),
             "cd %s && truncate -s 64M disk && mkfs.ext4 -q disk && mkdir m && "
             "mount -o loop disk m >/dev/null 2>&1",
             directory);
    return geteuid() == 0 && system(command) == 0;
}

static int unmount(void **unused)
{
    char mountpoint[80];
    snprintf(mountpoint, sizeof(mountpoint), "%s/m", directory);
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

    if (!mount_small())
        skip(); /* not root, or no loop devices */
    snprintf(name, sizeof(name), "%s/m/s.dbuf", directory);
    snprintf(ballast, sizeof(ballast), "%s/m/ballast", directory);
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
        TEST(comes_back),
        TEST(nothing_stored_is_a_whole_stream_too),
        TEST(goes_on_in_the_same_file),
        TEST(fewer_writers_keep_the_others_sequences),
        TEST(rotates),
        TEST(a_segment_holds_at_least_one_extent),
        TEST(rotation_can_come_and_go),
        TEST(keeps_what_retention_allows),
        TEST(retention_never_takes_the_open_segment),
        TEST(durable_counts_what_was_synced),
        TEST(syncs_by_interval_between_halves),
        TEST(a_stream_has_one_master),
        TEST(foreign_content_is_left_alone),
        TEST(raw_does_not_spoil_segments),
        TEST(an_empty_file_is_as_good_as_none),
        TEST(a_file_moved_away_is_ended_there),
        TEST(a_replaced_file_is_left_to_its_owner),
        TEST(a_deleted_file_is_told_and_followed),
        TEST(min_free_is_kept),
        TEST(survives_failing_writes),
        TEST(survives_short_writes),
        TEST(interruption_is_no_failure),
        TEST(survives_failing_syncs),
        TEST(survives_failing_calls_of_other_kinds),
        TEST(a_file_that_failed_to_sync_is_left),
        TEST(released_bytes_at_risk_are_told),
        TEST(goes_without_what_the_file_system_refuses),
        TEST(a_failed_write_out_is_a_failed_write),
        TEST(raw_gives_the_bare_bytes),
        TEST(raw_rotates_and_its_numbers_go_on),
        TEST(raw_goes_through_a_pipe),
        TEST(segments_go_through_a_pipe),
        TEST(a_pipe_without_a_reader_waits),
        TEST(devices_are_written_straight),
        cmocka_unit_test_setup_teardown(a_full_disk_is_waited_for, make, unmount),
    };
    int failed = 0;
    parent = "/tmp";
    failed += cmocka_run_group_tests_name("store on disk", tests, NULL, NULL);
    parent = "/dev/shm";
    failed += cmocka_run_group_tests_name("store on tmpfs", tests, NULL, NULL);
    return failed;
}
