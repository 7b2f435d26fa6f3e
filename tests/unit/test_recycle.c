/* SPDX-License-Identifier: MIT
 *
 * recycle, prepare: the oldest segment's file becomes the next one's, and nothing old in it is ever taken
 * for new.
 */
#include "stream_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "../../src/disk/recycle.h"

enum { SEGMENT_EXTENTS = 16 };

static struct store_options recycling(struct events *events)
{
    struct store_options options = options_of(events);
    options.segment_bytes = SEGMENT_EXTENTS * EXTENT_BYTES;
    options.retain_bytes = 4 * options.segment_bytes;
    return options;
}

static ino_t inode_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

static char *segment_path(uint64_t number)
{
    char *path;
    assert_int_equal(stream_segment_path(stream_path, number, &path), 0);
    return path;
}

static bool exists(uint64_t number)
{
    char *path = segment_path(number);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

/* The inode of segment `number`; 0: it is not there. */
static ino_t inode_of_segment(uint64_t number)
{
    char *path = segment_path(number);
    ino_t inode = inode_of(path);
    free(path);
    return inode;
}

/* Writes until segment `number` has been deleted. */
static void write_until_gone(struct store *store, struct maker *maker, uint64_t number)
{
    for (int i = 0; i < 200 && exists(number); i++) {
        write_halves(store, maker, 1);
    }
    assert_false(exists(number));
}

static void the_oldest_file_is_used_again(void **unused)
{
    (void)unused;
    for (int own_thread = 0; own_thread < 2; own_thread++) {
        struct events events = {0};
        struct store_options options = recycling(&events);
        struct maker maker;
        struct seen seen;
        struct stream_files files;
        ino_t inodes[12];
        size_t again = 0;

        options.own_thread = own_thread;
        struct store *store = open_with(&options, &maker, seed_of_run());
        for (uint64_t number = 1; number <= 12; number++) {
            while (!exists(number))
                write_halves(store, &maker, 1);
            inodes[number - 1] = inode_of_segment(number);
            for (uint64_t before = 1; before < number; before++)
                again += inodes[before - 1] == inodes[number - 1];
        }
        assert_true(own_thread ||
                    again >= 6); /* a thread may be late, and then a new one is made */
        assert_int_equal(store_account(store).segments_deleted,
                         events.count[STORE_SEGMENT_DELETED]);
        close_both(store, &maker);
        see_stream(stream_path, &seen);
        assert_true(seen.closed);
        assert_int_equal(seen.checkpoint_blocks, maker.blocks);
        assert_int_equal(stream_list(stream_path, &files), 0);
        for (size_t i = 0; i < files.count; i++) /* nothing of an old life is left in them */
            assert_true(files.files[i].bytes <= options.segment_bytes);
        assert_int_equal(directory_entries(test_directory), files.count);
        stream_files_free(&files);
        clear(NULL);
        make(NULL);
    }
}

static void change_byte(const char *path, off_t offset)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

/* A file of which it is not certain that all in it is old is removed instead. */
static void a_doubtful_file_is_removed(void **unused)
{
    (void)unused;
    for (int how = 0; how < 4; how++) {
        struct store_options options = recycling(NULL);
        struct maker maker;
        struct store *store = open_with(&options, &maker, seed_of_run());
        while (!exists(2))
            write_halves(store, &maker, 1);
        char *first = segment_path(1);
        struct stat status;
        assert_int_equal(stat(first, &status), 0);
        if (how == 0) /* it does not end with its end */
            assert_int_equal(truncate(first, status.st_size - FORMAT_ALIGN), 0);
        else if (how == 1)
            change_byte(first, status.st_size - FORMAT_ALIGN + 40);
        else if (how == 2) /* its header is none */
            change_byte(first, 100);
        else /* more behind it */
            assert_int_equal(truncate(first, status.st_size + FORMAT_ALIGN), 0);
        int fd = open(first, O_RDONLY); /* so that its inode is nobody else's */
        ino_t old = inode_of(first);
        assert_int_equal(recycle_check(first, store_uuid(store)), -EBADMSG);
        write_until_gone(store, &maker, 1);
        assert_int_equal(fstat(fd, &status), 0);
        assert_int_equal(status.st_nlink, 0);
        assert_int_not_equal(inode_of(store_path(store)), old);
        close(fd);
        free(first);
        close_both(store, &maker);
        clear(NULL);
        make(NULL);
    }
}

/* A header of a new life above an end of the old one: a segment that was left, and could not be cut. */
static void an_end_of_an_earlier_life_is_none(void **unused)
{
    (void)unused;
    struct store_options options = recycling(NULL);
    struct maker maker;
    struct store *store = open_with(&options, &maker, seed_of_run());
    while (!exists(2))
        write_halves(store, &maker, 1);
    char *first = segment_path(1), *second = segment_path(2);
    unsigned char page[FORMAT_ALIGN];
    assert_int_equal(recycle_check(first, store_uuid(store)), 0);
    assert_int_equal(recycle_check(first, (const uint8_t *)"another stream.."), -EBADMSG);
    int from = open(second, O_RDONLY), to = open(first, O_WRONLY);
    assert_int_equal(pread(from, page, sizeof(page), 0), (ssize_t)sizeof(page));
    assert_int_equal(pwrite(to, page, sizeof(page), 0), (ssize_t)sizeof(page));
    close(from);
    close(to);
    assert_int_equal(recycle_check(first, store_uuid(store)), -EBADMSG);
    free(first);
    free(second);
    store_free(store);
    maker_close(&maker);
}

static void read_start(const char *path, unsigned char room[static EXTENT_BYTES])
{
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, room, EXTENT_BYTES), EXTENT_BYTES);
    close(fd);
}

