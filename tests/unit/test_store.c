/* SPDX-License-Identifier: MIT
 *
 * store: what was stored comes back, byte for byte and in order; in segments, raw, through pipes.
 * Everything is done on a disk's file system and on tmpfs.
 */
#include "stream_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

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
    assert_string_equal(store_path(store), stream_path);
    uint64_t used = store_offset(store);
    close_both(store, &maker);

    see_stream(stream_path, &seen);
    assert_int_equal(seen.segments, 1);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_int_equal(seen.bytes, maker.bytes);
    assert_int_equal(seen.checkpoint_blocks, maker.blocks);
    assert_int_equal(seen.digest, account.digest);
    assert_int_equal(seen.next_seq, 5 * HALF_EXTENTS + 2);
    assert_int_equal(account.file_bytes, used);
    assert_true(seen.closed && seen.random && seen.dropped > 0);
    assert_int_equal(directory_entries(test_directory), 1);
    struct stat status;
    assert_int_equal(stat(stream_path, &status), 0);
    assert_int_equal(status.st_size, (off_t)used + FORMAT_ALIGN); /* and the last checkpoint */
}

static void nothing_stored_is_a_whole_stream_too(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    close_both(open_with(&options, &maker, 1), &maker);
    see_stream(stream_path, &seen);
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
    see_stream(stream_path, &seen);
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
    see_stream(stream_path, &before);
    options.writer_count = 2;
    store = open_with(&options, &maker, 5);
    write_halves(store, &maker, 3);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
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
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, blocks);
    assert_true(seen.segments >= 6);
    assert_true(seen.closed);
    assert_int_equal(events.count[STORE_SEGMENT_OPENED], seen.segments);
    assert_int_equal(events.count[STORE_SEGMENT_CLOSED], seen.segments);
    assert_int_equal(directory_entries(test_directory), seen.segments);

    struct stream_files files;
    assert_int_equal(stream_list(stream_path, &files), 0);
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
    see_stream(stream_path, &seen);
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
    see_stream(stream_path, &seen);
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
    assert_int_equal(stream_list(stream_path, &files), 0);
    assert_int_equal(files.files[0].number, events.count[STORE_SEGMENT_DELETED] + 1);
    for (size_t i = 0; i < files.count; i++)
        sum += files.files[i].bytes;
    assert_true(sum <= options.retain_bytes && sum > options.retain_bytes / 2);
    stream_files_free(&files);
    see_stream(stream_path, &seen); /* the rest is whole, and its checkpoints count what is gone */
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
    see_stream(stream_path, &seen);
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
        snprintf(name, sizeof(name), "%s.%zu", stream_path, i);
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

struct watch {
    const struct store *store;
    atomic_bool stop;
    bool right;
};

static void *watch_account(void *argument)
{
    struct watch *watch = argument;
    struct store_account before = {0};
    watch->right = true;
    while (!atomic_load(&watch->stop)) {
        struct store_account now = store_account(watch->store);
        watch->right = watch->right && now.durable_bytes <= now.bytes &&
                       now.bytes >= before.bytes && now.blocks >= before.blocks;
        before = now;
    }
    return NULL;
}

/* Anyone may look at the account while the reader stores (the thread sanitizer looks on). */
static void the_account_may_be_read_meanwhile(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    pthread_t thread;
    options.segment_bytes = 20 * EXTENT_BYTES;
    struct store *store = open_with(&options, &maker, seed_of_run());
    struct watch watch = {.store = store};
    assert_int_equal(pthread_create(&thread, NULL, watch_account, &watch), 0);
    write_halves(store, &maker, 20);
    assert_int_equal(store_finish(store), 0);
    atomic_store(&watch.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(watch.right);
    store_free(store);
    maker_close(&maker);
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

    fill_file(stream_path, precious);
    assert_int_equal(store_open(&store, &options), -EBADMSG);
    options.segment_bytes = 1 << 20;
    assert_int_equal(store_open(&store, &options), -EBADMSG);
    assert_null(store);
    assert_int_equal(directory_entries(test_directory), 1);
    int fd = open(stream_path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), sizeof(precious) - 1);
    close(fd);
    assert_string_equal(text, precious);

    options.path = test_directory;
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
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
}

static void an_empty_file_is_as_good_as_none(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    fill_file(stream_path, "");
    struct store *store = open_with(&options, &maker, 3);
    write_halves(store, &maker, 1);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_int_equal(directory_entries(test_directory), 1);
}

