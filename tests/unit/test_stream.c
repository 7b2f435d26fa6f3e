/* SPDX-License-Identifier: MIT
 *
 * stream: names, the listing, the lock.
 */
#include "stream_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *in_directory(const char *name)
{
    static char path[256]; /* for one call at a time */
    snprintf(path, sizeof(path), "%s/%s", test_directory, name);
    return path;
}

static void touch(const char *name)
{
    int fd = open(in_directory(name), O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, name, strlen(name)), (ssize_t)strlen(name));
    close(fd);
}

static void number_stands_before_the_extension(void **unused)
{
    (void)unused;
    static const struct {
        const char *stream;
        uint64_t number;
        const char *path;
    } cases[] = {
        {"a/dbufd.dbuf", 1, "a/dbufd.000001.dbuf"},
        {"a/dbufd.dbuf", 0, "a/dbufd.dbuf"},
        {"/a/log", 1, "/a/log.000001"},
        {"log", 999999, "log.999999"},
        {"a.b/log", 1234567, "a.b/log.1234567"},
        {"a/x.tar.gz", 12, "a/x.tar.000012.gz"},
        {"a/.hidden", 3, "a/.hidden.000003"},
        {"a/dot.", 3, "a/dot.000003."},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *path;
        assert_int_equal(stream_segment_path(cases[i].stream, cases[i].number, &path), 0);
        assert_string_equal(path, cases[i].path);
        free(path);
    }
}

/* Only what stream_segment_path could have named is a segment, and they come by number. */
static void lists_its_own_segments_by_number(void **unused)
{
    (void)unused;
    static const char *const names[] = {
        "s.1000000.dbuf",     "s.000002.dbuf",  "s.dbuf",         "s.000010.dbuf",
        "s.00003.dbuf",       "s.0000004.dbuf", "s.000005.dbufx", "s.000006",
        "s.00000x.dbuf",      "t.000007.dbuf",  "s.000000.dbuf",  "s.dbuf.torn",
        "s.000002.dbuf.torn", ".s.dbuf.next",   "ss.000008.dbuf", "s.99999999999999999999.dbuf"};
    struct stream_files files;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        touch(names[i]);
    assert_int_equal(mkdir(in_directory("s.000009.dbuf"), 0700), 0);
    assert_int_equal(stream_list(in_directory("s.dbuf"), &files), 0);
    assert_int_equal(files.count, 4);
    assert_int_equal(files.files[0].number, 0);
    assert_int_equal(files.files[1].number, 2);
    assert_int_equal(files.files[2].number, 10);
    assert_int_equal(files.files[3].number, 1000000);
    assert_int_equal(files.files[3].bytes, strlen("s.1000000.dbuf"));
    assert_string_equal(files.files[3].path, in_directory("s.1000000.dbuf"));
    stream_files_free(&files);
}

static void lists_nothing_where_nothing_is(void **unused)
{
    (void)unused;
    struct stream_files files;
    assert_int_equal(stream_list(in_directory("s.dbuf"), &files), 0);
    assert_int_equal(files.count, 0);
    stream_files_free(&files);
    files.count = 7;
    assert_int_equal(stream_list(in_directory("none/s.dbuf"), &files), -ENOENT);
    assert_int_equal(files.count, 7); /* untouched */
}

/* One holder at a time, whoever it is; a lock left by a dead one does not count; nothing remains.
 */
static void lock_is_for_one(void **unused)
{
    (void)unused;
    struct stream_lock lock = {0}, other = {0};
    const char *path = in_directory("s.dbuf");

    assert_int_equal(stream_lock(path, &lock), 0);
    assert_int_equal(stream_lock(path, &other), -EWOULDBLOCK);
    assert_null(other.path);
    stream_unlock(&lock);
    stream_unlock(&lock); /* nothing to unlock is fine */
    assert_int_equal(directory_entries(test_directory), 0);

    pid_t child = fork();
    if (child == 0)
        _exit(stream_lock(path, &lock) == 0 ? 0 : 1); /* dies with it */
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(directory_entries(test_directory), 1);
    assert_int_equal(stream_lock(path, &lock), 0);
    stream_unlock(&lock);
    assert_int_equal(directory_entries(test_directory), 0);
}

/* Another stream in the same directory is free. */
static void lock_is_for_one_stream(void **unused)
{
    (void)unused;
    struct stream_lock lock, other;
    assert_int_equal(stream_lock(in_directory("s.dbuf"), &lock), 0);
    assert_int_equal(stream_lock(in_directory("s2.dbuf"), &other), 0);
    stream_unlock(&other);
    stream_unlock(&lock);
}

int main(void)
{
    test_parent = "/tmp";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_stands_before_the_extension),
        cmocka_unit_test_setup_teardown(lists_its_own_segments_by_number, make, clear),
        cmocka_unit_test_setup_teardown(lists_nothing_where_nothing_is, make, clear),
        cmocka_unit_test_setup_teardown(lock_is_for_one, make, clear),
        cmocka_unit_test_setup_teardown(lock_is_for_one_stream, make, clear),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
