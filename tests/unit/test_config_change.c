/* SPDX-License-Identifier: MIT
 *
 * config_change: which keys differ, what each of them needs, and that nothing else is taken for changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/daemon/config_change.h"

/* A value for each key that is not its default, and goes with the defaults of the others. */
static const struct {
    const char *setting;
    const char *said; /* of the change */
    unsigned needs;
} changes[OPTION_COUNT] = {
    [OPTION_buffer_capacity] = {"buffer_capacity=8MB", "buffer_capacity \"100MB\" -> \"8MB\"",
                                NEEDS_BUFFER},
    [OPTION_writer_count] = {"writer_count=2", "writer_count 4 -> 2", NEEDS_BUFFER},
    [OPTION_output_file_path] = {"output_file_path=/tmp/other.dbuf",
                                 "output_file_path \"/tmp/o.dbuf\" -> \"/tmp/other.dbuf\"",
                                 NEEDS_OUTPUT | NEEDS_BUFFER},
    [OPTION_debug_mode] = {"debug_mode=true", "debug_mode false -> true", NEEDS_SETTING},
    [OPTION_enable_stats] = {"enable_stats=false", "enable_stats true -> false", NEEDS_SETTING},
    [OPTION_stats_interval] = {"stats_interval=1s", "stats_interval \"10s\" -> \"1s\"",
                               NEEDS_SETTING},
    [OPTION_crash_buffer] = {"crash_buffer=off", "crash_buffer \"auto\" -> \"off\"", NEEDS_RESTART},
    [OPTION_cpus_writers] = {"cpus.writers=0", "cpus.writers \"auto\" -> \"0\"", NEEDS_PAUSE},
    [OPTION_cpus_reader] = {"cpus.reader=none", "cpus.reader \"auto\" -> \"none\"", NEEDS_PAUSE},
    [OPTION_cpus_wait] = {"cpus.wait=spin", "cpus.wait \"park\" -> \"spin\"", NEEDS_BUFFER},
    [OPTION_source_min_block] = {"source.min_block=11", "source.min_block \"10B\" -> \"11B\"",
                                 NEEDS_BUFFER | NEEDS_SOURCES},
    [OPTION_source_max_block] = {"source.max_block=9999", "source.max_block \"10kB\" -> \"9999B\"",
                                 NEEDS_BUFFER | NEEDS_SOURCES},
    [OPTION_source_rate] = {"source.rate=1MB", "source.rate \"0\" -> \"1MB\"", NEEDS_SETTING},
    [OPTION_source_limit] = {"source.limit=1GB", "source.limit \"0\" -> \"1GB\"", NEEDS_PAUSE},
    [OPTION_source_seed] = {"source.seed=7", "source.seed 0 -> 7", NEEDS_BUFFER},
    [OPTION_source_address] = {"source.address=127.0.0.1:5514",
                               "source.address \"\" -> \"127.0.0.1:5514\"", NEEDS_SOURCES},
    [OPTION_output_format] = {"output.format=raw", "output.format \"segments\" -> \"raw\"",
                              NEEDS_OUTPUT | NEEDS_BUFFER},
    [OPTION_output_segment_size] = {"output.segment_size=2GiB",
                                    "output.segment_size \"1GiB\" -> \"2GiB\"", NEEDS_SETTING},
    [OPTION_output_segment_age] = {"output.segment_age=1h", "output.segment_age \"0\" -> \"1h\"",
                                   NEEDS_SETTING},
    [OPTION_output_retain_age] = {"output.retain_age=7d", "output.retain_age \"0\" -> \"7d\"",
                                  NEEDS_SETTING},
    [OPTION_output_io] = {"output.io=pwrite", "output.io \"auto\" -> \"pwrite\"", NEEDS_RESTART},
    [OPTION_output_disk_full] = {"output.disk_full=rotate",
                                 "output.disk_full \"hold\" -> \"rotate\"", NEEDS_SETTING},
    [OPTION_output_retain_size] = {"output.retain_size=9GiB",
                                   "output.retain_size \"0\" -> \"9GiB\"", NEEDS_SETTING},
    [OPTION_output_durability] = {"output.durability=none",
                                  "output.durability \"half\" -> \"none\"", NEEDS_SETTING},
    [OPTION_output_sync_interval] = {"output.sync_interval=2s",
                                     "output.sync_interval \"1s\" -> \"2s\"", NEEDS_SETTING},
    [OPTION_output_flush_interval] = {"output.flush_interval=2s",
                                      "output.flush_interval \"1s\" -> \"2s\"", NEEDS_SETTING},
    [OPTION_output_min_free] = {"output.min_free=1MiB", "output.min_free \"64MiB\" -> \"1MiB\"",
                                NEEDS_SETTING},
};

