/* SPDX-License-Identifier: MIT
 *
 * moodycamel::ConcurrentQueue, at its best: a producer token for each writer, taken out in bulk.
 */
#include <concurrentqueue/concurrentqueue.h>

#include "buffer_node.h"

namespace
{
using queue_type = moodycamel::ConcurrentQueue<node *>;
constexpr size_t BULK = 256;

void *open_queue(load *load, nodes nodes)
{
    nodes_open(load, nodes, 0);
    return new queue_type(nodes_most(load, 0), load->writers, 0);
}

void *open_with_arena(load *load)
{
    return open_queue(load, NODES_ARENA);
}

void *open_with_malloc(load *load)
{
    return open_queue(load, NODES_MALLOC);
}

void write_all(void *q, lane *lane)
{
    auto *queue = static_cast<queue_type *>(q);
    moodycamel::ProducerToken token(*queue);
    block block;
    while (lane_next(lane, &block))
        if (!queue->enqueue(token, node_new(lane, &block)))
            die("moodycamel: enqueue", 0);
}

void read_all(void *q, tally *tally)
{
    auto *queue = static_cast<queue_type *>(q);
    moodycamel::ConsumerToken token(*queue);
    node *nodes[BULK];
    do {
        size_t count;
        while ((count = queue->try_dequeue_bulk(token, nodes, BULK)) != 0)
            for (size_t i = 0; i < count; i++)
                node_done(tally, nodes[i]);
    } while (tally_idle(tally));
}
} // namespace

const contestant moodycamel_queue = {"moodycamel", open_with_arena, write_all, read_all, nullptr};
const contestant moodycamel_malloc = {"moodycamel+malloc", open_with_malloc, write_all, read_all,
                                      nullptr};
