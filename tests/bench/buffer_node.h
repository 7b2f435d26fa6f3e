/* SPDX-License-Identifier: MIT
 *
 * Blocks for queues, which carry pointers: a node is the block with its writer and sequence. The
 * bound of bytes in flight, which no queue has, is a credit of each lane, given back by the reader
 * an eighth at a time: a writer compares two numbers of its own, and sleeps on a futex when its
 * share is used up. That costs the queue no atomic operation a block.
 *
 * A node lies in its lane's arena (its share of the bound, used round and round, since a queue
 * keeps the order of one writer), or comes from malloc (jemalloc is linked) and is freed by the
 * reader.
 */
#ifndef DBUFD_BENCH_BUFFER_NODE_H
#define DBUFD_BENCH_BUFFER_NODE_H

#include <stdlib.h>
#include <string.h>

#include "buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum nodes { NODES_ARENA, NODES_MALLOC };

struct node {
    uint32_t bytes;
    uint32_t writer;
    uint64_t seq;
};

/* Gives every lane its share. BENCH_NODES=arena|malloc overrides what the contestant does best
 * with. */
void nodes_open(struct load *load, enum nodes nodes, size_t link_bytes);

/* Most nodes that fit in the bound, as a power of two: what a ring must be able to hold. */
unsigned nodes_most(const struct load *load, size_t link_bytes);

/* Sleeps until the lane has `need` bytes of its share left. */
void lane_wait(struct lane *lane, size_t need);

/* Tells the lane its new credit. */
void lane_give(struct lane *lane, uint64_t given);

static inline size_t node_bytes(size_t link_bytes, size_t bytes)
{
    return link_bytes + sizeof(struct node) + ((bytes + 7) & ~(size_t)7);
}

/* A node is in one piece: if it would not be, it goes to the start, and the rest is left out. */
static inline bool node_wraps(const struct lane *lane, size_t at, size_t need)
{
    return lane->arena != NULL && at + need > lane->share;
}

/* The block, copied. */
static inline struct node *node_new(struct lane *lane, const struct block *block)
{
    const size_t need = node_bytes(lane->link_bytes, block->bytes);
    const bool wraps = node_wraps(lane, lane->at, need);
    const size_t skip = wraps ? lane->share - lane->at : 0;
    if (lane->taken + skip + need - lane->given > lane->share)
        lane_wait(lane, skip + need);
    unsigned char *room;
    if (lane->arena != NULL) {
        const size_t at = wraps ? 0 : lane->at;
        room = lane->arena + at;
        lane->at = at + need;
    } else {
        room = (unsigned char *)malloc(need);
        if (room == NULL)
            die("malloc", 0);
    }
    lane->taken += skip + need;
    struct node *node = (struct node *)(void *)(room + lane->link_bytes);
    node->bytes = (uint32_t)block->bytes;
    node->writer = lane->writer;
    node->seq = block->seq;
    memcpy(node + 1, block->data, block->bytes);
    return node;
}

/* The reader has taken it out: checks it and gives it back. */
static inline void node_done(struct tally *tally, struct node *node)
{
    const unsigned writer = node->writer;
    tally_blocks(tally, writer, node->seq, 1);
    struct lane *lane = &tally->load->lanes[writer];
    const size_t need = node_bytes(lane->link_bytes, node->bytes);
    const size_t at = tally->at[writer];
    const bool wraps = node_wraps(lane, at, need);
    const size_t skip = wraps ? lane->share - at : 0;
    tally->at[writer] = wraps ? need : at + need;
    const uint64_t before = tally->given[writer];
    tally->given[writer] = before + skip + need;
    if (lane->arena == NULL)
        free((unsigned char *)node - lane->link_bytes);
    if (before / (lane->share / 8) != tally->given[writer] / (lane->share / 8))
        lane_give(lane, tally->given[writer]);
}

#ifdef __cplusplus
}
#endif
#endif
