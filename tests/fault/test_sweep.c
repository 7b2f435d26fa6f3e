/* SPDX-License-Identifier: MIT
 *
 * The fault sweep: every call that the store makes of the disk fails, the n-th of each kind for n = 1,
 * 2, 3 ... until there is no n-th any more, with every errno, once, three times, and until somebody
 * repairs the disk. Nothing may be lost, doubled or held for ever. Two judge: the verdict of verify, and
 * the blocks that were made, which must come back byte for byte.
 *
 * A run begins with what a killed one has left, a torn tail included, stores some halves over several
 * segments, and closes the stream.
 */
#include "verdict.h"

#include <signal.h>

#include "../../src/disk/raw.h"

enum { RUN_LIMIT_S = 60, TRIES = 40, REPAIRED_AT = 20, FOR_EVER = 1000000 };
enum { FREE_BYTES = 1 << 20 }; /* too little to allocate far ahead, which tmpfs does slowly */

struct kind {
    enum store_format format;
    enum store_durability durability;
    uint64_t segment_bytes;
    bool no_direct;
    bool overlaps; /* several writes are in flight */
    int halves;
    const char *name;
};

static const struct kind kinds[] = {
    {STORE_SEGMENTS, DURABILITY_HALF, 20 * EXTENT_BYTES, false, false, 2, "segments, half"},
    {STORE_SEGMENTS, DURABILITY_INTERVAL, 0, false, true, 2,
     "one file, interval, writes in flight"},
    {STORE_SEGMENTS, DURABILITY_NONE, 14 * EXTENT_BYTES, true, false, 2,
     "small segments, none, buffered"},
    {STORE_RAW, DURABILITY_HALF, 20 * EXTENT_BYTES, false, false, 2, "raw, half"},
};

static const struct kind long_buffered = {
    STORE_SEGMENTS, DURABILITY_NONE, 0, true, false, 120, "one long file, none, buffered"};

/* With SOAK in the environment every kind of stream gets all of them; else the first kind does, and the
 * others get those in front, one of each sort that the store tells apart. */
static const int errors[] = {ENOSPC, EIO,   EINVAL, EINTR,  EAGAIN, EROFS,
                             EDQUOT, EFBIG, ENODEV, ESTALE, ENOENT};
#ifdef __SANITIZE_ADDRESS__
static const bool quick = true; /* it is not the errno that a sanitizer looks at */
#else
static const bool quick = false;
#endif
enum { ERRORS = sizeof(errors) / sizeof(errors[0]), ERRORS_IN_FRONT = 3 };
static const int shorts[] = {SHORT_WRITE, SHORT_BY_ONE, SHORT_TO_SECTOR};
static const unsigned times[] = {1, 3, FOR_EVER};

static char now_at[160]; /* what the sweep is at: printed if it ends there */
static unsigned long runs;

static void too_long(int signal)
{
    (void)signal;
    (void)!write(STDERR_FILENO, "hangs at ", 9);
    (void)!write(STDERR_FILENO, now_at, strlen(now_at));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(1);
}

struct run {
    const struct kind *kind;
    struct faulty faulty;
    struct maker maker;
    uint64_t blocks_before, bytes_before; /* that the killed run had stored */
    unsigned char *raw;                   /* the bytes that a raw stream must have */
    size_t raw_bytes;
};

static int open_no_direct(void *context, const char *path, int flags)
{
    return flags & O_DIRECT ? -EINVAL : faulty_open(context, path, flags);
}

static void keep_raw(struct run *run)
{
    struct iovec pieces[512];

    if (run->kind->format != STORE_RAW)
        return;
    if (!run->raw)
        run->raw = malloc((size_t)(run->kind->halves + 2) * HALF_EXTENTS * EXTENT_BYTES);
    assert_non_null(run->raw);
    for (size_t i = 0; i < HALF_EXTENTS; i++) {
        int count = raw_pieces(run->maker.headers[i], 0, pieces, 512);
        assert_true(count < 512);
        for (int piece = 0; piece < count; piece++) {
            memcpy(run->raw + run->raw_bytes, pieces[piece].iov_base, pieces[piece].iov_len);
            run->raw_bytes += pieces[piece].iov_len;
        }
    }
}

static struct store_options options_of_run(struct run *run)
{
    struct store_options options = options_of(NULL);

