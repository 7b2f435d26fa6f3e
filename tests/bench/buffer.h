/* SPDX-License-Identifier: MIT
 *
 * What the benchmark of the double buffer and its contestants share: the load, which is the same
 * for all, and one small interface, so that each contestant is one small file.
 *
 *   load    who copies what: so many writers, each with a source buffer and a row of lengths
 *   lane    one writer's side of a load
 *   tally   the reader's side: what it has seen of each writer
 *   node    a block in memory of its own, for queues, which carry pointers (buffer_node.h)
 *
 * Every contestant copies each block from its lane's source into memory of its own, and its reader
 * checks the writer and the sequence of each block. Sources are 16 KiB a lane, as if the block had
 * just been produced. This header is read by C and by C++, hence the atomic builtins.
 */
#ifndef DBUFD_BENCH_BUFFER_H
#define DBUFD_BENCH_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BLOCK_BYTES_MOST = 10000,
    LENGTHS = 4096, /* of a lane, over and over */
    SOURCE_BYTES = 16 << 10,
    SOURCE_OFFSETS = 64, /* where in the source a block begins, one line apart */
    WRITERS_MOST = 64,
    LINE = 64
};

struct lane {
    const unsigned char *source;
    const uint32_t *lengths;
    uint64_t seq;     /* of its next block */
    uint64_t end;     /* it stops before this sequence; atomic, as fairness ends by the clock */
    uint32_t *ticks;  /* how long each block took; NULL: is not measured */
    uint64_t started; /* tick at which the block in hand began */
    unsigned writer;
    /* Of queues alone, see buffer_node.h. */
    unsigned char *arena;                           /* its own; NULL: nodes come from malloc */
    size_t share;                                   /* bytes that it may have in flight */
    size_t link_bytes;                              /* in front of each node, for the queue */
    size_t at;                                      /* where in the arena the next node begins */
    uint64_t taken;                                 /* bytes of nodes so far */
    uint64_t given;                                 /* the credit as it was seen last */
    uint64_t credit __attribute__((aligned(LINE))); /* atomic: bytes that the reader gave back */
    uint32_t waiting;                               /* atomic, futex: it sleeps on the credit */
} __attribute__((aligned(LINE)));

struct load {
    unsigned writers;
    size_t min_bytes, max_bytes;
    size_t capacity_bytes; /* in flight at most */
    struct lane *lanes;
    uint64_t blocks; /* atomic: written in all, once that is known; UINT64_MAX before */
};

struct block {
    const unsigned char *data;
    size_t bytes;
    uint64_t seq;
};

static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
    unsigned core;
    uint64_t ticks = __rdtscp(&core);
    _mm_lfence();
    return ticks;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
#endif
}

/* The next block that the lane has to write. Whatever the caller does until it calls again counts
 * as the time of this block. False: there is no more. */
static inline bool lane_next(struct lane *lane, struct block *ret)
{
    const uint64_t seq = lane->seq;
    if (lane->ticks != NULL && seq != 0)
        lane->ticks[seq - 1] = (uint32_t)(ticks_now() - lane->started);
    if (seq >= __atomic_load_n(&lane->end, __ATOMIC_RELAXED))
        return false;
    ret->data = lane->source + (seq % SOURCE_OFFSETS) * LINE;
    ret->bytes = lane->lengths[seq % LENGTHS];
    ret->seq = seq;
    lane->seq = seq + 1;
    if (lane->ticks != NULL)
        lane->started = ticks_now();
    return true;
}

struct tally {
    struct load *load;
    uint64_t blocks;             /* seen in all */
    uint64_t next[WRITERS_MOST]; /* sequence that must come next of each */
    /* Of queues alone. */
    size_t at[WRITERS_MOST];      /* follows the lane's at */
    uint64_t given[WRITERS_MOST]; /* bytes */
};

/* Ends the process: the contestant has lost, doubled, changed or reordered something. */
void tally_fail(const struct tally *tally, unsigned writer, uint64_t seq) __attribute__((noreturn));

/* `count` blocks of `writer`, from `seq` on, have come out. */
static inline void tally_blocks(struct tally *tally, unsigned writer, uint64_t seq, uint64_t count)
{
    if (writer >= tally->load->writers || tally->next[writer] != seq)
        tally_fail(tally, writer, seq);
    tally->next[writer] = seq + count;
    tally->blocks += count;
}

/* For readers that find nothing: lets others run. False: everything was read. */
bool tally_idle(struct tally *tally);

struct contestant {
    const char *name;
    /* Before the clock starts. Ends the process if it cannot. There is no close: every round is a
     * process of its own, whose end gives everything back. */
    void *(*open)(struct load *load);
    void (*write_all)(void *queue, struct lane *lane);
    void (*read_all)(void *queue, struct tally *tally); /* NULL: has no reader */
    void (*writers_done)(void *queue);                  /* NULL: need not know */
};

extern const struct contestant dbufd_by_extent, dbufd_by_block, plain_memcpy, mutex_double_buffer,
    moodycamel_queue, moodycamel_malloc, wfcqueue, ck_ring_mpsc, gasyncqueue, rte_ring_rts;

/* Ends the process with a message: a benchmark that cannot run has no result. */
void die(const char *what, int error) __attribute__((noreturn));

/* Writes to every page, changing nothing. A virtual machine may get a page from its host only now,
 * even if its own kernel has given it long ago; that is not what is to be measured. */
void touch(void *memory, size_t bytes);

/* `bytes` of resident memory, of the same kind that the double buffer lives in. */
unsigned char *resident_memory(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
