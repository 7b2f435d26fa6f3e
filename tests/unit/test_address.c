/* SPDX-License-Identifier: MIT
 *
 * address: what is taken for one, and who gets to listen.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/source/address.h"

static void what_is_an_address(void **unused)
{
    (void)unused;
    static const struct {
        const char *text;
        int family;
        bool local;
    } good[] = {{"127.0.0.1:9471", AF_INET, true},   {"127.8.9.1:1", AF_INET, true},
                {"0.0.0.0:65535", AF_INET, false},   {"192.168.1.2:80", AF_INET, false},
                {"[::1]:9471", AF_INET6, true},      {"[::]:9471", AF_INET6, false},
                {"[fe80::1]:9471", AF_INET6, false}, {"[::ffff:127.0.0.1]:9471", AF_INET6, true},
                {"224.0.0.1:5514", AF_INET, false},  {"[ff02::1]:5514", AF_INET6, false},
                {"unix:/a", AF_UNIX, true},          {"unix:/run/a b:1", AF_UNIX, true}};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        struct address a;
        assert_int_equal(address_parse(good[i].text, &a), 0);
        assert_int_equal(a.any.sa_family, good[i].family);
        assert_int_equal(address_is_local(&a), good[i].local);
        assert_int_equal(address_is_multicast(&a), strstr(good[i].text, ":5514") != NULL);
    }
    struct address a;
    assert_int_equal(address_parse("127.0.0.1:9471", &a), 0);
    assert_int_equal(ntohs(a.in.sin_port), 9471);
    assert_int_equal(ntohl(a.in.sin_addr.s_addr), 0x7f000001);
}

static void what_is_none(void **unused)
{
    (void)unused;
    static const char *const bad[] = {"",
                                      ":",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:0",
                                      ":9471",
                                      "9471",
                                      "1.2.3:9",
                                      "1.2.3.4:65536",
                                      "1.2.3.4:+1",
                                      "1.2.3.4:1x",
                                      "1.2.3.4: 1",
                                      "localhost:9471",
                                      "::1:9471",
                                      "[::1]9471",
                                      "[::1:9471",
                                      "[::1]",
                                      "[]:1",
                                      "[1.2.3.4]:1",
                                      "[:1",
                                      "[:9471",
                                      "unix:",
                                      "unix:a",
                                      "unix:/",
                                      "unix:/a/",
                                      "1.2.3.4]:1",
                                      "unix",
                                      "[::1]:000001",
                                      "1.2.3.4:00000000000000000000001"};
    char path[5 + 108 + 1] = "unix:/";
    memset(path + 6, 'a', 107);
    struct address a;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(address_parse(bad[i], &a), -EINVAL);
    assert_int_equal(strlen(path), strlen("unix:") + 108);
    assert_int_equal(address_parse(path, &a), -EINVAL);
    assert_int_equal(address_of_path(path + 5, &a), -ENAMETOOLONG);
    assert_int_equal(address_of_path("", &a), -ENOENT);
    path[strlen(path) - 1] = '\0';
    assert_int_equal(address_parse(path, &a), 0);
    assert_int_equal(address_of_path("a", &a), 0);
}

static bool is_socket(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void a_path_is_taken_only_from_nobody(void **unused)
{
    (void)unused;
    char directory[] = "/tmp/dbufd-address.XXXXXX", text[64], moved[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(moved, sizeof(moved), "%s/moved", directory);
    (void)snprintf(text, sizeof(text), "unix:%s/s", directory);
    const char *path = text + strlen("unix:");
    struct address a;
    struct listener one, two;
    struct stat st;
    assert_int_equal(address_parse(text, &a), 0);
    assert_int_equal(address_listen(&a, NULL, &one), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_int_equal(address_listen(&a, NULL, &two), -EADDRINUSE);

    assert_int_equal(close(one.fd), 0); /* as if killed */
    assert_true(is_socket(path));
    assert_int_equal(address_listen(&a, NULL, &two), 0);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(address_listen(&a, NULL, &one), 0);
    address_unlisten(&two); /* its file is elsewhere, and this one is another's */
    assert_true(is_socket(path));
    address_unlisten(&one);
    assert_false(is_socket(path));
    address_unlisten(&one); /* again does no harm */
    assert_int_equal(unlink(moved), 0);

    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(address_listen(&a, NULL, &one), -ENOTSOCK);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(address_listen(&a, NULL, &one), -ENOTSOCK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(address_listen(&a, NULL, &one), -ENOENT);
}

/* A port that was free a moment ago. */
static void free_port(const char *host, struct address *ret)
{
    char text[64];
    socklen_t bytes = sizeof(ret->in);
    (void)snprintf(text, sizeof(text), "%s:1", host);
    assert_int_equal(address_parse(text, ret), 0);
    ret->in.sin_port = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &ret->any, ret->bytes), 0);
    assert_int_equal(getsockname(fd, &ret->any, &bytes), 0);
    assert_int_equal(close(fd), 0);
}

static void a_port_is_shared_with_its_successor_alone(void **unused)
{
    (void)unused;
    struct address a, all;
    struct listener one, two, three;
    free_port("127.0.0.1", &a);
    all = a;
    all.in.sin_addr.s_addr = htonl(INADDR_ANY);
    assert_int_equal(address_listen(&a, NULL, &one), 0);
    assert_int_equal(address_listen(&all, NULL, &two), -EADDRINUSE);
    assert_int_equal(address_listen(&a, NULL, &two), -EADDRINUSE);
    assert_int_equal(address_listen(&all, &one, &two), 0);
    assert_int_equal(address_listen(&all, NULL, &three), -EADDRINUSE);
    address_unlisten(&one);
    assert_int_equal(address_listen(&a, NULL, &three), -EADDRINUSE);
    address_unlisten(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_an_address),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(a_path_is_taken_only_from_nobody),
        cmocka_unit_test(a_port_is_shared_with_its_successor_alone),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
