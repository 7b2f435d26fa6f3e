/* SPDX-License-Identifier: MIT
 *
 * The errors of a configuration as events, for a journal: each a message of its own, with its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dbufd.h"

enum { PLACE_BYTES = 512, STATUS_BYTES = 128 };

/* Where one error ends: before a line that does not begin with a space. */
static size_t error_bytes(const char *error)
{
    size_t bytes = strcspn(error, "\n");
    while (error[bytes] == '\n' && error[bytes + 1] == ' ')
        bytes += 1 + strcspn(error + bytes + 1, "\n");
    return bytes;
}

void tell_config_errors(const struct notify *notify, const char *errors)
{
    char place[PLACE_BYTES], status[STATUS_BYTES];
    unsigned count = 0;
    while (*errors != '\0') {
        const size_t bytes = error_bytes(errors);
        const char *place_end = strstr(errors, ": ");
        (void)snprintf(place, sizeof(place), "%.*s",
                       place_end != NULL ? (int)(place_end - errors) : 0, errors);
        const struct event_field fields[] = {{"PLACE", place, 0}};
        notify_event(notify, EVENT_CONFIG_INVALID, fields, 1, "%.*s", (int)bytes, errors);
        count++;
        errors += bytes + (errors[bytes] == '\n');
    }
    (void)snprintf(status, sizeof(status),
                   "the configuration has %u error%s: journalctl -xu dbufd, then dbufd --check",
                   count, count == 1 ? "" : "s");
    if (count != 0)
        notify_failed(0, status);
}

struct config *load_config(const struct notify *notify, const struct command_line *line,
                           const char *path, int *ret_rc)
{
    char *text = NULL;
    size_t bytes = 0;
    struct config *config = NULL;
    FILE *errors = notify->journal ? open_memstream(&text, &bytes) : stderr;
    if (errors == NULL)
        errors = stderr;
    *ret_rc = config_load(&config, path, line->overrides, line->override_count, errors);
    if (errors != stderr && fclose(errors) == 0)
        tell_config_errors(notify, text);
    free(text);
    return config;
}
