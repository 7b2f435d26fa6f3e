/* SPDX-License-Identifier: MIT
 *
 * Ten thousand seeded changes of a stream: verify finds each, and nothing in what was not changed.
 * VERIFY_SEED=N begins with another one, VERIFY_ROUNDS=N makes so many; with SOAK a million. A failing
 * one's seed is told: VERIFY_SEED=N VERIFY_ROUNDS=1 makes it again.
 */
#include "../../src/ctl/verify.h"
#include "mutations.h"

enum { BLOCKS = 5, ROUNDS = 11500 };

static void on_finding(void *context, const struct finding *finding)
{
    (void)context;
    (void)finding;
}

static uint64_t count_findings(struct place *place)
{
    const struct verify_options options = {.random = true, .on_finding = on_finding};
    char *const arguments[] = {place->stream};
    struct survey survey;
    struct verify_result result;
    assert_int_equal(survey_arguments(&survey, arguments, 1), 0);
    assert_int_equal(verify(&survey, &options, &result), 0);
    survey_free(&survey);
    return result.findings;
}

static void every_change_is_found(void **state)
{
    (void)state;
    struct place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    begin(place, BLOCKS);
    const uint64_t first = number_of("VERIFY_SEED", 1);
    const uint64_t rounds = number_of("VERIFY_ROUNDS", getenv("SOAK") != NULL ? 1000000 : ROUNDS);
    uint64_t missed = 0, invented = 0, changed = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        const size_t which = make_change(place, seed);
        const bool is_changed = write_files(place);
        const bool is_found = count_findings(place) > 0;
        changed += is_changed;
        missed += is_changed && !is_found;
        invented += !is_changed && is_found;
        if (is_changed != is_found) {
            print_message("# VERIFY_SEED=%llu, change %zu: %s\n", (unsigned long long)seed, which,
                          is_changed ? "missed" : "invented");
        }
        built_write(&place->built, place->dir);
    }
    print_message("# %llu changes, %llu missed, %llu invented\n", (unsigned long long)changed,
                  (unsigned long long)missed, (unsigned long long)invented);
    end(place);
    assert_int_equal(missed, 0);
    assert_int_equal(invented, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_change_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
