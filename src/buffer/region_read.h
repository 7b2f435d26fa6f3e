/* SPDX-License-Identifier: MIT
 *
 * What a region still holds when its process has ended: the blocks that were published and are in
 * epochs that were not stored. There are up to two such epochs: a half that was sealed, and maybe
 * being stored, and then the half that was open.
 *
 * Nothing in the region is trusted: it may be any bytes. Pure, but for the headers that are put right
 * in place, so that the same call again says the same again. One thread; nobody else may write to
 * the region.
 */
#ifndef DBUFD_BUFFER_REGION_READ_H
#define DBUFD_BUFFER_REGION_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"

struct region_view {
    struct control *control; /* run.name and run.path are ended by a zero */
    unsigned char *halves[2];
    uint32_t extent_bytes; /* as in struct db_geometry */
    uint32_t extent_count;
    uint32_t writer_count;
    uint32_t first_epoch; /* the oldest that was not stored */
    uint32_t epoch_count; /* 0 to 2 */
};

/* Looks at the `bytes` bytes at `map`. 0: *ret says what is there. -ENODATA: a region that no writer
 * was ever let into; -ENOTSUP: a region of another version; -EBADMSG: no region, or one whose words
 * contradict each other. */
int region_look(void *map, size_t bytes, struct region_view *ret);

/* Extent `index` of an unstored epoch, its blocks right and its header fit to be stored; or NULL if it
 * holds no block that can be read. *ret_damaged: its blocks did not add up as they should; what could
 * be read in front of that is what is given. */
struct extent_header *region_extent(const struct region_view *view, uint32_t epoch, uint32_t index,
                                    bool *ret_damaged);

/* What is in the unstored epochs, all together. Changes nothing. */
struct region_content {
    uint64_t extents, blocks;
    uint64_t bytes;   /* of data */
    uint64_t damaged; /* extents */
};
struct region_content region_content(const struct region_view *view);

/* The epoch first_epoch is stored: it will not be seen again, by this process or any other. */
void region_stored(struct region_view *view);

#endif