/* Whoever reads a segment reads it to its end, as it was. */
static void what_is_being_read_is_not_taken(void **unused)
{
    (void)unused;
    struct store_options options = recycling(NULL);
    struct maker maker;
    struct scan *scan;
    struct scan_extent extent;
    unsigned extents = 0;
    struct store *store = open_with(&options, &maker, seed_of_run());
    while (!exists(3))
        write_halves(store, &maker, 1);
    char *first = segment_path(1), *second = segment_path(2);
    assert_int_equal(scan_open(&scan, first), 0);
    char kept[160]; /* or has another name */
    snprintf(kept, sizeof(kept), "%s.kept", second);
    assert_int_equal(link(second, kept), 0);
    unsigned char before[EXTENT_BYTES], after[EXTENT_BYTES];
    read_start(kept, before);
    write_until_gone(store, &maker, 2); /* and the first before it */
    write_halves(store, &maker, 10);
    while (scan_next(scan, &extent) == 1) {
        assert_int_equal(extent.fault, SCAN_OK);
        assert_int_equal(extent.header->seq, scan_header(scan)->first_seq + extents);
        extents++;
    }
    assert_true(extents > 5);
    scan_close(scan);
    read_start(kept, after);
    assert_memory_equal(before, after, sizeof(after));
    free(first);
    free(second);
    close_both(store, &maker);
}

/* ---- Killed ---- */

struct mortal {
    struct output output;
    struct output real;
    int calls_left;
};

static void live(void *context)
{
    struct mortal *mortal = context;
    if (mortal->calls_left-- == 0)
        _exit(7);
}

static int mortal_open(void *context, const char *path, int flags)
{
    live(context);
    return output_pwrite.open(NULL, path, flags);
}

static ssize_t mortal_write(void *context, int fd, const struct iovec *pieces, int count,
                            off_t offset)
{
    live(context);
    return output_pwrite.write(NULL, fd, pieces, 1 + (count - 1) / 2, offset);
}

static int mortal_truncate(void *context, int fd, uint64_t bytes)
{
    live(context);
    return output_pwrite.truncate(NULL, fd, bytes);
}

static int mortal_allocate(void *context, int fd, uint64_t from, uint64_t to)
{
    live(context);
    return output_pwrite.allocate(NULL, fd, from, to);
}

static int mortal_rename(void *context, const char *from, const char *to)
{
    live(context);
    return output_pwrite.rename(NULL, from, to);
}

static int mortal_remove(void *context, const char *path)
{
    live(context);
    return output_pwrite.remove(NULL, path);
}

static int mortal_sync_directory(void *context, const char *path)
{
    live(context);
    return output_pwrite.sync_directory(NULL, path);
}

