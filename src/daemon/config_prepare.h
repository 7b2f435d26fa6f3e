/* SPDX-License-Identifier: MIT
 *
 * Makes a text safe for libconfig, which cuts large integers without a word. Pure; any thread.
 */
#ifndef DBUFD_DAEMON_CONFIG_PREPARE_H
#define DBUFD_DAEMON_CONFIG_PREPARE_H

#include <stddef.h>

/* What the prepared form of a text of so many bytes may take. */
#define CONFIG_PREPARED_BYTES(bytes) (2 * (bytes) + 8)

/* Puts `text` at `to` as libconfig shall see it, with the same lines. NULL; or what is wrong in
 * line *ret_line, and `to` has what stands before it. */
const char *config_prepare(const char *text, char *to, unsigned *ret_line);

#endif
