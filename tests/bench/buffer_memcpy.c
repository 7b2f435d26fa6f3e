/* SPDX-License-Identifier: MIT
 *
 * The limit: the same threads copy the same blocks into extents taken in turn from the same memory,
 * back to back, without headers, reader or hand-over. Nothing can be read from it.
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/buffer/db.h"
#include "buffer.h"

struct extents {
    unsigned char *memory;
    struct db_geometry geometry;
    _Alignas(LINE) uint64_t next; /* atomic */
};

static void *open_extents(struct load *load)
{
    struct extents *extents = aligned_alloc(LINE, sizeof(*extents));
    size_t least_bytes;
    if (extents == NULL || db_geometry(load->capacity_bytes, load->writers, load->max_bytes,
                                       &extents->geometry, &least_bytes) < 0)
        die("memcpy", 0);
    extents->next = 0;
    extents->memory = resident_memory(2 * (size_t)extents->geometry.extent_count *
                                      extents->geometry.extent_bytes);
    return extents;
}

static void write_all(void *queue, struct lane *lane)
{
    struct extents *extents = queue;
    const size_t extent_bytes = extents->geometry.extent_bytes;
    const uint64_t count = 2 * (uint64_t)extents->geometry.extent_count;
    unsigned char *extent = NULL;
    size_t used = extent_bytes;
    struct block block;
    while (lane_next(lane, &block)) {
        if (used + block.bytes > extent_bytes) {
            uint64_t next = __atomic_fetch_add(&extents->next, 1, __ATOMIC_RELAXED);
            extent = extents->memory + next % count * extent_bytes;
            used = 0;
        }
        memcpy(extent + used, block.data, block.bytes);
        used += (block.bytes + 7) & ~(size_t)7;
    }
}

const struct contestant plain_memcpy = {"memcpy", open_extents, write_all, NULL, NULL};