    options.format = run->kind->format;
    options.durability = run->kind->durability;
    options.segment_bytes = run->kind->segment_bytes;
    return options;
}

static void append(const char *path, int byte, size_t bytes)
{
    unsigned char *junk = malloc(bytes);
    int fd = open(path, O_WRONLY | O_APPEND);

    assert_non_null(junk);
    assert_true(fd >= 0);
    memset(junk, byte, bytes);
    assert_int_equal(write(fd, junk, bytes), (ssize_t)bytes);
    close(fd);
    free(junk);
}

/* What a killed run leaves: a stream that is not closed, and behind its last extent a torn one. */
static void leave_behind(struct run *run)
{
    struct store_options options = options_of_run(run);
    struct faulty sound;

    faulty_init(&sound, CALL_OPEN, 0, 0, 0);
    sound.room = FREE_BYTES;
    options.output = &sound.output;
    struct store *store = open_with(&options, &run->maker, 7);

    make_half(&run->maker, HALF_EXTENTS);
    assert_int_equal(store_write(store, run->maker.headers, HALF_EXTENTS), 0);
    keep_raw(run);
    uint64_t end = store_offset(store);
    char path[128];
    snprintf(path, sizeof(path), "%s", store_path(store));
    store_free(store);
    if (run->kind->format == STORE_SEGMENTS) {
        assert_int_equal(truncate(path, (off_t)end), 0);
        append(path, 'x', 5000);
    }
    run->blocks_before = run->maker.blocks;
    run->bytes_before = run->maker.bytes;
    maker_close(&run->maker);
}

static struct store *open_store(struct run *run)
{
    struct store_options options = options_of_run(run);
    struct store *store = NULL;

    options.output = &run->faulty.output;
    for (int i = 0; i < TRIES && !store; i++) {
        if (i == REPAIRED_AT)
            run->faulty.first = 0;
        int rc = store_open(&store, &options);
        assert_true(rc == 0 || !store);
    }
    assert_non_null(store);
    return store;
}

