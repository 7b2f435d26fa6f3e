/* SPDX-License-Identifier: MIT
 *
 * What was asked for on the command line.
 */
#ifndef DBUFD_DAEMON_COMMAND_LINE_H
#define DBUFD_DAEMON_COMMAND_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct command_line {
    const char *config_path; /* NULL: the default one, which then may be missing */
    const char **overrides;  /* "KEY=VALUE", in order */
    size_t override_count;
    uint64_t duration_ns; /* 0: no end */
    bool check;
    bool print_config;
};

/* Parses it. -1: go on, with *ret to be freed by command_line_free. Else the exit status: --help and
 * --version have been answered, or the mistake has been told. */
int command_line_parse(struct command_line *ret, int argc, char *argv[]);
void command_line_free(struct command_line *line);

#endif
