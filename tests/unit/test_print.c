/* SPDX-License-Identifier: MIT
 *
 * print: the forms of JSON, base64 and sizes, and what becomes of errors.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/ctl/print.h"

static int set_up(void **state)
{
    char path[] = "/tmp/dbufd-print.XXXXXX";
    int *fd = malloc(sizeof(*fd));
    *fd = mkstemp(path);
    assert_true(*fd >= 0);
    unlink(path);
    *state = fd;
    return 0;
}

static int tear_down(void **state)
{
    close(*(int *)*state);
    free(*state);
    return 0;
}

/* What was written to the file since the last call. */
static const char *written(int fd)
{
    static char text[1024];
    ssize_t bytes = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(bytes >= 0);
    text[bytes] = '\0';
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return text;
}

static void json_strings(void **state)
{
    static const struct {
        const char *bytes, *json;
    } cases[] = {
        {"", "\"\""},
        {"plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80",
         "\"plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"\"\\/\t\n\x01\x7f", "\"\\\"\\\\/\\u0009\\u000a\\u0001\\u007f\""},
        {"a\xff\xfe"
         "b",
         "\"a\\ufffd\\ufffdb\""},
        {"\xc0\x80", "\"\\ufffd\\ufffd\""},                       /* longer than it need be */
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* half a surrogate pair */
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* beyond the last */
        {"\xe2\x82", "\"\\ufffd\\ufffd\""},                       /* cut */
    };
    int fd = *(int *)*state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct print *print = print_begin(fd);
        print_json_string(print, cases[i].bytes, strlen(cases[i].bytes));
        assert_int_equal(print_end(print), 0);
        assert_string_equal(written(fd), cases[i].json);
    }
}

static void base64(void **state)
{
    /* RFC 4648, section 10 */
    static const char *const cases[] = {
        "",     "",         "f",     "Zg==",     "fo",     "Zm8=",     "foo",          "Zm9v",
        "foob", "Zm9vYg==", "fooba", "Zm9vYmE=", "foobar", "Zm9vYmFy", "\xff\xef\xfe", "/+/+"};
    int fd = *(int *)*state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i += 2) {
        struct print *print = print_begin(fd);
        print_base64(print, (const unsigned char *)cases[i], strlen(cases[i]));
        assert_int_equal(print_end(print), 0);
        assert_string_equal(written(fd), cases[i + 1]);
    }
}

static void printable(void **state)
{
    (void)state; /* none is needed */
    assert_true(is_printable((const unsigned char *)"tab\tline\r\n\xc3\xbc", 12));
    assert_false(is_printable((const unsigned char *)"nul\0", 4));
    assert_false(is_printable((const unsigned char *)"\x1b[1m", 4));
    assert_false(is_printable((const unsigned char *)"\xc3\xbc", 1));
    assert_true(is_printable(NULL, 0));
}

static void sizes(void **state)
{
    char room[24];
    (void)state; /* none is needed */
    assert_string_equal(format_bytes(0, room), "0 B");
    assert_string_equal(format_bytes(999, room), "999 B");
    assert_string_equal(format_bytes(1000, room), "1.00 kB");
    assert_string_equal(format_bytes(999999, room), "1.00 MB");
    assert_string_equal(format_bytes(1234567890, room), "1.23 GB");
    assert_string_equal(format_bytes(UINT64_MAX, room), "18.45 EB");
}

/* More than the buffer, in pieces of every size: nothing is lost or out of order. */
static void large_output(void **state)
{
    int fd = *(int *)*state;
    size_t size = 3 << 20, done = 0;
    unsigned char *bytes = malloc(size), *back = malloc(size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    struct print *print = print_begin(fd);
    for (size_t piece = 1; done < size; piece = piece * 3 % 600011) {
        size_t count = piece < size - done ? piece : size - done;
        print_bytes(print, bytes + done, count);
        done += count;
    }
    assert_int_equal(print_end(print), 0);
    assert_int_equal(pread(fd, back, size, 0), size);
    assert_memory_equal(back, bytes, size);
    char *longer = malloc(5001);
    memset(longer, 'x', 5000);
    longer[5000] = '\0';
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    print = print_begin(fd);
    print_format(print, "%s", longer);
    assert_int_equal(print_end(print), 0);
    assert_int_equal(pread(fd, back, size, 0), 5000);
    assert_memory_equal(back, longer, 5000);
    free(longer);
    free(bytes);
    free(back);
}

static void errors_are_kept(void **state)
{
    (void)state; /* none is needed */
    int full = open("/dev/full", O_WRONLY);
    struct print *print = print_begin(full);
    print_text(print, "x");
    print_flush(print);
    print_text(print, "y");
    assert_int_equal(print_end(print), -ENOSPC);
    assert_int_equal(print_end(NULL), 0);
    close(full);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(json_strings), TEST(base64),       TEST(printable),
        TEST(sizes),        TEST(large_output), TEST(errors_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