/* Moved away, as by a log rotation: it is ended where it is now, and a new file begins. */
static void a_file_moved_away_is_ended_there(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    struct seen seen;
    char moved[128];

    snprintf(moved, sizeof(moved), "%s.1", stream_path);
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 2);
    assert_int_equal(rename(stream_path, moved), 0);
    write_halves(store, &maker, 2);
    assert_string_equal(store_path(store), stream_path);
    close_both(store, &maker);
    seen = (struct seen){0};
    see_segment(&seen, moved, UINT64_MAX);
    assert_true(seen.ended && !seen.closed);
    see_segment(&seen, stream_path, UINT64_MAX);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_true(seen.closed);
}

static void a_replaced_file_is_left_to_its_owner(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct maker maker;
    char moved[128];

    snprintf(moved, sizeof(moved), "%s.1", stream_path);
    struct store *store = open_with(&options, &maker, seed_of_run());
    write_halves(store, &maker, 1);
    assert_int_equal(rename(stream_path, moved), 0);
    fill_file(stream_path, "another's");
    write_halves(store, &maker, 1);
    assert_string_not_equal(store_path(store), stream_path);
    struct seen seen = {0};
    char *second = strdup(store_path(store));
    close_both(store, &maker);
    see_segment(&seen, moved, UINT64_MAX);
    see_segment(&seen, second, UINT64_MAX);
    assert_int_equal(seen.blocks, maker.blocks);
    free(second);
    struct stat status;
    assert_int_equal(stat(stream_path, &status), 0);
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
    assert_int_equal(unlink(stream_path), 0);
    write_halves(store, &maker, 2);
    assert_int_equal(events.count[STORE_SEGMENT_LEFT], 1);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].error, ENOENT);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].offset, 0);
    assert_int_equal(events.last[STORE_SEGMENT_LEFT].bytes, lost);
    assert_int_equal(store_account(store).durable_bytes, maker.bytes - lost_bytes);
    close_both(store, &maker);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks - lost_blocks);
    assert_int_equal(seen.checkpoint_blocks, maker.blocks);
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
    fill_file(stream_path, "before"); /* is appended to */
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
    assert_int_equal(read_file(stream_path, found, RAW_ROOM), length);
    assert_memory_equal(found, expected, length);
    assert_int_equal(directory_entries(test_directory), 1);
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
    assert_int_equal(stream_list(stream_path, &files), 0);
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

/* The reading end, which must be there before the store; reads wait. */
static int open_reading_end(void)
{
    int fd = open(stream_path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    return fd;
}

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
    assert_int_equal(mkfifo(stream_path, 0600), 0);
    drain->fd = open_reading_end();
    struct store *store = open_with(&options, &maker, seed_of_run());
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
    assert_int_equal(directory_entries(test_directory), 1);
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
    snprintf(copy, sizeof(copy), "%s.copy", stream_path);
    int fd = open(copy, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, drain.room, drain.bytes), (ssize_t)drain.bytes);
    close(fd);
    see_segment(&seen, copy, UINT64_MAX);
    assert_true(seen.closed && seen.blocks > 0);
    free(drain.room);
}

/* A pipe that nobody reads is refused. When its reader rests, the store says so again and again, and
 * later nothing is missing. */
static void a_pipe_whose_reader_rests_waits(void **unused)
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
    assert_int_equal(mkfifo(stream_path, 0600), 0);
    struct store *store;
    assert_int_equal(store_open(&store, &options), -ENXIO);
    drain.fd = open_reading_end();
    store = open_with(&options, &maker, seed_of_run());
    make_half(&maker, HALF_EXTENTS);
    append_expected(expected, &length, &maker, HALF_EXTENTS);
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -EAGAIN);
    assert_int_equal(store_finish(store), -EBUSY);
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
        TEST(the_account_may_be_read_meanwhile),
        TEST(a_stream_has_one_master),
        TEST(foreign_content_is_left_alone),
        TEST(raw_does_not_spoil_segments),
        TEST(an_empty_file_is_as_good_as_none),
        TEST(a_file_moved_away_is_ended_there),
        TEST(a_replaced_file_is_left_to_its_owner),
        TEST(a_deleted_file_is_told_and_followed),
        TEST(raw_gives_the_bare_bytes),
        TEST(raw_rotates_and_its_numbers_go_on),
        TEST(raw_goes_through_a_pipe),
        TEST(segments_go_through_a_pipe),
        TEST(a_pipe_whose_reader_rests_waits),
        TEST(devices_are_written_straight),
    };
    int failed = 0;
    test_parent = "/tmp";
    failed += cmocka_run_group_tests_name("store on disk", tests, NULL, NULL);
    test_parent = "/dev/shm";
    failed += cmocka_run_group_tests_name("store on tmpfs", tests, NULL, NULL);
    return failed;
}