static void store_one(struct run *run, struct store *store)
{
    int rc = -1;

    make_half(&run->maker, HALF_EXTENTS);
    keep_raw(run);
    for (int i = 0; i < TRIES && rc < 0; i++) {
        if (i == REPAIRED_AT)
            run->faulty.first = 0;
        rc = store_write(store, run->maker.headers, HALF_EXTENTS);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(store_account(store).blocks, run->maker.blocks); /* each is counted once */
    if (run->kind->durability == DURABILITY_HALF)
        assert_int_equal(store_account(store).durable_bytes, run->maker.bytes);
    (void)store_housekeep(store); /* it may fail: that is the point */
}

static void finish(struct run *run, struct store *store)
{
    int rc = -1;

    for (int i = 0; i < TRIES && rc < 0; i++) {
        if (i == REPAIRED_AT)
            run->faulty.first = 0;
        rc = store_finish(store);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(store_account(store).bytes, run->maker.bytes);
}

/* All bytes of the stream's files, one behind the other, are those that were made. */
static void compare_raw(const struct run *run)
{
    struct stream_files files;
    size_t at = 0;

    assert_int_equal(stream_list(stream_path, &files), 0);
    for (size_t i = 0; i < files.count; i++) {
        size_t bytes = files.files[i].bytes;
        unsigned char *data = malloc(bytes + 1);
        int fd = open(files.files[i].path, O_RDONLY);
        assert_true(data && fd >= 0);
        assert_int_equal(read(fd, data, bytes), (ssize_t)bytes);
        assert_true(at + bytes <= run->raw_bytes);
        assert_memory_equal(data, run->raw + at, bytes);
        at += bytes;
        close(fd);
        free(data);
    }
    assert_int_equal(at, run->raw_bytes);
    stream_files_free(&files);
}

static void judge(struct run *run)
{
    struct seen seen;

    if (run->kind->format == STORE_SEGMENTS) {
        see_stream(stream_path, &seen);
        assert_int_equal(seen.blocks, run->blocks_before + run->maker.blocks);
        assert_int_equal(seen.checkpoint_blocks, seen.blocks);
        verdict_whole(stream_path, seen.blocks, run->bytes_before + run->maker.bytes);
    } else if (run->faulty.call != CALL_TRUNCATE && run->faulty.call != CALL_REMOVE)
        compare_raw(run); /* those two leave bytes behind that raw cannot tell from others */
}

/* One run with the n-th call failing. False: there was no n-th. */
static bool run_failing(const struct kind *kind, enum call call, int error, unsigned in_a_row,
                        unsigned n)
{
    struct run *run = calloc(1, sizeof(*run));
    bool failed;

    assert_non_null(run);
    run->kind = kind;
    snprintf(now_at, sizeof(now_at), "%s: call kind %d, number %u, error %d, %u times", kind->name,
             (int)call, n, error, in_a_row);
    alarm(RUN_LIMIT_S);
    leave_behind(run);
    faulty_init(&run->faulty, call, n, in_a_row, error);
    if (kind->overlaps)
        faulty_overlap(&run->faulty);
    if (kind->no_direct)
        run->faulty.output.open = open_no_direct;
    run->faulty.room = FREE_BYTES;
    if (kind->halves > 100)
        run->faulty.room = 64 << 20;
    struct store *store = open_store(run);
    maker_open(&run->maker, FIXTURE_WRITERS, store_next_blocks(store), 99);
    for (int half = 0; half < kind->halves; half++)
        store_one(run, store);
    store_rotate(store);
    store_one(run, store);
    finish(run, store);
    store_free(store);
    judge(run);
    failed = run->faulty.failed > 0;
    maker_close(&run->maker);
    free(run->raw);
    free(run);
    alarm(0);
    now_at[0] = 0;
    runs++;
    clear(NULL);
    make(NULL);
    return failed;
}

static void sweep(const struct kind *kind, enum call call, int error)
{
    for (size_t t = 0; t < sizeof(times) / sizeof(times[0]); t++) {
        unsigned n = 1;
        while (run_failing(kind, call, error, times[t], n))
            n++;
        assert_true(n < 400);
    }
}

static size_t errors_of(bool first_kind)
{
    return getenv("SOAK") || (first_kind && !quick) ? ERRORS : ERRORS_IN_FRONT;
}

static void sweep_call(enum call call)
{
    runs = 0;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (size_t e = 0; e < errors_of(k == 0); e++)
            sweep(&kinds[k], call, errors[e]);
    print_message("# %lu runs\n", runs);
}

#define SWEEP(name, call)                                                                          \
    static void name(void **unused)                                                                \
    {                                                                                              \
        (void)unused;                                                                              \
        sweep_call(call);                                                                          \
    }

SWEEP(failing_opens, CALL_OPEN)
SWEEP(failing_writes, CALL_WRITE)
SWEEP(failing_beginnings_of_writes, CALL_BEGIN_WRITE)
SWEEP(failing_syncs, CALL_SYNC)
SWEEP(failing_truncates, CALL_TRUNCATE)
SWEEP(failing_allocations, CALL_ALLOCATE)
SWEEP(failing_looks_at_free_room, CALL_FREE_BYTES)
SWEEP(failing_renames, CALL_RENAME)
SWEEP(failing_removes, CALL_REMOVE)
SWEEP(failing_syncs_of_the_directory, CALL_SYNC_DIRECTORY)

static void short_writes(void **unused)
{
    (void)unused;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (size_t e = 0; e < sizeof(shorts) / sizeof(shorts[0]); e++)
            sweep(&kinds[k], CALL_WRITE, shorts[e]);
}

static void failing_write_outs(void **unused)
{
    (void)unused;
    for (size_t e = 0; e < errors_of(false); e++)
        sweep(&long_buffered, CALL_SETTLE, errors[e]);
}

static int clear_run(void **unused)
{
    if (now_at[0])
        print_error("at %s\n", now_at);
    now_at[0] = 0;
    alarm(0);
    return clear(unused);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear_run)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failing_opens),       TEST(failing_writes),     TEST(failing_beginnings_of_writes),
        TEST(short_writes),        TEST(failing_syncs),      TEST(failing_truncates),
        TEST(failing_allocations), TEST(failing_write_outs), TEST(failing_looks_at_free_room),
        TEST(failing_renames),     TEST(failing_removes),    TEST(failing_syncs_of_the_directory),
    };
    (void)signal(SIGALRM, too_long);
    keep_memory();
    test_parent = "/dev/shm";
    return cmocka_run_group_tests_name("fault sweep", tests, NULL, NULL);
}
