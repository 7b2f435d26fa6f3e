/* SPDX-License-Identifier: MIT
 *
 * Blocks that can be made again, for tests with many threads: writer w's block i has a length and a
 * content that depend on the seed, w and i alone, flags that are w, and a time that is i.
 */
#ifndef DBUFD_TESTS_STRESS_BLOCKS_H
#define DBUFD_TESTS_STRESS_BLOCKS_H

#include <stdint.h>

#include "../../src/buffer/db.h"
#include "../../src/source/random.h"

struct blocks {
    uint64_t seed;
    unsigned writer_count;
    size_t min_block, max_block;
};

/* Puts block `index` of the writer at the room that db_write_begin gave. Returns its length. */
static inline size_t blocks_fill(const struct blocks *blocks, unsigned writer, uint64_t index,
                                 void *room)
{
    const size_t bytes =
        random_block_bytes(blocks->seed, writer, index, blocks->min_block, blocks->max_block);
    random_block_fill(blocks->seed, writer, index, room, bytes);
    return bytes;
}

/* Compares every byte of an extent with what was put in; next[w] is the sequence that writer w must
 * go on with, and is moved on. */
static inline void blocks_check(const struct blocks *blocks, const struct extent_header *extent,
                                uint64_t *next)
{
    static unsigned char wanted[FORMAT_BLOCK_MAX];
    const unsigned char *at = (const void *)(extent + 1);
    const unsigned char *end = at + extent->used;
    assert_true(extent->writer < blocks->writer_count);
    assert_int_equal(extent->first_block, next[extent->writer]);
    for (uint32_t i = 0; i < extent->block_count; i++) {
        const uint64_t sequence = next[extent->writer]++;
        const struct block_header *block = (const void *)at;
        const size_t bytes = blocks_fill(blocks, extent->writer, sequence, wanted);
        assert_int_equal(block->length, bytes);
        assert_int_equal(block->flags, extent->writer);
        assert_int_equal(block->time_ns, sequence);
        assert_memory_equal(block + 1, wanted, bytes);
        at += block_bytes(bytes);
    }
    assert_ptr_equal(at, end);
}

#endif
