/* SPDX-License-Identifier: MIT
 *
 * The configuration: options.def says what there is, this makes a struct of it.
 *
 * config_file.c alone sees libconfig. Main thread only; others get what concerns them, and the texts of a
 * struct config stay as long as it does. May wait for the disk, allocates.
 */
#ifndef DBUFD_DAEMON_CONFIG_H
#define DBUFD_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cpus.h"

#define CONFIG_DEFAULT_PATH "/etc/dbufd.conf"

enum output_io { IO_AUTO, IO_URING, IO_PWRITE, IO_BUFFERED };
enum cpus_wait { WAIT_PARK, WAIT_SPIN };
enum disk_full { FULL_HOLD, FULL_ROTATE };

/* One member for each line of options.def; sizes in bytes, times in ns. The CHOICE members are the
 * index of the chosen name, and the names are in the order of enum source_kind, source_framing,
 * store_format, store_durability, output_io, cpus_wait and disk_full. */
struct config {
#define BOOL(field, key, dflt, help)               bool field;
#define COUNT(field, key, dflt, least, most, help) uint64_t field;
#define SIZE(field, key, dflt, least, most, help)  uint64_t field;
#define TIME(field, key, dflt, least, most, help)  uint64_t field;
#define TEXT(field, key, dflt, help)               char *field;
#define CHOICE(field, key, dflt, names, help)      int field;
#define CPUS(field, key, dflt, help)               struct cpus_choice field;
#include "options.def"
#undef BOOL
#undef COUNT
#undef SIZE
#undef TIME
#undef TEXT
#undef CHOICE
#undef CPUS
};

/* Reads the file at `path` and puts `overrides` ("KEY=VALUE") on top; path NULL: the overrides
 * alone. (The name config_read is libconfig's own.) Checks everything: types, bounds, one key
 * against another, paths, cores. 0: *ret is to be freed with config_free. -EINVAL: every error was
 * written to `errors`, one a line, with file and line (or "-o"), key, the value given and what
 * would be right; *ret untouched. -ENOMEM. Creates and changes nothing on disk. */
int config_load(struct config **ret, const char *path, const char *const overrides[],
                size_t override_count, FILE *errors);
void config_free(struct config *config);

/* Writes it as a file that config_load takes and that gives the same again. */
void config_print(const struct config *config, FILE *out);

/* Writes one value as it is written in a file. */
struct config_option;
void config_put_value(FILE *out, const struct config_option *option, const struct config *config);

/* Every key with its default and its line of help. */
void config_print_help(FILE *out);

#endif
