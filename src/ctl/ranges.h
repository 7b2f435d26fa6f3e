/* SPDX-License-Identifier: MIT
 *
 * A list of ranges of sequences that have not turned up (yet), and where that was seen.
 *
 * Ranges are added in growing order. One list belongs to one thread; it allocates.
 */
#ifndef DBUFD_CTL_RANGES_H
#define DBUFD_CTL_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
    uint64_t first, end; /* first <= sequence < end */
    const char *path;    /* the file and the place that showed it; the path is not copied */
    uint64_t offset;
};

struct ranges {
    struct range *items;
    size_t count, room;
};

/* Adds one behind the others, or makes the last one longer. -ENOMEM. */
int ranges_add(struct ranges *ranges, struct range range);

/* Takes first <= sequence < end out. 1: it was in there as a whole; 0: it was not, nothing is
 * changed. -ENOMEM. */
int ranges_take(struct ranges *ranges, uint64_t first, uint64_t end);

void ranges_free(struct ranges *ranges);

#endif
