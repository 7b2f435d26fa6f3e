/* SPDX-License-Identifier: MIT
 *
 * stall: when a reader that does not come on still counts as alive, and when that is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/daemon/stall.h"

#define SECOND ((uint64_t)1000000000)

static struct stall_verdict at(struct stall *stall, uint64_t sec, uint64_t progress, bool storing,
                               uint64_t cpu_ns)
{
    const struct stall_seen seen = {
        .now_ns = sec * SECOND, .progress = progress, .cpu_ns = cpu_ns, .storing = storing};
    return stall_judge(stall, &seen);
}

static void progress_is_life(void **unused)
{
    (void)unused;
    struct stall stall = {0};
    for (uint64_t sec = 1; sec < 100; sec++) {
        struct stall_verdict verdict = at(&stall, sec, sec, true, sec * SECOND);
        assert_true(verdict.alive && !verdict.tell && !verdict.over);
    }
}

static void having_nothing_to_do_is_life(void **unused)
{
    (void)unused;
    struct stall stall = {0};
    for (uint64_t sec = 1; sec < 1000; sec++) {
        const struct stall_seen seen = {.now_ns = sec * SECOND, .progress = 7, .idle = true};
        struct stall_verdict verdict = stall_judge(&stall, &seen);
        assert_true(verdict.alive && !verdict.tell);
    }
}

/* Told after five seconds and then each minute; alive for ten minutes; told when it is over. */
static void a_disk_that_does_not_answer(void **unused)
{
    (void)unused;
    struct stall stall = {0};
    unsigned told = 0;

    at(&stall, 100, 1, true, 5);
    for (uint64_t sec = 101; sec < 900; sec++) {
        struct stall_verdict verdict = at(&stall, sec, 1, true, 5);
        assert_int_equal(verdict.alive, sec < 700);
        assert_int_equal(verdict.tell, sec >= 105 && (sec - 105) % 60 == 0);
        assert_int_equal(verdict.sec, sec - 100);
        told += verdict.tell;
    }
    assert_int_equal(told, 14);
    struct stall_verdict verdict = at(&stall, 900, 2, true, 5);
    assert_true(verdict.alive && verdict.over);
    assert_int_equal(verdict.sec, 800);
    assert_false(at(&stall, 901, 3, true, 5).over);
}

/* It runs, and does not come on: that is no disk. */
static void a_reader_that_spins_is_stuck(void **unused)
{
    (void)unused;
    struct stall stall = {0};

    at(&stall, 100, 1, true, 5);
    for (uint64_t sec = 101; sec < 200; sec++) {
        struct stall_verdict verdict = at(&stall, sec, 1, true, (sec - 100) * SECOND);
        assert_true(!verdict.alive && !verdict.tell);
    }
}

/* It waits for something else than the disk, and there is work. */
static void a_reader_that_sleeps_is_stuck(void **unused)
{
    (void)unused;
    struct stall stall = {0};

    at(&stall, 100, 1, false, 5);
    assert_false(at(&stall, 101, 1, false, 5).alive);
    assert_false(at(&stall, 120, 1, false, 5).tell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_life),
        cmocka_unit_test(having_nothing_to_do_is_life),
        cmocka_unit_test(a_disk_that_does_not_answer),
        cmocka_unit_test(a_reader_that_spins_is_stuck),
        cmocka_unit_test(a_reader_that_sleeps_is_stuck),
    };
    return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
