/* SPDX-License-Identifier: MIT
 *
 * The texts of values: numbers with units to and from what a user writes. Pure; any thread.
 */
#ifndef DBUFD_DAEMON_CONFIG_VALUE_H
#define DBUFD_DAEMON_CONFIG_VALUE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define VALUE_SIZE_UNITS "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
#define VALUE_TIME_UNITS "ns, us, ms, s, min, h, d"

enum { VALUE_TEXT_BYTES = 32 }; /* room for any formatted value */

/* NULL: *ret is the value. Else what is wrong with the text, for a message: "has no number". */
const char *value_parse_count(const char *text, uint64_t *ret);
const char *value_parse_size(const char *text, uint64_t *ret); /* bytes */
const char *value_parse_time(const char *text, uint64_t *ret); /* ns; without unit: seconds */

/* The shortest text that means exactly this: "100MB", "90s"; "0" for nothing. Returns text. */
char *value_format_size(uint64_t bytes, char text[static VALUE_TEXT_BYTES]);
char *value_format_time(uint64_t time_ns, char text[static VALUE_TEXT_BYTES]);

/* Writes `text` in quotes, as libconfig reads it back; beyond `shown_max` bytes only "...". */
void value_put_quoted(FILE *out, const char *text, size_t shown_max);

#endif
