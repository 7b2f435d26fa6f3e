/* SPDX-License-Identifier: MIT
 *
 * What a double buffer is made of: for db.c (the protocol) and db_open.c (its life, and what others may
 * know of it) alone.
 */
#ifndef DBUFD_BUFFER_DB_PARTS_H
#define DBUFD_BUFFER_DB_PARTS_H

#include <time.h>

#include "control.h"
#include "db.h"

/* Legend of the members: [I]mmutable after db_open, [W]riter's own, [R]eader's own, [S]hared. Those of
 * the region are in control.h. */

enum busy { BUSY_NONE, BUSY_CLAIMING, BUSY_IN_A, BUSY_IN_B };

struct db_writer {
    /* What a block touches: one line. */
    _Alignas(LINE_BYTES) _Atomic uint32_t busy; /* [S] enum busy */
    enum busy busy_in;                          /* [W] what busy is inside its extent's half */
    struct live_header *extent;                 /* [W] NULL before the first */
    uint64_t published;                         /* [W] what its extent's header says */
    uint32_t epoch;                             /* [W] of its extent */
    uint32_t room;           /* [W] bytes that fit behind its header; 0: no extent */
    uint32_t number;         /* [I] 1 + index */
    bool fenced;             /* [I] no membarrier: see B2 */
    struct control *control; /* [I] */
    _Atomic uint64_t blocks; /* [S] written by it: see struct db_account */
    _Atomic uint64_t bytes;  /* [S] */

    struct db *db;                                /* [I] */
    uint64_t first_block;                         /* [I] sequence of its first block in this run */
    _Atomic uint64_t held_ns;                     /* [S] */
    _Atomic uint64_t hold_times[DB_HOLD_CLASSES]; /* [S] */
};
static_assert(offsetof(struct db_writer, db) == LINE_BYTES, "what a block touches is one line");

struct db {
    struct region region;        /* [I] */
    struct control *control;     /* [I] */
    unsigned char *halves[2];    /* [I] */
    struct db_geometry geometry; /* [I] */
    unsigned writer_count;       /* [I] */
    bool fenced;                 /* [I] */
    bool spin;                   /* [I] */
    uint32_t reading;            /* [R] the epoch that it reads next, or is storing */
    uint64_t opened_ns;          /* [R] when that epoch was seen to open */
    struct db_writer *writers;   /* [I] the array; each element is its writer's */
};

/* The words in memory: see the head of db.c. */

static inline uint32_t epoch_of(uint64_t claim)
{
    return (uint32_t)(claim >> 32);
}

static inline uint32_t next_of(uint64_t claim)
{
    return (uint32_t)claim;
}

static inline uint64_t claim_of(uint32_t epoch)
{
    return (uint64_t)epoch << 32;
}

static inline uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
