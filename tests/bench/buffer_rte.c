/* SPDX-License-Identifier: MIT
 *
 * DPDK's rte_ring in its relaxed-tail mode, which is meant for more threads than cores. It needs
 * neither huge pages nor the environment layer: the ring is set up in memory of our own.
 */
#include <rte_ring.h>
#include <sched.h>

#include "buffer_node.h"

enum { BULK = 256 };

static void *open_queue(struct load *load)
{
    const unsigned most = nodes_most(load, 0);
    const ssize_t bytes = rte_ring_get_memsize(most);
    struct rte_ring *ring = (void *)resident_memory((size_t)bytes);
    int rc = rte_ring_init(ring, "bench", most, RING_F_MP_RTS_ENQ | RING_F_SC_DEQ);
    if (rc < 0)
        die("rte_ring_init", -rc);
    nodes_open(load, NODES_ARENA, 0);
    return ring;
}

static void write_all(void *queue, struct lane *lane)
{
    struct block block;
    while (lane_next(lane, &block)) {
        struct node *node = node_new(lane, &block);
        while (rte_ring_enqueue(queue, node) != 0)
            sched_yield();
    }
}

static void read_all(void *queue, struct tally *tally)
{
    void *nodes[BULK];
    do {
        unsigned count;
        while ((count = rte_ring_dequeue_burst(queue, nodes, BULK, NULL)) != 0)
            for (unsigned i = 0; i < count; i++)
                node_done(tally, nodes[i]);
    } while (tally_idle(tally));
}

const struct contestant rte_ring_rts = {"rte_ring", open_queue, write_all, read_all, NULL};
