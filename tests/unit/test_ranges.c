/* SPDX-License-Identifier: MIT
 *
 * ranges: against a plain array of what is missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/ctl/ranges.h"
#include "../../src/source/random.h"

enum { SEQUENCES = 300 };

/* The ranges say just what the array says, in order, none empty, none that touches another. */
static void compare(const struct ranges *ranges, const bool *missing)
{
    size_t at = 0;
    for (size_t i = 0; i < ranges->count; i++) {
        const struct range *range = &ranges->items[i];
        assert_true(range->first < range->end);
        for (; at < range->first; at++) {
            assert_false(missing[at]);
        }
        for (; at < range->end; at++) {
            assert_true(missing[at]);
        }
    }
    for (; at < SEQUENCES; at++) {
        assert_false(missing[at]);
    }
}

static void against_an_array(void **state)
{
    (void)state; /* none is needed */
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct ranges ranges = {0};
        bool missing[SEQUENCES] = {false};
        uint64_t dice[400], next = 0;
        size_t die = 0;
        random_block_fill(seed, 0, 0, dice, sizeof(dice));
        while (next < SEQUENCES - 20) {
            uint64_t first = next + dice[die++] % 4, end = first + 1 + dice[die++] % 9;
            assert_int_equal(ranges_add(&ranges, (struct range){.first = first, .end = end}), 0);
            for (uint64_t i = first; i < end; i++) {
                missing[i] = true;
            }
            next = end;
            uint64_t taken = dice[die++] % next, taken_end = taken + dice[die++] % 5;
            bool there = taken_end > taken;
            for (uint64_t i = taken; i < taken_end; i++) {
                there = there && missing[i];
            }
            if (ranges_take(&ranges, taken, taken_end) != there) {
                print_message("# seed %llu\n", (unsigned long long)seed);
                fail();
            }
            for (uint64_t i = taken; there && i < taken_end; i++) {
                missing[i] = false;
            }
            compare(&ranges, missing);
        }
        ranges_free(&ranges);
        assert_int_equal(ranges.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_an_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
