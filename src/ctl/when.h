/* SPDX-License-Identifier: MIT
 *
 * Times as people write them: RFC 3339, or seconds since 1970. Pure.
 */
#ifndef DBUFD_CTL_WHEN_H
#define DBUFD_CTL_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* "2026-01-31T12:00:00.5+01:00", "2026-01-31 12:00:00Z", "1769860800.25". False: none of them, or
 * out of the years 1970 to 2554; *ret_ns untouched. */
bool parse_when(const char *text, uint64_t *ret_ns);

#endif
