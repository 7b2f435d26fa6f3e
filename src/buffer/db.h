/* SPDX-License-Identifier: MIT
 *
 * db: the lock-free double buffer. N writers put blocks in, one reader takes full halves out.
 *
 *   half      buffer A or B; one is open, the other is sealed, being stored, or free
 *   extent    a fixed slice of a half, filled by one writer alone, and the unit that is stored
 *   epoch     counts the swaps; half = epoch & 1
 *   claim     take an extent        publish  make a block count
 *   swap      the other half opens  seal     no new block starts in a half
 *   held      a writer that waits for room
 *
 *     each writer, in its own thread            the reader, in its own thread
 *       room = db_write_begin(w, max);            while ((rc = db_read(db, flush_ns, &half)) != 0)
 *       ... put up to max bytes there ...             if (rc == 1) {
 *       db_write_end(w, bytes, flags, time);              ... store half's extents ...
 *                                                         db_release(db);
 *                                                     }
 *
 * Progress, exactly: claim and publish are wait-free while there is room (one fetch_add for an
 * extent, plain stores for a block, no system call). A swap is lock-free. Two things wait, and both
 * sleep in the kernel: a held writer, until the reader has stored a half; and the reader, for at
 * most the one block that each writer had in flight when the half was sealed. Nothing spins.
 *
 * Order: the blocks of one writer come out in the order in which it put them in. Between writers
 * there is none.
 *
 * The protocol and the reasons for it are at the head of db.c.
 */
#ifndef DBUFD_BUFFER_DB_H
#define DBUFD_BUFFER_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../disk/format.h"
#include "region.h"

struct db;
struct db_writer;
struct region_run; /* control.h: for those who keep the region */
struct region_target;

/* How a capacity is cut up. */
struct db_geometry {
    uint32_t extent_bytes; /* a power of two, 4 KiB to 2 MiB */
    uint32_t extent_count; /* of one half */
};

/* Cuts `capacity_bytes` (both halves together) for so many writers and blocks of up to
 * `max_block_bytes`. -ENOSPC if it is too small: then *ret_least_bytes is what would do.
 * -EINVAL for 0 or too many writers, or a block size over FORMAT_BLOCK_MAX. Pure. */
int db_geometry(size_t capacity_bytes, unsigned writer_count, size_t max_block_bytes,
                struct db_geometry *ret, size_t *ret_least_bytes);

struct db_options {
    struct db_geometry geometry;
    unsigned writer_count;      /* 1 to FORMAT_WRITERS_MAX */
    const uint64_t *next_block; /* first sequence of each writer; NULL: all 0 */
    uint32_t first_epoch;       /* any; tests start at the edge of the wrap */
    bool spin;                  /* held writers spin: only where each has a core to itself */
    /* The memory to live in, zeroed and of at least db_region_bytes; NULL: a region of its own. It is
     * the double buffer's when db_open has succeeded. */
    const struct region *region;
    const struct region_run *run; /* kept there for whoever finds it after a crash; NULL: zeros */
};

/* Bytes of a region with this geometry. Pure. */
size_t db_region_bytes(const struct db_geometry *geometry);

/* Makes an empty double buffer, with half (first_epoch & 1) open. Allocates, may wait for the
 * kernel. On failure: -ENOMEM and the like, *ret untouched, nothing left behind. */
int db_open(struct db **ret, const struct db_options *options);

/* Frees it. No writer and no reader may be inside any more. NULL is fine. */
void db_free(struct db *db);

/* The memory that it lives in, for notices and for handing over. */
const struct region *db_region(const struct db *db);

/* ---- A writer: each db_writer belongs to one thread ------------------------------------------ */

struct db_writer *db_writer(struct db *db, unsigned index);

/* Room for one block of up to `max_bytes` (at most the geometry's max_block_bytes) in the writer's
 * own extent, 8-byte aligned; it may be filled until db_write_end or db_write_cancel, one of which
 * must follow soon: until then the half cannot be stored. So do not wait for anything in between.
 * Is held, asleep, while both halves are full. Never fails, never allocates. */
