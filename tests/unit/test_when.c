/* SPDX-License-Identifier: MIT
 *
 * when: times as people write them, and texts that are none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/ctl/print.h"
#include "../../src/ctl/when.h"

static void times(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2001-09-09T01:46:40Z", 1000000000000000000u},
        {"2001-09-09 01:46:40.5z", 1000000000500000000u},
        {"2001-09-09t03:16:40.000000001+01:30", 1000000000000000001u},
        {"2001-09-08T20:46:40-05:00", 1000000000000000000u},
        {"2024-02-29T00:00:00Z", 1709164800000000000u},
        {"2016-12-31T23:59:60Z", 1483228800000000000u},
        {"1000000000.25", 1000000000250000000u},
        {"1000000000.0000000019", 1000000000000000001u},
        {"0", 0},
    };
    (void)state; /* none is needed */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 1;
        assert_true(parse_when(cases[i].text, &ns));
        assert_int_equal(ns, cases[i].ns);
    }
}

static void no_times(void **state)
{
    static const char *const cases[] = {"",
                                        "now",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1.",
                                        ".5",
                                        "1e9",
                                        "99999999999999999999",
                                        "2023-02-29T00:00:00Z",
                                        "2024-13-01T00:00:00Z",
                                        "2024-00-01T00:00:00Z",
                                        "2024-01-00T00:00:00Z",
                                        "2024-01-01T24:00:00Z",
                                        "2024-01-01T00:60:00Z",
                                        "2024-01-01T00:00:61Z",
                                        "2024-01-01T00:00:00",
                                        "2024-01-01T00:00:00.Z",
                                        "2024-01-01T00:00:00+1:00",
                                        "2024-01-01T00:00:00+0100",
                                        "2024-01-01T00:00:00Zx",
                                        "2024-01-01",
                                        "24-01-01T00:00:00Z",
                                        "1960-01-01T00:00:00Z",
                                        "1970-01-01T00:00:00+00:01",
                                        "2555-01-01T00:00:00Z",
                                        "18446744073"};
    (void)state; /* none is needed */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 77;
        if (parse_when(cases[i], &ns)) {
            print_message("# '%s' was taken for %llu\n", cases[i], (unsigned long long)ns);
        }
        assert_int_equal(ns, 77);
    }
}

static void there_and_back(void **state)
{
    static const uint64_t cases[] = {0, 1, 1709164799999999999u, 1790000000123456789u,
                                     18446744071000000000u};
    (void)state; /* none is needed */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[40];
        uint64_t ns = 5;
        assert_true(parse_when(format_time(cases[i], text), &ns));
        assert_int_equal(ns, cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times),
        cmocka_unit_test(no_times),
        cmocka_unit_test(there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
