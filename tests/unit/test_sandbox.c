/* SPDX-License-Identifier: MIT
 *
 * sandbox: the lines that let the service write to a folder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/daemon/sandbox.h"

/* What is to be done for `directory`, to be freed. */
static char *remedy(const char *directory)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    sandbox_put_remedy(out, directory);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void a_folder_elsewhere_needs_its_path(void **unused)
{
    (void)unused;
    char *text = remedy("/srv/a");
    assert_string_equal(text, "    install -d -o dbufd -g dbufd /srv/a\n"
                              "    systemctl edit dbufd.service\n"
                              "        [Unit]\n"
                              "        RequiresMountsFor=/srv/a\n"
                              "        [Service]\n"
                              "        ReadWritePaths=/srv/a\n"
                              "    systemctl restart dbufd.service\n");
    free(text);
}

static void what_is_hidden_needs_more(void **unused)
{
    (void)unused;
    static const struct {
        const char *directory;
        const char *line; /* NULL: none of them */
    } cases[] = {{"/home/a/b", "ProtectHome=read-only\n"},
                 {"/root", "ProtectHome=read-only\n"},
                 {"/run/user/1000/a", "ProtectHome=read-only\n"},
                 {"/tmp/a", "PrivateTmp=no\n"},
                 {"/var/tmp", "PrivateTmp=no\n"},
                 {"/homes", NULL},
                 {"/tmpfs/a", NULL},
                 {"/var/lib/dbufd2", NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *text = remedy(cases[i].directory);
        const char *line = cases[i].line;
        assert_non_null(strstr(text, "ReadWritePaths="));
        if (line != NULL)
            assert_non_null(strstr(text, line));
        else
            assert_true(strstr(text, "ProtectHome") == NULL && strstr(text, "PrivateTmp") == NULL);
        free(text);
    }
}

static void its_own_folder_needs_nothing(void **unused)
{
    (void)unused;
    static const char *const own[] = {"/var/lib/dbufd", "/var/lib/dbufd/deeper"};
    for (size_t i = 0; i < 2; i++) {
        char *text = remedy(own[i]);
        assert_string_equal(text, "");
        free(text);
    }
}

/* What systemd/drop-ins/metrics.conf has as well. */
static void a_network_needs_its_lines(void **unused)
{
    (void)unused;
    for (int local = 0; local < 2; local++) {
        char *text = NULL;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        assert_non_null(out);
        sandbox_put_network_remedy(out, local);
        assert_int_equal(fclose(out), 0);
        assert_non_null(strstr(text, "systemctl edit dbufd.service\n"));
        assert_non_null(strstr(text, " PrivateNetwork=no\n"));
        assert_non_null(strstr(text, " RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"));
        assert_non_null(
            strstr(text, local ? " IPAddressAllow=localhost\n" : " IPAddressAllow=any\n"));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_elsewhere_needs_its_path),
        cmocka_unit_test(what_is_hidden_needs_more),
        cmocka_unit_test(its_own_folder_needs_nothing),
        cmocka_unit_test(a_network_needs_its_lines),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
