/* SPDX-License-Identifier: MIT
 *
 * The figures of stats.def as OpenMetrics 1.0 text. Pure; any thread. Allocates.
 */
#ifndef DBUFD_DAEMON_METRICS_TEXT_H
#define DBUFD_DAEMON_METRICS_TEXT_H

#include <stddef.h>

#include "stats.h"

#define METRICS_CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* The whole text, to be freed. NULL: no memory. */
char *metrics_text(const struct stats *stats, size_t *ret_bytes);

#endif
