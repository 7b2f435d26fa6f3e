/* SPDX-License-Identifier: MIT
 *
 * What differs between two configurations, and what it takes to go over from one to the other while
 * dbufd runs. Pure, but for the memory of a text.
 */
#ifndef DBUFD_DAEMON_CONFIG_CHANGE_H
#define DBUFD_DAEMON_CONFIG_CHANGE_H

#include <stdbool.h>

#include "config.h"
#include "config_options.h"

/* What a changed key needs. */
enum change_needs {
    NEEDS_RESTART = 1, /* it is as it was until then */
    NEEDS_SETTING = 2, /* is set where it is looked at */
    NEEDS_PAUSE = 4,   /* the threads end and start again, and what is in memory is stored */
    NEEDS_SOURCES = 8, /* and the sources are opened anew */
    NEEDS_BUFFER = 16, /* and the double buffer is another one */
    NEEDS_OUTPUT = 32, /* and the stream is */
    NEEDS_MORE = NEEDS_PAUSE | NEEDS_SOURCES | NEEDS_BUFFER | NEEDS_OUTPUT
};

/* Says of each key whether it differs, and returns all that these need. A key that needs a restart needs
 * nothing else. */
unsigned config_changes(const struct config *before, const struct config *after,
                        bool changed[static OPTION_COUNT]);

/* What a key needs when it has changed. */
unsigned config_needs(enum option_id id);

/* Sets one key of a configuration to what another one has. -ENOMEM: it is as it was. */
int config_copy(struct config *to, const struct config *from, enum option_id id);

/* "writer_count 4 -> 8, debug_mode false -> true", of those that are marked and need something of `needs`,
 * to be freed. NULL: no memory. */
char *config_describe_changes(const struct config *before, const struct config *after,
                              const bool changed[static OPTION_COUNT], unsigned needs);

#endif
