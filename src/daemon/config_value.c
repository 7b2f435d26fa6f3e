/* SPDX-License-Identifier: MIT
 *
 * config_value: one table of units for sizes and one for times, read in both directions.
 *
 * Failure modes: a text that is no number, has a fraction, a sign, an unknown unit, or counts more
 * than 64 bits hold. Each has its own words; nothing is rounded and nothing wraps.
 */
#include "config_value.h"

#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The first entry is what a number without unit counts. */
static const struct unit size_units[] = {
    {"B", 1},
    {"TB", 1000000000000},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"TiB", (uint64_t)1 << 40},
    {"GiB", (uint64_t)1 << 30},
    {"MiB", (uint64_t)1 << 20},
    {"KiB", (uint64_t)1 << 10},
    {NULL, 0},
};
static const struct unit time_units[] = {
    {"s", 1000000000},
    {"d", 86400000000000},
    {"h", 3600000000000},
    {"min", 60000000000},
    {"ms", 1000000},
    {"us", 1000},
    {"ns", 1},
    {NULL, 0},
};

static const char *parse_quantity(const char *text, const struct unit units[], uint64_t *ret)
{
    const struct unit *unit = units;
    uint64_t value = 0;
    size_t digits;

    if (text[0] == '-')
        return "is negative";
    digits = strspn(text, "0123456789");
    if (digits == 0)
        return "has no number";
    for (size_t i = 0; i < digits; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return "is too large";
    text += digits;
    if (*text == '.')
        return "has a fraction, take a smaller unit";
    text += strspn(text, " ");
    if (*text != '\0') {
        while (unit->name != NULL && strcmp(text, unit->name) != 0)
            unit++;
        if (unit->name == NULL)
            return "has an unknown unit";
    }
    if (__builtin_mul_overflow(value, unit->factor, &value))
        return "is too large";
    *ret = value;
    return NULL;
}

const char *value_parse_count(const char *text, uint64_t *ret)
{
    static const struct unit none[] = {{"", 1}, {NULL, 0}};
    const char *problem = parse_quantity(text, none, ret);

    /* A count has no units, so there is none to be unknown. */
    return problem != NULL && strcmp(problem, "has an unknown unit") == 0 ? "is no integer"
                                                                          : problem;
}

const char *value_parse_size(const char *text, uint64_t *ret)
{
    return parse_quantity(text, size_units, ret);
}

const char *value_parse_time(const char *text, uint64_t *ret)
{
    return parse_quantity(text, time_units, ret);
}

static char *format_quantity(uint64_t value, const struct unit units[], char *text)
{
    const struct unit *best = NULL;

    if (value == 0)
        return strcpy(text, "0");
    for (const struct unit *unit = units; unit->name != NULL; unit++)
        if (value % unit->factor == 0 && (best == NULL || unit->factor > best->factor))
            best = unit;
    snprintf(text, VALUE_TEXT_BYTES, "%llu%s", (unsigned long long)(value / best->factor),
             best->name);
    return text;
}

char *value_format_size(uint64_t bytes, char text[static VALUE_TEXT_BYTES])
{
    return format_quantity(bytes, size_units, text);
}

char *value_format_time(uint64_t time_ns, char text[static VALUE_TEXT_BYTES])
{
    return format_quantity(time_ns, time_units, text);
}

void value_put_quoted(FILE *out, const char *text, size_t shown_max)
{
    fputc('"', out);
    for (size_t i = 0; text[i] != '\0'; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (i == shown_max) {
            fputs("...", out);
            break;
        }
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", out);
        else if (c == '\t')
            fputs("\\t", out);
        else if (c < ' ' || c == 0x7f)
            fprintf(out, "\\x%02X", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}