void *db_write_begin(struct db_writer *w, size_t max_bytes);

/* Publishes the block: from here on it survives this writer, and will be read. `bytes` may be 0.
 * The bytes between the block's end and the next multiple of 8 are zeroed here. Wait-free. */
void db_write_end(struct db_writer *w, size_t bytes, uint32_t flags, uint64_t time_ns);

/* Gives the room back unused. Wait-free. */
void db_write_cancel(struct db_writer *w);

/* begin, copy, end: for a block that already lies in memory elsewhere. `data` is no NULL, even for 0
 * bytes. */
void db_write(struct db_writer *w, const void *data, size_t bytes, uint32_t flags,
              uint64_t time_ns);

/* Holds by their time: of 0, 1, 2..3, 4..7, ... microseconds; the last class: all longer ones. */
enum { DB_HOLD_CLASSES = 26 };

/* What a writer has put in so far. Counted before the block can be seen by the reader, so that
 * whoever reads what was stored first, and this second, never finds more stored than accepted.
 * Any thread may ask; wait-free. */
struct db_account {
    uint64_t blocks;  /* = sequence of the writer's next block, less its first */
    uint64_t bytes;   /* of data */
    uint64_t held_ns; /* time spent held, without the hold that may be going on */
    uint64_t holds;   /* how often */
    uint64_t hold_times[DB_HOLD_CLASSES]; /* how often, by the time of the hold */
};
struct db_account db_account(const struct db_writer *w);

/* ---- The reader: one thread ------------------------------------------------------------------- */

struct db_half {
    unsigned char *extents; /* extent_count slices of extent_bytes, each starts with its header */
    struct db_geometry geometry;
    uint32_t epoch;
};

/* Extent `index` of a half that was read, or NULL if it holds no block. Its header has writer,
 * epoch, first_block, block_count, used and dropped; the rest is the store's to complete, and so are
 * the bytes behind its used ones. */
struct extent_header *db_half_extent(const struct db_half *half, uint32_t index);

/* Waits for the next half. 1: *ret is sealed, final and the caller's until db_release.
 * -ETIMEDOUT: `flush_ns` nanoseconds have passed since the last swap and nothing was published, or the
 * half was sealed with nothing in it.
 * 0: db_close was called and everything has been read. A half that is open for `flush_ns` and holds
 * something is sealed as it is. */
int db_read(struct db *db, uint64_t flush_ns, struct db_half *ret);

/* Where the half that was read is being stored, for whoever finds the region: before its first byte
 * is, and whenever that goes on in another file. Wait-free. */
void db_set_target(struct db *db, const struct region_target *target);

/* The half is stored: it may be overwritten. Opens it at once if writers are held. */
void db_release(struct db *db);

/* ---- Anyone ----------------------------------------------------------------------------------- */

/* Seals the open half as it is, if the other one is free: so the reader comes by. Any thread. */
void db_seal(struct db *db);

/* No writer will begin again, and each db_write_begin has returned: the reader gets what is left, then 0.
 * Any thread; again does no harm. */
void db_close(struct db *db);

/* Writers may begin again after all. Only where nobody is inside: db_read has said 0, and every writer's
 * thread has ended. */
void db_reopen(struct db *db);

/* The writers' next blocks are other ones than db_open was told. [writer_count]; before any has begun. */
void db_set_next_blocks(struct db *db, const uint64_t next_block[]);

/* What can be seen from outside, at about the same moment. Wait-free. */
struct db_state {
    uint32_t epoch;           /* the open half's */
    uint32_t claimed;         /* extents taken in the open half */
    uint32_t extent_count;    /* of a half */
    unsigned halves_unstored; /* 0 or 1: the other half is sealed and not yet stored */
    unsigned writers_held;
};
struct db_state db_state(const struct db *db);

#endif
