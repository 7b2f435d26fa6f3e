/* SPDX-License-Identifier: MIT
 *
 * The same double buffer as one would write it at first: two halves, a mutex, two condition
 * variables. A small block is copied with the mutex held, which is cheaper than taking it twice;
 * for a large one room is taken with it, and the copy made without.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

enum { COPY_INSIDE_BYTES = 512 };

struct entry {
    uint32_t bytes;
    uint32_t writer;
    uint64_t seq;
};

struct half {
    unsigned char *memory;
    size_t used;
    unsigned copying; /* writers that have room in it and are not done */
    bool sealed;
};

struct buffer {
    pthread_mutex_t mutex;
    pthread_cond_t room;  /* a half was freed */
    pthread_cond_t ready; /* a half is sealed and nobody copies into it */
    size_t half_bytes;
    unsigned open;
    bool done;
    struct half halves[2];
};

static void *open_buffer(struct load *load)
{
    struct buffer *b = calloc(1, sizeof(*b));
    if (b == NULL)
        die("mutex", 0);
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->room, NULL);
    pthread_cond_init(&b->ready, NULL);
    b->half_bytes = load->capacity_bytes / 2;
    b->halves[0].memory = resident_memory(b->half_bytes);
    b->halves[1].memory = resident_memory(b->half_bytes);
    return b;
}

static void seal(struct buffer *b, struct half *half)
{
    half->sealed = true;
    b->open ^= 1;
    if (half->copying == 0)
        pthread_cond_signal(&b->ready);
}

/* With the mutex: `need` bytes in the open half, waiting for it if must be. */
static struct half *take_room(struct buffer *b, size_t need)
{
    for (;;) {
        struct half *half = &b->halves[b->open];
        if (half->used + need <= b->half_bytes)
            return half;
        if (b->halves[b->open ^ 1].sealed)
            pthread_cond_wait(&b->room, &b->mutex);
        else
            seal(b, half);
    }
}

static void write_block(struct buffer *b, const struct lane *lane, const struct block *block)
{
    const size_t need = sizeof(struct entry) + ((block->bytes + 7) & ~(size_t)7);
    const bool inside = block->bytes <= COPY_INSIDE_BYTES;
    pthread_mutex_lock(&b->mutex);
    struct half *half = take_room(b, need);
    struct entry *entry = (void *)(half->memory + half->used);
    half->used += need;
    if (!inside) {
        half->copying++;
        pthread_mutex_unlock(&b->mutex);
    }
    *entry = (struct entry){(uint32_t)block->bytes, lane->writer, block->seq};
    memcpy(entry + 1, block->data, block->bytes);
    if (!inside) {
        pthread_mutex_lock(&b->mutex);
        if (--half->copying == 0 && half->sealed)
            pthread_cond_signal(&b->ready);
    }
    pthread_mutex_unlock(&b->mutex);
}

static void write_all(void *queue, struct lane *lane)
{
    struct block block;
    while (lane_next(lane, &block))
        write_block(queue, lane, &block);
}

static void read_half(struct half *half, struct tally *tally)
{
    for (size_t at = 0; at < half->used;) {
        const struct entry *entry = (const void *)(half->memory + at);
        tally_blocks(tally, entry->writer, entry->seq, 1);
        at += sizeof(*entry) + ((entry->bytes + 7) & ~(size_t)7);
    }
}

static void read_all(void *queue, struct tally *tally)
{
    struct buffer *b = queue;
    unsigned reading = 0;
    pthread_mutex_lock(&b->mutex);
    for (;;) {
        struct half *half = &b->halves[reading];
        if (half->sealed && half->copying == 0) {
            pthread_mutex_unlock(&b->mutex);
            read_half(half, tally);
            pthread_mutex_lock(&b->mutex);
            half->used = 0;
            half->sealed = false;
            pthread_cond_broadcast(&b->room);
            reading ^= 1;
        } else if (b->done && half->used != 0) {
            seal(b, half);
        } else if (b->done) {
            break;
        } else {
            pthread_cond_wait(&b->ready, &b->mutex);
        }
    }
    pthread_mutex_unlock(&b->mutex);
}

static void writers_done(void *queue)
{
    struct buffer *b = queue;
    pthread_mutex_lock(&b->mutex);
    b->done = true;
    pthread_cond_signal(&b->ready);
    pthread_mutex_unlock(&b->mutex);
}

const struct contestant mutex_double_buffer = {"mutex", open_buffer, write_all, read_all,
                                               writers_done};
