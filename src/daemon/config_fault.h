/* SPDX-License-Identifier: MIT
 *
 * What the checks of a configuration share: how a fault is told, and how a path is looked at. Private to
 * config_check*.c.
 *
 * One thread. Nothing is changed on disk, which is looked at with stat and access alone, and may be waited
 * for.
 */
#ifndef DBUFD_DAEMON_CONFIG_FAULT_H
#define DBUFD_DAEMON_CONFIG_FAULT_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#include "config_check.h"

struct check {
    const struct config *config;
    const struct option_origin *origins;
    FILE *errors;
    unsigned faults;
};

/* Whether the option's value is good by itself. */
bool config_good(const struct check *check, enum option_id id);

/* Whether nobody has set it. */
bool config_is_default(const struct check *check, enum option_id id);

/* Reports a fault between options `a` and `b` (the same, if it concerns one). */
void config_fault(struct check *check, enum option_id a, enum option_id b, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The directory that a file at `path` is in. */
void config_directory_of(const char *path, char directory[static PATH_MAX]);

/* What stands in the way of making a file at `path`, into `why`; false: nothing. */
bool config_directory_problem(const char *path, char why[static PATH_MAX + 128]);

/* "a directory" and the like, of what is no regular file. */
const char *config_kind_of_file(mode_t mode);

/* Whether it can be read, or written, from beginning to end. */
bool config_streamable(mode_t mode);

#endif
