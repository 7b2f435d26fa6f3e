/* SPDX-License-Identifier: MIT
 *
 * What lies in a region: the control pages, and behind them half A and half B.
 *
 * The control pages hold the words of the protocol (see db.c) and, as a region may outlive its
 * process, all that whoever finds it must know: how it is cut up, whose blocks they are, what was
 * being stored and where. It is an interface between two processes and maybe two versions of dbufd:
 * a change of anything here, or of struct extent_header, is a new REGION_VERSION.
 *
 * Legend of the members: [I]mmutable once magic is there, [R]eader's own, [S]hared between threads,
 * [F]inder's own: of the process that found the region.
 */
#ifndef DBUFD_BUFFER_CONTROL_H
#define DBUFD_BUFFER_CONTROL_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "../disk/format.h"

enum {
    LINE_BYTES = 64, /* of a cache line */
    REGION_VERSION = 2,
    REGION_CONTROL_BYTES = 12288, /* of the control pages */
    REGION_NAME_BYTES = 32,
    REGION_PATH_BYTES = 4096,
    REGION_EXTENT_LEAST = 4096, /* bytes: extents of halves are a power of two between these */
    REGION_EXTENT_MOST = 2 << 20
};

#define REGION_MAGIC 0x314e475266754264ULL /* "dBufRGN1" */

/* Whose blocks a region holds. The buffer only keeps it. */
struct region_run {
    uint8_t stream_uuid[16];
    uint64_t begun_ns;      /* CLOCK_REALTIME */
    uint64_t segment_bytes; /* as configured when the region was made */
    uint64_t seed;          /* with random, min_block and max_block: as in struct checkpoint */
    uint32_t random;
    uint32_t min_block, max_block;
    uint32_t format;              /* enum store_format */
    char name[REGION_NAME_BYTES]; /* of the region; unique, and fit for a descriptor or a file */
    char path[REGION_PATH_BYTES]; /* output_file_path, absolute */
    char failover_path[REGION_PATH_BYTES]; /* likewise; "": none */
};

/* Where a half is being stored: bytes from `position` on of what is stored of it are at `offset` and
 * behind it in the output's file `number`. Written before the first of them. */
struct region_target {
    uint32_t epoch;
    uint32_t reserved; /* 0 */
    uint64_t number;   /* of the file, by its name; 0: without one */
    uint64_t offset;
    uint64_t position;
};

struct control {
    _Alignas(LINE_BYTES) _Atomic uint64_t claim; /* [S] */
    /* [S] number of the writer on whose busy word the reader sleeps, or 0. On claim's line, which
     * every writer has at hand anyway. */
    _Atomic uint32_t draining;
    _Alignas(LINE_BYTES) _Atomic uint32_t stored; /* [S] written by the reader, or [F] */
    _Atomic uint32_t closed;                      /* [S] */
    _Atomic uint32_t held;                        /* [S] writers that sleep */

    _Alignas(LINE_BYTES) _Atomic uint64_t magic; /* [S] stored last of all, before any block */
    uint32_t version;                            /* [I] REGION_VERSION */
    uint32_t control_bytes;                      /* [I] REGION_CONTROL_BYTES */
    uint32_t extent_bytes;                       /* [I] */
    uint32_t extent_count;                       /* [I] of one half */
    uint32_t writer_count;                       /* [I] */
    _Atomic uint32_t attempts;                   /* [F] to store what is in here */
    _Atomic uint32_t target;                     /* [R] the one of the two that holds */
    struct region_target targets[2];             /* [R] */
    struct region_run run;                       /* [I] */
};
static_assert(sizeof(struct control) <= REGION_CONTROL_BYTES, "the control pages hold it");
static_assert(offsetof(struct control, magic) == 128, "where every version has it");
static_assert(offsetof(struct control, run) == 232, "no room is lost, on any compiler");

/* An extent's header while it is in the buffer: the same 64 bytes as struct extent_header. */
struct live_header {
    uint32_t magic;
    uint16_t version;
    uint16_t writer; /* [W] */
    uint32_t flags;
    _Atomic uint32_t epoch; /* [S] which half the rest belongs to */
    uint64_t seq;
    uint64_t first_block;       /* [W] */
    _Atomic uint64_t published; /* [S] {used:32 | block_count:32} */
    uint64_t time_ns;           /* [W] */
    uint32_t dropped;           /* [W] */
    uint32_t place;
    uint32_t data_crc;
    uint32_t header_crc;
};
static_assert(sizeof(struct live_header) == sizeof(struct extent_header), "one header, two views");
static_assert(offsetof(struct live_header, epoch) == offsetof(struct extent_header, epoch),
              "epoch");
static_assert(offsetof(struct live_header, published) ==
                  offsetof(struct extent_header, block_count),
              "published covers block_count and used");
static_assert(offsetof(struct live_header, dropped) == offsetof(struct extent_header, dropped),
              "dropped");

/* From here on it is a region. */
static inline void control_open(struct control *control)
{
    atomic_store_explicit(&control->magic, REGION_MAGIC, memory_order_release);
}

/* A kill may come between any two stores: the one that does not hold is written, then it holds. */
static inline void control_set_target(struct control *control, const struct region_target *target)
{
    const uint32_t other = !atomic_load_explicit(&control->target, memory_order_relaxed);

    control->targets[other] = *target;
    atomic_store_explicit(&control->target, other, memory_order_release);
}

static inline struct region_target control_target(const struct control *control)
{
    return control->targets[atomic_load_explicit(&control->target, memory_order_acquire) & 1];
}

#endif
