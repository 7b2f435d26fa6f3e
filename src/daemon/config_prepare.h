/* SPDX-License-Identifier: MIT
 *
 * Makes a text safe for libconfig, which cuts large integers without a word. Pure; any thread.
 */
#ifndef DBUFD_DAEMON_CONFIG_PREPARE_H
#define DBUFD_DAEMON_CONFIG_PREPARE_H

#include <stddef.h>

/* What the prepared form of a text of so many bytes may take. */
#define CONFIG_PREPARED_BYTES(bytes) (2 * (bytes) + 8)

/* No file of ours has more settings; libconfig looks at all that it has for each that comes. */
enum { CONFIG_SETTINGS_MAX = 500 };

/* What is wrong in the line of the first setting too many; nothing behind it is worth a look. */
extern const char config_too_many[];

/* Puts `text` at `to` as libconfig shall see it, with the same lines. NULL; or what is wrong in
 * line *ret_line, and `to` has what stands before it. */
const char *config_prepare(const char *text, char *to, unsigned *ret_line);

#endif
