/* SPDX-License-Identifier: MIT
 *
 * What the parts of the store share: store.c (its functions for others), store_open.c, store_half.c (a
 * half's extents into the open segment), store_segment.c (opening, closing and leaving segments),
 * store_next.c (asking for the next), store_retain.c (deleting them), store_place.c (where they are).
 *
 * Members: [I] never changes after store_open, [R] the reader's thread only (or whose place it takes),
 * [A] written by the reader, read by anyone.
 */
#ifndef DBUFD_DISK_STORE_STATE_H
#define DBUFD_DISK_STORE_STATE_H

#include <limits.h>
#include <stdatomic.h>

#include "prepare.h"
#include "segment.h"
#include "store.h"
#include "stream.h"
#include "tally.h"

enum {
    DOUBTFUL_MAX = 16, /* more than that is no disk */
    IN_FLIGHT_EXTENTS = OUTPUT_IN_FLIGHT_MAX * IOV_MAX
};

/* Extents that lie one behind the other in the file, written by one call. */
struct batch {
    struct iovec pieces[IOV_MAX];
    int count;
    uint64_t bytes;
    uint64_t offset; /* in the segment */
};

/* A state that the store can go back to: everything before it is in the open segment and was
 * released or is durable, everything behind it is still in memory. */
struct mark {
    struct tally tally;
    uint64_t offset; /* in the open segment */
    size_t done;
    size_t partial;
    uint64_t position;
};

/* A segment that was left, or has ended: whoever goes on with it makes it longer than `bytes`, or closes
 * it. */
struct left {
    bool any;
    uint64_t number; /* by its name */
    uint64_t bytes;  /* of the file at most */
};

struct account {
    _Atomic uint64_t blocks, bytes, extents, file_bytes, durable_bytes;
    _Atomic uint64_t segments, segments_deleted, write_ns, sync_ns, syncs;
    _Atomic uint32_t digest;
};

struct store {
    struct store_options options;    /* [R] path is a copy */
    struct random_parameters random; /* [R] */
    struct stream_lock lock;         /* [I] path NULL: a device, not locked */
    struct stream_lock other_lock;   /* [I] of failover_path */
    uint8_t uuid[16];                /* [I] */
    uint64_t *next_blocks;           /* [R] as the stream was found, or changed */
    uint64_t segment_bytes_max;      /* [R] a segment is closed rather than outgrow it */
    uint64_t first_bytes;            /* [I] tally.bytes as the stream was found */
    bool device;                     /* [I] */
    bool gaps;                       /* [I] writers may go on behind their next block */
    bool rotates;                    /* [R] a run begins a segment of its own */

    /* The stream */
    struct tally tally;   /* [R] of what is in its files */
    uint64_t number;      /* [R] of the newest segment */
    bool numbered;        /* [R] the next segment has a number in its name in any case */
    bool retention_due;   /* [R] there may be segments too many */
    uint64_t retained_ns; /* [R] CLOCK_MONOTONIC: when it was last looked whether there are */
    uint64_t doubtful[DOUBTFUL_MAX]; /* [R] numbers of segments that were left with bytes at risk */
    unsigned doubtful_count;         /* [R] of all that ever were */
    bool away;                       /* [R] segments are begun at failover_path */
    unsigned failures;               /* [R] segments left in a row at the stream's own place */
    int failure;                     /* [R] errno of the last of them */
    struct left left[2];             /* [R] the last one at the own place, and at the other one */
    uint64_t begun_number[2]; /* [R] likewise, by name: the highest that was found or begun */
    bool closing;             /* [R] store_finish was called: a CLOSE may be ours */
    bool rotate_asked;        /* [R] */
    bool finished;            /* [R] */

    /* The open segment */
    struct segment segment;  /* [R] path NULL: none */
    bool begun;              /* [R] it is open and has its first checkpoint */
    bool created;            /* [R] by this run: it holds nothing from before */
    bool distrusted;         /* [R] a sync has failed */
    bool checkpoint_due;     /* [R] what its last checkpoint says of the writers holds no more */
    uint64_t begun_ns;       /* [R] CLOCK_MONOTONIC: when it was begun */
    uint64_t begun_offset;   /* [R] behind its first checkpoint of this run */
    uint64_t begun_bytes;    /* [R] tally.bytes there */
    uint64_t durable_offset; /* [R] synced up to here */
    uint64_t durable_bytes;  /* [R] tally.bytes there */
    uint64_t at_risk_bytes;  /* [R] of data: released, and left behind unsynced */
    uint64_t sync_time_ns;   /* [R] CLOCK_MONOTONIC of the last sync */

    /* The next one */
    struct prepare *prepare;      /* [I] makes it ready; NULL: nobody */
    enum store_reason old_reason; /* [R] why what it replaces is deleted */
    struct segment_manner manner; /* [R] how to open it */
    char *resume_path;            /* [R] or else this one goes on, */
    uint64_t resume_offset;       /* [R] from here */

