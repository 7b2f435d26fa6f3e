/* SPDX-License-Identifier: MIT
 *
 * Names and values follow from stats.def by rule, so that a new figure is there by itself: the name is the
 * member's, in base units, microseconds as seconds and a percentage as a ratio.
 *
 * The classes of blocks and of holds are histograms, as they are counted since the start and only grow
 * (a gauge histogram would be of what there is now). The blocks' has no sum: their bytes are counted in
 * another place at another moment, so the sum of just these blocks is not known; accepted_bytes is as good
 * for a mean. That of the holds is counted with their classes.
 */
#include "metrics_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "dbufd_"

enum { NAME_BYTES = 64 };

/* How a figure of one unit is told in base units: 'unit' and the member's ending are those of stats.def. */
struct base_unit {
    const char *unit, *ending;           /* as it is kept */
    const char *base_unit, *base_ending; /* as it is told */
    unsigned per_base;                   /* so many of it are one of the base unit */
};
static const struct base_unit base_units[] = {
    {"us", "_usec", "seconds", "_seconds", 1000000},
    {"percent", "_percent", "ratio", "_ratio", 100},
    {"bytes/s", "_per_sec", "bytes_per_second", "_per_second", 1},
    {"blocks/s", "_per_sec", "blocks_per_second", "_per_second", 1},
};

static bool ends_with(const char *text, const char *ending)
{
    const size_t bytes = strlen(text), ending_bytes = strlen(ending);
    return bytes >= ending_bytes && strcmp(text + bytes - ending_bytes, ending) == 0;
}

/* What there is of a metric before its samples. A unit is named only if the name ends with it. */
static void put_head(FILE *out, const char *name, const char *type, const char *unit,
                     const char *help)
{
    const size_t bytes = strlen(name), unit_bytes = strlen(unit);
    fprintf(out, "# TYPE " PREFIX "%s %s\n", name, type);
    if (unit_bytes > 0 && ends_with(name, unit) &&
        (bytes == unit_bytes || name[bytes - unit_bytes - 1] == '_'))
        fprintf(out, "# UNIT " PREFIX "%s %s\n", name, unit);
    fprintf(out, "# HELP " PREFIX "%s %s\n", name, help);
}

/* Exact, without a fraction where there is none. */
static void put_value(FILE *out, uint64_t value, unsigned per_base)
{
    int digits = 0;
    for (unsigned power = 1; power < per_base; power *= 10)
        digits++;
    if (digits == 0)
        fprintf(out, " %" PRIu64 "\n", value);
    else
        fprintf(out, " %" PRIu64 ".%0*" PRIu64 "\n", value / per_base, digits, value % per_base);
}

static void put_figure(FILE *out, const char *member, bool counter, const char *unit,
                       const char *help, uint64_t value)
{
    char name[NAME_BYTES];
    const struct base_unit *base = NULL;
    for (size_t i = 0; i < sizeof(base_units) / sizeof(*base_units); i++)
        if (strcmp(unit, base_units[i].unit) == 0 && ends_with(member, base_units[i].ending))
            base = &base_units[i];
    (void)snprintf(name, sizeof(name), "%.*s%s",
                   (int)(strlen(member) - (base != NULL ? strlen(base->ending) : 0)), member,
                   base != NULL ? base->base_ending : "");
    put_head(out, name, counter ? "counter" : "gauge", base != NULL ? base->base_unit : unit, help);
    fprintf(out, PREFIX "%s%s", name, counter ? "_total" : "");
    put_value(out, value, base != NULL ? base->per_base : 1);
}

/* Class i has what is less than 2^i. `step`: what 1 is in the base unit; `less`: 1 if the values are
 * integers, so that those less than 2^i are at most 2^i - 1. Returns how many there are in all. */
static uint64_t put_classes(FILE *out, const char *name, const uint64_t *counts, int classes,
                            double step, double less)
{
    uint64_t all = 0;
    for (int class = 0; class < classes; class ++) {
        all += counts[class];
        if (class + 1 < classes)
            fprintf(out, PREFIX "%s_bucket{le=\"%.10g\"} %" PRIu64 "\n", name,
                    ((double)(UINT64_C(1) << class) - less) * step, all);
        else
            fprintf(out, PREFIX "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, all);
    }
    return all;
}

static void put_histograms(FILE *out, const struct stats *stats)
{
    put_head(out, "block_bytes", "histogram", "bytes", "accepted blocks by size");
    (void)put_classes(out, "block_bytes", stats->sizes, SIZE_CLASSES, 1, 1);

    put_head(out, "hold_seconds", "histogram", "seconds", "how long writers had to wait for room");
    const uint64_t all =
        put_classes(out, "hold_seconds", stats->hold_times, DB_HOLD_CLASSES, 1e-6, 0);
    fprintf(out, PREFIX "hold_seconds_count %" PRIu64 "\n" PREFIX "hold_seconds_sum", all);
    put_value(out, stats->held_usec, 1000000);
}

/* What is no figure of the report. */
static void put_states(FILE *out, const struct stats *stats)
{
    const bool held = stats->disk_held_sec != 0;
    put_head(out, "durable_bytes", "gauge", "bytes",
             "of those persisted, what a power cut cannot take");
    fprintf(out, PREFIX "durable_bytes %" PRIu64 "\n", stats->durable_bytes);
    put_head(out, "disk", "stateset", "", "whether the disk takes what is to be stored");
    fprintf(out, PREFIX "disk{" PREFIX "disk=\"ok\"} %d\n", !held);
    fprintf(out, PREFIX "disk{" PREFIX "disk=\"refuses\"} %d\n", held);
    put_head(out, "disk_held_seconds", "gauge", "seconds",
             "for how long the disk has refused; 0: it does not");
    fprintf(out, PREFIX "disk_held_seconds %" PRIu64 "\n", stats->disk_held_sec);
    put_head(out, "disk_errno", "gauge", "", "the errno with which the disk refuses; 0: none");
    fprintf(out, PREFIX "disk_errno %d\n", held ? stats->disk_error : 0);
    put_head(out, "crash_buffer", "info", "", "what is in memory survives a crash so");
    fprintf(out, PREFIX "crash_buffer_info{crash_buffer=\"%s\"} 1\n", stats->crash_buffer);
    put_head(out, "build", "info", "", "the dbufd that runs");
    fprintf(out, PREFIX "build_info{version=\"" DBUFD_VERSION "\"} 1\n");
}

char *metrics_text(const struct stats *stats, size_t *ret_bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_bytes);
    if (out == NULL)
        return NULL;
#define COUNTER(member, field, unit, help)                                                         \
    put_figure(out, #member, true, unit, help, stats->member);
#define GAUGE(member, field, unit, help) put_figure(out, #member, false, unit, help, stats->member);
#include "stats.def"
#undef COUNTER
#undef GAUGE
    put_histograms(out, stats);
    put_states(out, stats);
    fputs("# EOF\n", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
