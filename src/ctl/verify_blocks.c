/* SPDX-License-Identifier: MIT
 *
 * The blocks of one extent, which is whole.
 */
#include <string.h>

#include "../source/random.h"
#include "verify_blocks.h"

struct block_sums block_sums(const struct scan_extent *extent)
{
    struct block_sums sums = {.first_ns = UINT64_MAX};
    const struct block_header *block;
    const unsigned char *data;
    size_t position = 0;

    if (extent->header->flags & EXTENT_CHECKPOINT) {
        return sums;
    }
    while (scan_block(extent->data, extent->header->used, &position, &block, &data) == 1) {
        sums.blocks++;
        sums.bytes += block->length;
        sums.first_ns = block->time_ns < sums.first_ns ? block->time_ns : sums.first_ns;
        sums.last_ns = block->time_ns > sums.last_ns ? block->time_ns : sums.last_ns;
    }
    return sums;
}

struct random_parameters blocks_random(const struct scan_extent *checkpoint)
{
    const struct checkpoint_writer *writers;
    const struct checkpoint *stated =
        scan_checkpoint(checkpoint->data, checkpoint->header->used, &writers);
    if (stated == NULL || stated->random == 0) {
        return (struct random_parameters){0};
    }
    return (struct random_parameters){.random = 1,
                                      .min_block = stated->min_block,
                                      .max_block = stated->max_block,
                                      .seed = stated->seed};
}

bool block_is_random(const struct random_parameters *random, unsigned writer, uint64_t number,
                     const struct block_header *block, const unsigned char *data,
                     unsigned char *room)
{
    if (block->length !=
        random_block_bytes(random->seed, writer, number, random->min_block, random->max_block)) {
        return false;
    }
    random_block_fill(random->seed, writer, number, room, block->length);
    return memcmp(room, data, block->length) == 0;
}

bool blocks_are_random(const struct random_parameters *random, const struct scan_extent *extent,
                       unsigned char *room)
{
    const struct extent_header *header = extent->header;
    const struct block_header *block;
    const unsigned char *data;
    uint64_t number = header->first_block;
    size_t position = 0;

    while (scan_block(extent->data, header->used, &position, &block, &data) == 1) {
        if (!block_is_random(random, header->writer, number++, block, data, room)) {
            return false;
        }
    }
    return true;
}

bool random_is_same(const struct random_parameters *a, const struct random_parameters *b)
{
    return a->random == b->random && a->seed == b->seed && a->min_block == b->min_block &&
           a->max_block == b->max_block;
}
