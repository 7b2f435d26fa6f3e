/* SPDX-License-Identifier: MIT
 *
 * options.def as a table, and what can be said of an option to a user. No state; any thread.
 */
#ifndef DBUFD_DAEMON_CONFIG_OPTIONS_H
#define DBUFD_DAEMON_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* OPTION_writer_count, ...: one for each line of options.def, in its order. */
enum option_id {
#define BOOL(field, key, dflt, help)               OPTION_##field,
#define COUNT(field, key, dflt, least, most, help) OPTION_##field,
#define SIZE(field, key, dflt, least, most, help)  OPTION_##field,
#define TIME(field, key, dflt, least, most, help)  OPTION_##field,
#define TEXT(field, key, dflt, help)               OPTION_##field,
#define CHOICE(field, key, dflt, names, help)      OPTION_##field,
#define CPUS(field, key, dflt, help)               OPTION_##field,
#include "options.def"
#undef BOOL
#undef COUNT
#undef SIZE
#undef TIME
#undef TEXT
#undef CHOICE
#undef CPUS
    OPTION_COUNT
};

enum option_kind { KIND_BOOL, KIND_COUNT, KIND_SIZE, KIND_TIME, KIND_TEXT, KIND_CHOICE, KIND_CPUS };

struct config_option {
    enum option_kind kind;
    size_t offset; /* of the member in struct config */
    const char *key;
    const char *dflt;
    uint64_t least, most;
    const char *const *names; /* KIND_CHOICE, ends with NULL */
    const char *help;
};

extern const struct config_option config_options[OPTION_COUNT];

/* The option with this key, or NULL. */
const struct config_option *option_find(const char *key);

/* Bytes of the group's name in front of a key; 0: it stands at the top. */
size_t option_group_bytes(const char *key);

/* Whether `name` is the group of an option. */
bool option_is_group(const char *name);

/* The key (or the group) that was probably meant; its first *ret_bytes bytes. NULL: none is near.
 */
const char *option_nearest(const char *key, bool group, size_t *ret_bytes);

/* Writes what would be right: "1 to 1024", and with the kind of value "an integer, 1 to 1024". */
void option_put_bounds(FILE *errors, const struct config_option *option);
void option_put_wanted(FILE *errors, const struct config_option *option);

#endif
