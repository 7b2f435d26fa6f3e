/* SPDX-License-Identifier: MIT
 *
 * liburcu's wfcqueue: a wait-free exchange to put in, and all that is there taken out at a time.
 */
#define _LGPL_SOURCE /* inline */
#include <urcu/wfcqueue.h>

#include "buffer_node.h"

struct queue {
    struct cds_wfcq_head head;
    struct cds_wfcq_tail tail __attribute__((aligned(LINE)));
};

static void *open_queue(struct load *load)
{
    struct queue *q = aligned_alloc(LINE, sizeof(*q));
    if (q == NULL)
        die("wfcqueue", 0);
    cds_wfcq_init(&q->head, &q->tail);
    nodes_open(load, NODES_ARENA, sizeof(struct cds_wfcq_node));
    return q;
}

static void write_all(void *queue, struct lane *lane)
{
    struct queue *q = queue;
    struct block block;
    while (lane_next(lane, &block)) {
        struct cds_wfcq_node *link = (struct cds_wfcq_node *)(void *)node_new(lane, &block) - 1;
        cds_wfcq_node_init(link);
        cds_wfcq_enqueue(&q->head, &q->tail, link);
    }
}

static void read_all(void *queue, struct tally *tally)
{
    struct queue *q = queue;
    struct queue got;
    cds_wfcq_init(&got.head, &got.tail);
    do {
        while (__cds_wfcq_splice_blocking(&got.head, &got.tail, &q->head, &q->tail) !=
               CDS_WFCQ_RET_SRC_EMPTY) {
            struct cds_wfcq_node *link;
            while ((link = __cds_wfcq_dequeue_blocking(&got.head, &got.tail)) != NULL)
                node_done(tally, (struct node *)(void *)(link + 1));
        }
    } while (tally_idle(tally));
}

const struct contestant wfcqueue = {"wfcqueue", open_queue, write_all, read_all, NULL};