    /* The half that is being stored */
    bool pending;      /* [R] a store_write has not yet succeeded */
    size_t done;       /* [R] its extents that are stored */
    size_t partial;    /* [R] bytes of the next one that are written: raw and devices keep them */
    size_t counted;    /* [R] its extents that are in the account, each once */
    uint32_t epoch;    /* [R] its */
    uint64_t position; /* [R] bytes of it that are in files, as they are stored */
    struct mark mark;  /* [R] */

    /* Raw: the half that the run before was storing */
    bool stored_in_part;    /* [R] some of it is in the output already, and is not written again: */
    uint32_t part_epoch;    /* [R] */
    uint64_t part_position; /* [R] so many bytes */

    /* A header and a checkpoint on their way to the file */
    unsigned char *page; /* [R] FORMAT_ALIGN + CHECKPOINT_STORED_MAX bytes */
    size_t page_written; /* [R] bytes of it; a device keeps them */

    struct batch batches[OUTPUT_IN_FLIGHT_MAX]; /* [R] of which writes are in flight */
    uint32_t data_bytes[IN_FLIGHT_EXTENTS];     /* [R] of extents, by index, that are in batches */
    struct account account;                     /* [A] */
};

/* Counters have one writer: a plain store that others may read is enough. */
static inline void account_add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_release);
}

static inline bool no_room(int rc)
{
    return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
}

uint64_t clock_ns(clockid_t clock);
void store_report(struct store *store, struct store_event event);

/* ---- store.c ---- */

/* How large a segment may become. */
void store_set_segment_bytes(struct store *store);

/* What the options say of the random source. */
struct random_parameters store_random(const struct store_options *options);

/* The stream has these writers from here on, or more. */
void store_take_writers(struct store *store);

/* ---- store_segment.c ---- */

/* Says once what `segment` was refused, and asks no more for it. */
void store_note_manner(struct store *store, const struct segment *segment);

/* Sees to it that there is an open segment with its first checkpoint in it. */
int store_begin(struct store *store);

/* Puts the checkpoint that is due into the open segment. */
int store_restate(struct store *store);

/* How far to allocate when there must be room up to `end`. */
uint64_t store_ideal_end(const struct store *store, uint64_t end);

/* Ends the open segment: its last checkpoint with `flags`, cut, sync, close. */
int store_end(struct store *store, uint32_t flags);

/* Syncs the open segment. On failure it is distrusted. */
int store_sync(struct store *store);

/* Looks whether the open segment is still where it should be, and gets away from it if not. */
int store_look(struct store *store);

/* After a failure `rc`: true if it is worth trying again at once, because the file that failed was
 * left or room was made. */
bool store_recover(struct store *store, int rc);

/* From here on this is what the store goes back to. */
void store_mark(struct store *store);

/* Says where the half that is being stored goes on, if there is one. */
void store_tell_target(const struct store *store);

/* ---- store_next.c ---- */

/* Has the next segment made ready, if it is time. */
int store_prepare_next(struct store *store);

/* Has it made ready in the place of `old`, which is to be deleted: its file is used, or removed. Only
 * if prepare_is_idle. */
int store_replace_old(struct store *store, const struct stream_file *old, enum store_reason reason);

/* Sees to it that a segment that is old enough ends. */
void store_look_at_age(struct store *store);

/* ---- store_place.c ---- */

/* Whether a file of the stream lies at its own place. */
bool store_is_home(const struct store *store, const char *path);

/* The stream's path where its segments are begun now. */
const char *store_place(const struct store *store);

/* Begins a segment at the place that takes it. */
int store_choose_place(struct store *store, int (*begin)(struct store *store));

/* A segment was left or has ended at the place, with the number in its name, its file having these bytes
 * at most; one was begun, or may have been. */
void store_note_left(struct store *store, uint64_t number, uint64_t bytes);
void store_note_begun(struct store *store, uint64_t number);

/* A segment was left; a half was stored; a segment has ended, and the next one may be begun at home. */
void store_note_failure(struct store *store, int error);
void store_note_success(struct store *store);
void store_try_home(struct store *store);

/* The stream's segments, wherever they are, by number. */
int store_list(const struct store *store, struct stream_files *ret);

/* ---- store_retain.c ---- */

/* Deletes what retention does not keep. */
int store_retain(struct store *store);

/* Deletes the oldest closed segment. False: there is none that may go. */
bool store_delete_for_room(struct store *store);

/* ---- store_half.c ---- */

/* Checks what must be true of extents that are to be stored: they are made by our own side. */
void store_check_half(const struct store *store, struct extent_header *const extents[],
                      size_t count);

/* Begins a half: nothing of it is stored, or what the run before had stored. */
void store_begin_half(struct store *store, struct extent_header *const extents[], size_t count);

/* Stores the extents from store->done on. */
int store_half(struct store *store, struct extent_header *const extents[], size_t count);

#endif
