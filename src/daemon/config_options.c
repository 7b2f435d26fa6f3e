/* SPDX-License-Identifier: MIT
 *
 * config_options: the table of options, made from options.def, and the words for it.
 *
 * Nothing here can fail.
 */
#include "config_options.h"

#include <assert.h>
#include <string.h>

#include "config.h"
#include "config_value.h"

enum { KEY_BYTES_MAX = 64 }; /* no key is as long */

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define OPTION(kind, field, key, dflt, least, most, names, help)                                   \
    {kind, offsetof(struct config, field), key, dflt, least, most, names, help},
const struct config_option config_options[OPTION_COUNT] = {
#define BOOL(field, key, dflt, help) OPTION(KIND_BOOL, field, key, dflt, 0, 0, NULL, help)
#define COUNT(field, key, dflt, least, most, help)                                                 \
    OPTION(KIND_COUNT, field, key, dflt, least, most, NULL, help)
#define SIZE(field, key, dflt, least, most, help)                                                  \
    OPTION(KIND_SIZE, field, key, dflt, least, most, NULL, help)
#define TIME(field, key, dflt, least, most, help)                                                  \
    OPTION(KIND_TIME, field, key, dflt, least, most, NULL, help)
#define TEXT(field, key, dflt, help) OPTION(KIND_TEXT, field, key, dflt, 0, 0, NULL, help)
#define CHOICE(field, key, dflt, names, help)                                                      \
    OPTION(KIND_CHOICE, field, key, dflt, 0, 0, names, help)
#define CPUS(field, key, dflt, help) OPTION(KIND_CPUS, field, key, dflt, 0, 0, NULL, help)
#include "options.def"
};

/* ---- Keys ------------------------------------------------------------------------------------ */

const struct config_option *option_find(const char *key)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strcmp(config_options[i].key, key) == 0)
            return &config_options[i];
    return NULL;
}

/* Bytes of the group's name in front of an option's key; 0: it stands at the top. */
size_t option_group_bytes(const char *key)
{
    const char *dot = strchr(key, '.');

    return dot != NULL ? (size_t)(dot - key) : 0;
}

bool option_is_group(const char *key)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (option_group_bytes(config_options[i].key) == strlen(key) &&
            strncmp(config_options[i].key, key, strlen(key)) == 0)
            return true;
    return false;
}

/* Insertions, deletions and replacements between two keys (Levenshtein). */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[KEY_BYTES_MAX + 1];
    const size_t b_bytes = strlen(b);

    assert(b_bytes <= KEY_BYTES_MAX);
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < b_bytes; j++) {
            const size_t replaced = diagonal + (a[i] != b[j]);
            const size_t shorter = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;

            diagonal = row[j + 1];
            row[j + 1] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[b_bytes];
}

/* The key that was probably meant, or NULL; its first *ret_bytes bytes. */
const char *option_nearest(const char *key, bool group, size_t *ret_bytes)
{
    const size_t dot = option_group_bytes(key);
    const char *last = dot > 0 ? key + dot + 1 : key;
    const char *nearest = NULL;
    size_t best = strlen(key) / 3 + 1; /* more would be guessing */

    if (strlen(key) > KEY_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *candidate = config_options[i].key;
        const size_t skip =
            option_group_bytes(candidate) > 0 ? option_group_bytes(candidate) + 1 : 0;
        char name[KEY_BYTES_MAX];
        size_t distance;

        if (group && skip == 0)
            continue;
        snprintf(name, sizeof name, "%.*s", group ? (int)skip - 1 : (int)sizeof name, candidate);
        distance = edit_distance(key, name);
        /* The right name in the wrong group, or in none, is nearly right. */
        if (!group && strcmp(last, candidate + skip) == 0)
            distance = 1;
        if (distance <= best && (nearest == NULL || distance < best)) {
            best = distance;
            nearest = candidate;
            *ret_bytes = strlen(name);
        }
    }
    return nearest;
}

/* ---- What would be right --------------------------------------------------------------------- */

void option_put_bounds(FILE *errors, const struct config_option *option)
{
    char least[VALUE_TEXT_BYTES], most[VALUE_TEXT_BYTES];

    if (option->kind == KIND_COUNT)
        fprintf(errors, "%llu to %llu", (unsigned long long)option->least,
                (unsigned long long)option->most);
    else if (option->kind == KIND_SIZE)
        fprintf(errors, "\"%s\" to \"%s\"", value_format_size(option->least, least),
                value_format_size(option->most, most));
    else
        fprintf(errors, "\"%s\" to \"%s\"", value_format_time(option->least, least),
                value_format_time(option->most, most));
}

void option_put_wanted(FILE *errors, const struct config_option *option)
{
    switch (option->kind) {
    case KIND_BOOL:
        fputs("true or false", errors);
        break;
    case KIND_COUNT:
        fputs("an integer, ", errors);
        option_put_bounds(errors, option);
        break;
    case KIND_SIZE:
        fputs("a size, ", errors);
        option_put_bounds(errors, option);
        fputs(" (" VALUE_SIZE_UNITS ", or an integer of bytes)", errors);
        break;
    case KIND_TIME:
        fputs("a time, ", errors);
        option_put_bounds(errors, option);
        fputs(" (" VALUE_TIME_UNITS ", or an integer of seconds)", errors);
        break;
    case KIND_TEXT:
        fputs("a string, such as \"", errors);
        fputs(option->dflt, errors);
        fputc('"', errors);
        break;
    case KIND_CHOICE:
        for (size_t i = 0; option->names[i] != NULL; i++)
            fprintf(errors, "%s\"%s\"",
                    i == 0                         ? ""
                    : option->names[i + 1] == NULL ? " or "
                                                   : ", ",
                    option->names[i]);
        break;
    case KIND_CPUS:
        fputs("\"auto\", \"none\" or a list of cores such as \"2-5,8\"", errors);
        break;
    }
}
