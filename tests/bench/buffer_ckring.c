/* SPDX-License-Identifier: MIT
 *
 * Concurrency Kit's ck_ring, many producers and one consumer. A producer that is preempted between
 * its reservation and its commit keeps all others spinning.
 */
#include <ck_ring.h>
#include <sched.h>

#include "buffer_node.h"

struct queue {
    ck_ring_t ring;
    ck_ring_buffer_t *slots;
};

static void *open_queue(struct load *load)
{
    struct queue *q = aligned_alloc(LINE, (sizeof(*q) + LINE - 1) / LINE * LINE);
    if (q == NULL)
        die("ck_ring", 0);
    const unsigned most = nodes_most(load, 0);
    q->slots = (void *)resident_memory(most * sizeof(*q->slots));
    ck_ring_init(&q->ring, most);
    nodes_open(load, NODES_ARENA, 0);
    return q;
}

static void write_all(void *queue, struct lane *lane)
{
    struct queue *q = queue;
    struct block block;
    while (lane_next(lane, &block)) {
        struct node *node = node_new(lane, &block);
        while (!ck_ring_enqueue_mpsc(&q->ring, q->slots, node))
            sched_yield();
    }
}

static void read_all(void *queue, struct tally *tally)
{
    struct queue *q = queue;
    struct node *node;
    do {
        while (ck_ring_dequeue_mpsc(&q->ring, q->slots, &node))
            node_done(tally, node);
    } while (tally_idle(tally));
}

const struct contestant ck_ring_mpsc = {"ck_ring", open_queue, write_all, read_all, NULL};