/* Stores until it dies with its n-th call. Returns whether it did. */
static bool run_mortal(int n, uint64_t random)
{
    struct mortal mortal = {.output = output_pwrite, .calls_left = n};
    struct store_options options = recycling(NULL);
    struct maker maker;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        mortal.output.context = &mortal;
        mortal.output.open = mortal_open;
        mortal.output.write = mortal_write;
        mortal.output.truncate = mortal_truncate;
        mortal.output.allocate = mortal_allocate;
        mortal.output.rename = mortal_rename;
        mortal.output.remove = mortal_remove;
        mortal.output.sync_directory = mortal_sync_directory;
        options.output = &mortal.output;
        options.retain_bytes = 2 * options.segment_bytes; /* so that it comes to that soon */
        options.durability = DURABILITY_NONE;
        struct store *store = open_with(&options, &maker, random);
        write_halves(store, &maker, 12);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 7;
}

/* Whatever it was at when it was killed, the stream that is found is whole up to where it ends, and goes
 * on. */
static void a_kill_at_any_call_does_no_harm(void **unused)
{
    (void)unused;
    uint64_t random = seed_of_run();
    struct store_options options = recycling(NULL);
    bool died = true;
    for (int n = 0; died; n++) {
        struct maker maker;
        struct seen seen;

        died = run_mortal(n, random);
        struct store *store = open_with(&options, &maker, random + 1);
        write_halves(store, &maker, 1);
        close_both(store, &maker);
        see_stream(stream_path, &seen);
        assert_true(seen.closed);
        clear(NULL);
        make(NULL);
    }
}

/* ---- Old extents where new ones should be ---- */

/* Segment `number`, whose file had been segment `old_number`, with the bytes of that in it from `from` to
 * `to`. */
static void put_old(const unsigned char *old, const char *path, off_t from, off_t to)
{
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, old + from, (size_t)(to - from), from), to - from);
    close(fd);
}

static void old_extents_are_never_taken_for_new(void **unused)
{
    (void)unused;
    struct store_options options = recycling(NULL);
    struct maker maker;
    struct scan *scan;
    struct scan_extent extent;
    static unsigned char old[SEGMENT_EXTENTS * EXTENT_BYTES];
    off_t offsets[64];
    size_t count = 0;

    struct store *store = open_with(&options, &maker, seed_of_run());
    while (!exists(2))
        write_halves(store, &maker, 1);
    char *first = segment_path(1);
    int fd = open(first, O_RDONLY);
    ssize_t bytes = pread(fd, old, sizeof(old), 0);
    close(fd);
    while (!exists(7))
        write_halves(store, &maker, 1);
    close_both(store, &maker);
    char *path = segment_path(6);
    assert_int_equal(scan_open(&scan, path), 0);
    const uint64_t first_seq = scan_header(scan)->first_seq;
    while (scan_next(scan, &extent) == 1 && count < 64)
        if ((off_t)(extent.offset + extent.bytes) < bytes)
            offsets[count++] = (off_t)extent.offset;
    scan_close(scan);
    assert_true(count > 6);

    /* A hole of which nothing was written, and a torn end. */
    put_old(old, path, offsets[2], offsets[4]);
    put_old(old, path, offsets[count - 2], bytes);
    assert_int_equal(truncate(path, bytes), 0);
    assert_int_equal(scan_open(&scan, path), 0);
    size_t whole = 0, damaged = 0;
    while (scan_next(scan, &extent) == 1) {
        if (extent.header)
            assert_true(extent.header->seq >= first_seq);
        whole += extent.fault == SCAN_OK;
        damaged += extent.fault != SCAN_OK && extent.fault != SCAN_EMPTY_TAIL;
        if (extent.offset > (uint64_t)offsets[2] && extent.offset < (uint64_t)offsets[4])
            assert_int_not_equal(extent.fault, SCAN_OK);
    }
    assert_int_equal(whole, count - 2 - 2);
    assert_true(damaged >= 1);
    scan_close(scan);
    free(first);
    free(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_oldest_file_is_used_again),     TEST(a_doubtful_file_is_removed),
        TEST(an_end_of_an_earlier_life_is_none), TEST(what_is_being_read_is_not_taken),
        TEST(a_kill_at_any_call_does_no_harm),   TEST(old_extents_are_never_taken_for_new),
    };
    int failed = 0;
    test_parent = "/tmp";
    failed += cmocka_run_group_tests_name("recycling on disk", tests, NULL, NULL);
    test_parent = "/dev/shm";
    failed += cmocka_run_group_tests_name("recycling on tmpfs", tests, NULL, NULL);
    return failed;
}
