/* SPDX-License-Identifier: MIT
 *
 * Whether the values of a configuration fit each other, the file system and the machine.
 */
#ifndef DBUFD_DAEMON_CONFIG_CHECK_H
#define DBUFD_DAEMON_CONFIG_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#include "config.h"
#include "config_file.h"
#include "config_options.h"

/* Where an option's value comes from. */
struct option_origin {
    const struct setting *setting; /* the last one that set it; or its default, with line 0 */
    bool bad;                      /* it was no value: the configuration still has the default */
};

/* Writes every fault among the good values to `errors`, one a line, and what to do in more lines,
 * indented, where that is more than a word. Returns how many. May wait for
 * the disk; changes nothing there. */
unsigned config_check(const struct config *config, const struct option_origin origins[OPTION_COUNT],
                      FILE *errors);

#endif