/* The defaults, and one key more; NULL: none. */
static struct config *load(const char *setting)
{
    const char *overrides[] = {"output_file_path=/tmp/o.dbuf", setting};
    struct config *config = NULL;
    assert_int_equal(config_load(&config, NULL, overrides, setting != NULL ? 2 : 1, stderr), 0);
    return config;
}

static void each_key_is_seen_alone(void **unused)
{
    (void)unused;
    struct config *before = load(NULL);
    for (enum option_id id = 0; id < OPTION_COUNT; id++) {
        if (changes[id].setting == NULL)
            continue; /* pipes want all their keys at once: see below */
        bool changed[OPTION_COUNT];
        struct config *after = load(changes[id].setting);
        assert_int_equal(config_changes(before, after, changed), changes[id].needs);
        for (enum option_id other = 0; other < OPTION_COUNT; other++)
            assert_int_equal(changed[other], other == id);
        char *said = config_describe_changes(before, after, changed, changes[id].needs);
        assert_string_equal(said, changes[id].said);
        free(said);
        said = config_describe_changes(before, after, changed, ~changes[id].needs);
        assert_string_equal(said, "");
        free(said);
        config_free(after);
    }
    config_free(before);
}

static void the_keys_of_a_pipe_are_seen(void **unused)
{
    (void)unused;
    const char *pipe[] = {"output_file_path=/tmp/o.dbuf", "writer_count=1", "source.type=pipe",
                          "source.path=-"};
    const char *lines[] = {"output_file_path=/tmp/o.dbuf", "writer_count=1", "source.type=pipe",
                           "source.path=/tmp/fifo", "source.framing=lines"};
    struct config *before = load("writer_count=1"), *bytes = NULL, *after = NULL;
    bool changed[OPTION_COUNT];
    assert_int_equal(config_load(&bytes, NULL, pipe, 4, stderr), 0);
    assert_int_equal(config_load(&after, NULL, lines, 5, stderr), 0);
    assert_int_equal(config_changes(before, bytes, changed), NEEDS_BUFFER | NEEDS_SOURCES);
    assert_true(changed[OPTION_source_type] && changed[OPTION_source_path]);
    assert_int_equal(config_changes(bytes, after, changed), NEEDS_SOURCES);
    assert_true(changed[OPTION_source_path] && changed[OPTION_source_framing]);
    config_free(before);
    config_free(bytes);
    config_free(after);
}

static void the_same_is_the_same(void **unused)
{
    (void)unused;
    bool changed[OPTION_COUNT];
    struct config *before = load("cpus.writers=0"), *after = load("cpus.writers=0");
    assert_int_equal(config_changes(before, after, changed), 0);
    config_free(after);
    after = load("cpus.writers=none");
    assert_int_equal(config_changes(before, after, changed), NEEDS_PAUSE);
    config_free(before);
    config_free(after);
}

static void what_is_copied_is_the_same_again(void **unused)
{
    (void)unused;
    struct config *before = load(NULL);
    for (enum option_id id = 0; id < OPTION_COUNT; id++) {
        if (changes[id].setting == NULL)
            continue;
        bool changed[OPTION_COUNT];
        struct config *after = load(changes[id].setting);
        assert_int_equal(config_copy(after, before, id), 0);
        assert_int_equal(config_changes(before, after, changed), 0);
        config_free(after); /* a text is its own */
    }
    config_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_is_seen_alone),
        cmocka_unit_test(the_keys_of_a_pipe_are_seen),
        cmocka_unit_test(the_same_is_the_same),
        cmocka_unit_test(what_is_copied_is_the_same_again),
    };
    return cmocka_run_group_tests_name("config_change", tests, NULL, NULL);
}
