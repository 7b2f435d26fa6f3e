/* SPDX-License-Identifier: MIT
 *
 * A key without a line in the table needs a restart: nothing is wrongly taken for changed.
 */
#include "config_change.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The output's path, and what else a region says of its run, is in the control pages for good: a
 * change of it is a new buffer. */
static const unsigned needs[OPTION_COUNT] = {
    [OPTION_buffer_capacity] = NEEDS_BUFFER,
    [OPTION_writer_count] = NEEDS_BUFFER,
    [OPTION_output_file_path] = NEEDS_OUTPUT | NEEDS_BUFFER,
    [OPTION_debug_mode] = NEEDS_SETTING,
    [OPTION_enable_stats] = NEEDS_SETTING,
    [OPTION_stats_interval] = NEEDS_SETTING,
    [OPTION_cpus_writers] = NEEDS_PAUSE,
    [OPTION_cpus_reader] = NEEDS_PAUSE,
    [OPTION_cpus_wait] = NEEDS_BUFFER,
    [OPTION_source_type] = NEEDS_BUFFER | NEEDS_SOURCES,
    [OPTION_source_min_block] = NEEDS_BUFFER | NEEDS_SOURCES,
    [OPTION_source_max_block] = NEEDS_BUFFER | NEEDS_SOURCES,
    [OPTION_source_rate] = NEEDS_SETTING,
    [OPTION_source_limit] = NEEDS_PAUSE,
    [OPTION_source_seed] = NEEDS_BUFFER,
    [OPTION_source_path] = NEEDS_SOURCES,
    [OPTION_source_address] = NEEDS_SOURCES,
    [OPTION_source_framing] = NEEDS_SOURCES,
    [OPTION_output_format] = NEEDS_OUTPUT | NEEDS_BUFFER,
    [OPTION_output_segment_size] = NEEDS_SETTING,
    [OPTION_output_segment_age] = NEEDS_SETTING,
    [OPTION_output_retain_size] = NEEDS_SETTING,
    [OPTION_output_retain_age] = NEEDS_SETTING,
    [OPTION_output_durability] = NEEDS_SETTING,
    [OPTION_output_sync_interval] = NEEDS_SETTING,
    [OPTION_output_flush_interval] = NEEDS_SETTING,
    [OPTION_output_min_free] = NEEDS_SETTING,
    [OPTION_output_disk_full] = NEEDS_SETTING,
    [OPTION_metrics_listen] = NEEDS_SETTING,
};

unsigned config_needs(enum option_id id)
{
    return needs[id] != 0 ? needs[id] : NEEDS_RESTART;
}

static const void *field_of(const struct config *config, enum option_id id)
{
    return (const char *)config + config_options[id].offset;
}

static bool same_cores(const struct cpus_choice *a, const struct cpus_choice *b)
{
    return a->kind == b->kind && (a->kind != CPUS_LIST || CPU_EQUAL(&a->list, &b->list));
}

static bool same(const struct config *before, const struct config *after, enum option_id id)
{
    const void *a = field_of(before, id), *b = field_of(after, id);

    switch (config_options[id].kind) {
    case KIND_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case KIND_COUNT:
    case KIND_SIZE:
    case KIND_TIME:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case KIND_TEXT:
        return strcmp(*(char *const *)a, *(char *const *)b) == 0;
    case KIND_CHOICE:
        return *(const int *)a == *(const int *)b;
    case KIND_CPUS:
        return same_cores(a, b);
    }
    __builtin_unreachable();
}

unsigned config_changes(const struct config *before, const struct config *after,
                        bool changed[static OPTION_COUNT])
{
    unsigned all = 0;

    for (enum option_id id = 0; id < OPTION_COUNT; id++) {
        changed[id] = !same(before, after, id);
        if (changed[id])
            all |= config_needs(id);
    }
    return all;
}

int config_copy(struct config *to, const struct config *from, enum option_id id)
{
    void *field = (char *)to + config_options[id].offset;
    const void *value = field_of(from, id);
    char *text;

    switch (config_options[id].kind) {
    case KIND_BOOL:
        *(bool *)field = *(const bool *)value;
        break;
    case KIND_COUNT:
    case KIND_SIZE:
    case KIND_TIME:
        *(uint64_t *)field = *(const uint64_t *)value;
        break;
    case KIND_TEXT:
        text = strdup(*(char *const *)value);
        if (text == NULL)
            return -ENOMEM;
        free(*(char **)field);
        *(char **)field = text;
        break;
    case KIND_CHOICE:
        *(int *)field = *(const int *)value;
        break;
    case KIND_CPUS:
        *(struct cpus_choice *)field = *(const struct cpus_choice *)value;
        break;
    }
    return 0;
}

char *config_describe_changes(const struct config *before, const struct config *after,
                              const bool changed[static OPTION_COUNT], unsigned which)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    const char *separator = "";

    if (out == NULL)
        return NULL;
    for (enum option_id id = 0; id < OPTION_COUNT; id++) {
        if (!changed[id] || (config_needs(id) & which) == 0)
            continue;
        fprintf(out, "%s%s ", separator, config_options[id].key);
        config_put_value(out, &config_options[id], before);
        fputs(" -> ", out);
        config_put_value(out, &config_options[id], after);
        separator = ", ";
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
