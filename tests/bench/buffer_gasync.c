/* SPDX-License-Identifier: MIT
 *
 * GLib's GAsyncQueue. Its reader takes the lock once for many nodes, and sleeps in it while there
 * is none.
 */
#include <glib.h>

#include "buffer_node.h"

enum { BULK = 256 };

static void *open_queue(struct load *load)
{
    nodes_open(load, NODES_ARENA, 0);
    return g_async_queue_new();
}

static void write_all(void *queue, struct lane *lane)
{
    struct block block;
    while (lane_next(lane, &block))
        g_async_queue_push(queue, node_new(lane, &block));
}

static void read_all(void *queue, struct tally *tally)
{
    struct node *nodes[BULK];
    do {
        size_t count;
        do {
            g_async_queue_lock(queue);
            for (count = 0; count < BULK; count++)
                if ((nodes[count] = g_async_queue_try_pop_unlocked(queue)) == NULL)
                    break;
            g_async_queue_unlock(queue);
            for (size_t i = 0; i < count; i++)
                node_done(tally, nodes[i]);
        } while (count != 0);
    } while (tally_idle(tally));
}

const struct contestant gasyncqueue = {"gasyncqueue", open_queue, write_all, read_all, NULL};
