/* SPDX-License-Identifier: MIT
 *
 * How a capacity is cut into halves and extents.
 */
#include <errno.h>

#include "db.h"

enum {
    EXTENT_BYTES_LEAST = 4096,
    EXTENT_BYTES_GOOD = 64 << 10, /* below it, claiming begins to cost */
    EXTENT_BYTES_MOST = 1 << 20,  /* above it, nothing is gained and a writer holds too much */
    EXTENTS_LEAST = 4             /* of a half */
};

static size_t pow2_floor(size_t n)
{
    size_t p = 1;
    while (p <= n / 2)
        p *= 2;
    return p;
}

static size_t pow2_ceil(size_t n)
{
    size_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

int db_geometry(size_t capacity_bytes, unsigned writer_count, size_t max_block_bytes,
                struct db_geometry *ret, size_t *ret_least_bytes)
{
    if (writer_count == 0 || writer_count > FORMAT_WRITERS_MAX || max_block_bytes == 0 ||
        max_block_bytes > FORMAT_BLOCK_MAX)
        return -EINVAL;

    const size_t half_bytes = capacity_bytes / 2;
    size_t least = pow2_ceil(sizeof(struct extent_header) + block_bytes(max_block_bytes));
    if (least < EXTENT_BYTES_LEAST)
        least = EXTENT_BYTES_LEAST;
    /* With fewer extents than an eighth of the writers most of them would be held all the time. */
    size_t extents_least = writer_count / 8 > EXTENTS_LEAST ? writer_count / 8 : EXTENTS_LEAST;
    if (half_bytes / least < extents_least) {
        *ret_least_bytes = 2 * extents_least * least;
        return -ENOSPC;
    }

    /* Thirty-two extents a writer and half, within what is good; then smaller, if there would not
     * even be one for each. */
    size_t extent_bytes = pow2_floor(half_bytes / (32 * (size_t)writer_count) + 1);
    if (extent_bytes < EXTENT_BYTES_GOOD)
        extent_bytes = EXTENT_BYTES_GOOD;
    if (extent_bytes > EXTENT_BYTES_MOST)
        extent_bytes = EXTENT_BYTES_MOST;
    if (extent_bytes < least)
        extent_bytes = least;
    size_t extents_wanted = writer_count > extents_least ? writer_count : extents_least;
    while (extent_bytes > least && half_bytes / extent_bytes < extents_wanted)
        extent_bytes /= 2;

    size_t extent_count = half_bytes / extent_bytes;
    if (extent_count > INT32_MAX)
        return -EINVAL;
    *ret = (struct db_geometry){.extent_bytes = (uint32_t)extent_bytes,
                                .extent_count = (uint32_t)extent_count};
    return 0;
}
