/* SPDX-License-Identifier: MIT
 *
 * What stands in the configuration file and on the command line, as a plain list of settings.
 * Knows libconfig and its traps, and nothing of what the keys mean.
 */
#ifndef DBUFD_DAEMON_CONFIG_FILE_H
#define DBUFD_DAEMON_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum setting_type {
    SETTING_BARE, /* -o KEY=VALUE without quotes: whatever the key wants */
    SETTING_STRING,
    SETTING_INTEGER,
    SETTING_NUMBER, /* with a fraction, or too large for an integer */
    SETTING_BOOL,
    SETTING_LIST,
    SETTING_GROUP /* its members follow as settings of their own */
};

struct setting {
    const char *file; /* where it stands; NULL: an -o */
    unsigned line;    /* 0 with a file: a default */
    enum setting_type type;
    char *key;  /* with dots */
    char *text; /* of a string its content, else as it would be written; "" for groups and lists */
};

struct settings {
    struct setting *items;
    size_t count;
    bool incomplete; /* the file has lines that could not be read */
};

/* Appends the settings of the file; `path` must outlive them. -EINVAL: every line that cannot be
 * read was written to `errors`, and the settings have the rest. -ENOMEM. */
int config_file_read(struct settings *settings, const char *path, FILE *errors);

/* Appends the one of "KEY=VALUE". -EINVAL: it is not of this form, and `errors` has it. -ENOMEM. */
int config_file_override(struct settings *settings, const char *override, FILE *errors);

/* Frees what is in it. */
void settings_clear(struct settings *settings);

/* Starts a message about a setting: "FILE:LINE: KEY = VALUE: " or "-o KEY=VALUE: ". */
void setting_put_place(FILE *errors, const struct setting *setting);

/* "a string", "an integer", ... */
const char *setting_type_name(enum setting_type type);

#endif
