/* SPDX-License-Identifier: MIT
 *
 * limit: what is told, what is left out, and that the two add up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/daemon/limit.h"

static void a_burst_is_told_and_the_rest_counted(void **unused)
{
    (void)unused;
    struct limit limit = {0};
    uint64_t left_out = 0;
    const uint64_t start = 5;
    for (unsigned i = 0; i < LIMIT_BURST; i++)
        assert_true(limit_allow(&limit, start + i));
    for (unsigned i = 0; i < 7; i++)
        assert_false(limit_allow(&limit, start + LIMIT_WINDOW_NS - 1));
    assert_false(limit_over(&limit, start + LIMIT_WINDOW_NS - 1, false, &left_out));
    assert_true(limit_over(&limit, start + LIMIT_WINDOW_NS, false, &left_out));
    assert_int_equal(left_out, 7);
    assert_false(limit_over(&limit, start + LIMIT_WINDOW_NS, false, &left_out)); /* told once */
}

static void the_next_window_is_a_new_one(void **unused)
{
    (void)unused;
    struct limit limit = {0};
    uint64_t left_out;
    for (unsigned i = 0; i <= LIMIT_BURST; i++)
        (void)limit_allow(&limit, 1);
    assert_true(limit_over(&limit, 1 + LIMIT_WINDOW_NS, false, &left_out));
    for (unsigned i = 0; i < LIMIT_BURST; i++)
        assert_true(limit_allow(&limit, 1 + LIMIT_WINDOW_NS));
    assert_false(limit_allow(&limit, 1 + LIMIT_WINDOW_NS));
}

static void what_is_rare_is_never_left_out(void **unused)
{
    (void)unused;
    struct limit limit = {0};
    uint64_t left_out, now = 0;
    for (unsigned i = 0; i < 10 * LIMIT_BURST; i++) {
        assert_true(limit_allow(&limit, now));
        now += LIMIT_WINDOW_NS / LIMIT_BURST;
    }
    assert_false(limit_over(&limit, now, true, &left_out));
}

static void the_end_tells_of_an_unfinished_window(void **unused)
{
    (void)unused;
    struct limit limit = {0};
    uint64_t left_out;
    for (unsigned i = 0; i < LIMIT_BURST + 3; i++)
        (void)limit_allow(&limit, 1);
    assert_true(limit_over(&limit, 2, true, &left_out));
    assert_int_equal(left_out, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_told_and_the_rest_counted),
        cmocka_unit_test(the_next_window_is_a_new_one),
        cmocka_unit_test(what_is_rare_is_never_left_out),
        cmocka_unit_test(the_end_tells_of_an_unfinished_window),
    };
    return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
