/* SPDX-License-Identifier: MIT
 *
 * metrics_text: names, units and values of what stats.def has, and of the classes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/daemon/metrics_text.h"

static char *text_of(const struct stats *stats)
{
    size_t bytes;
    char *text = metrics_text(stats, &bytes);
    assert_non_null(text);
    assert_int_equal(strlen(text), bytes);
    return text;
}

static void assert_has(const char *text, const char *line)
{
    if (strstr(text, line) == NULL)
        fail_msg("there is no line %s", line);
}

static void figures_are_in_base_units(void **unused)
{
    (void)unused;
    const struct stats stats = {.accepted_bytes = UINT64_MAX,
                                .held_usec = 1234567,
                                .sync_usec = 5,
                                .write_usec = 3000000,
                                .fill_percent = 7,
                                .holds = 3,
                                .in_bytes_per_sec = 9,
                                .crash_buffer = "file"};
    char *text = text_of(&stats);
    assert_has(text, "# TYPE dbufd_accepted_bytes counter\n"
                     "# UNIT dbufd_accepted_bytes bytes\n"
                     "# HELP dbufd_accepted_bytes data of the blocks that writers have published\n"
                     "dbufd_accepted_bytes_total 18446744073709551615\n");
    assert_has(text, "\n# UNIT dbufd_held_seconds seconds\n");
    assert_has(text, "\ndbufd_held_seconds_total 1.234567\n");
    assert_has(text, "\ndbufd_sync_seconds_total 0.000005\n");
    assert_has(text, "\ndbufd_write_seconds_total 3.000000\n");
    assert_has(text, "\n# TYPE dbufd_fill_ratio gauge\n# UNIT dbufd_fill_ratio ratio\n");
    assert_has(text, "\ndbufd_fill_ratio 0.07\n");
    assert_has(text, "\n# TYPE dbufd_holds counter\n# HELP dbufd_holds ");
    assert_has(text, "\ndbufd_holds_total 3\n");
    assert_has(text, "\n# UNIT dbufd_in_bytes_per_second bytes_per_second\n");
    assert_has(text, "\ndbufd_in_bytes_per_second 9\n");
    assert_has(text, "\ndbufd_crash_buffer_info{crash_buffer=\"file\"} 1\n");
    assert_has(text, "\ndbufd_build_info{version=\"" DBUFD_VERSION "\"} 1\n");
    assert_string_equal(text + strlen(text) - strlen("\n# EOF\n"), "\n# EOF\n");
    assert_null(strstr(text, "_usec"));
    assert_null(strstr(text, "percent"));
    free(text);
}

/* Each figure stands once, with its help. */
static void every_figure_is_there(void **unused)
{
    (void)unused;
    static const char *const helps[] = {
#define COUNTER(member, field, unit, help) help,
#define GAUGE(member, field, unit, help)   help,
#include "../../src/daemon/stats.def"
#undef COUNTER
#undef GAUGE
    };
    const struct stats stats = {.crash_buffer = "off"};
    char *text = text_of(&stats);
    unsigned types = 0;
    for (const char *at = text; (at = strstr(at, "# TYPE ")) != NULL; at++)
        types++;
    assert_int_equal(types, sizeof(helps) / sizeof(*helps) + 2 + 6);
    for (size_t i = 0; i < sizeof(helps) / sizeof(*helps); i++)
        assert_has(text, helps[i]);
    free(text);
}

static void classes_add_up(void **unused)
{
    (void)unused;
    struct stats stats = {.held_usec = 30, .crash_buffer = "off"};
    stats.sizes[0] = 1; /* 0 bytes */
    stats.sizes[4] = 2; /* 8 to 15 */
    stats.sizes[SIZE_CLASSES - 1] = 4;
    stats.hold_times[0] = 1; /* under 1 us */
    stats.hold_times[4] = 3; /* 8 us to under 16 */
    stats.hold_times[DB_HOLD_CLASSES - 1] = 5;
    char *text = text_of(&stats);
    assert_has(text, "\n# TYPE dbufd_block_bytes histogram\n");
    assert_has(text, "\ndbufd_block_bytes_bucket{le=\"0\"} 1\n"
                     "dbufd_block_bytes_bucket{le=\"1\"} 1\n"
                     "dbufd_block_bytes_bucket{le=\"3\"} 1\n"
                     "dbufd_block_bytes_bucket{le=\"7\"} 1\n"
                     "dbufd_block_bytes_bucket{le=\"15\"} 3\n");
    assert_has(text, "\ndbufd_block_bytes_bucket{le=\"1048575\"} 3\n"
                     "dbufd_block_bytes_bucket{le=\"+Inf\"} 7\n");
    assert_null(strstr(text, "block_bytes_sum"));
    assert_null(strstr(text, "block_bytes_count"));
    assert_has(text, "\ndbufd_hold_seconds_bucket{le=\"1e-06\"} 1\n"
                     "dbufd_hold_seconds_bucket{le=\"2e-06\"} 1\n");
    assert_has(text, "\ndbufd_hold_seconds_bucket{le=\"8e-06\"} 1\n"
                     "dbufd_hold_seconds_bucket{le=\"1.6e-05\"} 4\n");
    assert_has(text, "\ndbufd_hold_seconds_bucket{le=\"16.777216\"} 4\n"
                     "dbufd_hold_seconds_bucket{le=\"+Inf\"} 9\n"
                     "dbufd_hold_seconds_count 9\n"
                     "dbufd_hold_seconds_sum 0.000030\n");
    free(text);
}

static void the_disk_has_its_states(void **unused)
{
    (void)unused;
    struct stats stats = {.crash_buffer = "off", .disk_error = 28};
    char *text = text_of(&stats);
    assert_has(text, "\ndbufd_disk{dbufd_disk=\"ok\"} 1\ndbufd_disk{dbufd_disk=\"refuses\"} 0\n");
    assert_has(text, "\ndbufd_disk_errno 0\n");
    free(text);
    stats.disk_held_sec = 9;
    text = text_of(&stats);
    assert_has(text, "\ndbufd_disk{dbufd_disk=\"ok\"} 0\ndbufd_disk{dbufd_disk=\"refuses\"} 1\n");
    assert_has(text, "\ndbufd_disk_held_seconds 9\n");
    assert_has(text, "\ndbufd_disk_errno 28\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_in_base_units),
        cmocka_unit_test(every_figure_is_there),
        cmocka_unit_test(classes_add_up),
        cmocka_unit_test(the_disk_has_its_states),
    };
    return cmocka_run_group_tests_name("metrics_text", tests, NULL, NULL);
}
