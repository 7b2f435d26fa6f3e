/* SPDX-License-Identifier: MIT
 *
 * What verify knows while it reads; for its own files only.
 *
 *   verify.c          the files of the stream: order, beginning and end of segments
 *   verify_extent.c   one extent: sequences, blocks, checkpoints
 *   verify_blocks.c   the blocks in it
 *   verify_ahead.c    threads that read and check extents before it is their turn
 *   verify_finding.c  findings: their words, and putting ranges together
 */
#ifndef DBUFD_CTL_VERIFY_STATE_H
#define DBUFD_CTL_VERIFY_STATE_H

#include "ranges.h"
#include "verify.h"
#include "verify_ahead.h"

struct writer {
    bool known; /* next_block can be counted on */
    bool seen;  /* has blocks in what was read */
    uint64_t next_block;
    uint64_t dropped;
    struct ranges missing;
};

/* An extent, or a damaged place, and what is known of its blocks. */
struct seen_extent {
    struct scan_extent at;  /* a block extent's data may be gone */
    struct block_sums sums; /* if blocks_are_whole */
    bool blocks_are_whole;
    bool blocks_are_random; /* compared already with what v->random makes, and right */
};

struct held_fault {
    struct seen_extent extent;
    struct extent_header header;
};

struct verify {
    const struct survey *survey;
    const struct verify_options *options;
    struct verify_result result;
    struct finding last; /* not yet told: the next one may make it longer */
    bool has_last;
    int error; /* -ENOMEM: give up */

    /* the stream */
    bool started;   /* everything before here is known: totals, and writers not yet seen are at 0 */
    bool uncertain; /* something was lost since the last checkpoint */
    bool random_known;
    bool random_unsure; /* a checkpoint with other parameters may have been lost */
    struct random_parameters random;
    uint64_t next_seq;
    uint64_t blocks, bytes;
    uint32_t digest;
    struct writer writers[FORMAT_WRITERS_MAX];
    struct ranges missing; /* extents */

    /* the segment being read */
    const struct survey_file *file;
    const struct survey_file *before; /* the one read before; NULL: what came before is not there */
    uint64_t damaged_bytes;           /* since the last extent that could be made out */
    uint32_t last_flags;              /* of the last extent */
    bool lenient;                     /* a daemon is writing it */
    struct held_fault *held;
    size_t held_count, held_room;
    uint64_t looked_again; /* the offset of the last held one that was read twice; 0: none */

    struct ahead *ahead;       /* NULL: nobody reads ahead */
    unsigned char *block_room; /* to make random blocks in */
    uint64_t done_bytes, all_bytes, shown_bytes;
};

/* ---- verify_finding.c ---- */

/* Tells of it, now or when the next one does not make it longer. */
void verify_tell(struct verify *v, struct finding finding);
/* Tells of what is still to be told. */
void verify_tell_last(struct verify *v);

struct finding finding_at_file(const struct survey_file *file, enum finding_kind kind);
/* With all that the extent's header says. */
struct finding finding_at_extent(const struct verify *v, const struct scan_extent *extent,
                                 enum finding_kind kind);

/* ---- verify_extent.c ---- */

/* Takes an extent, or a damaged place, into account. */
void verify_extent(struct verify *v, const struct seen_extent *extent);

/* Whether the extent takes its place in the sequences, whatever else is wrong with it. */
bool verify_counts(const struct scan_extent *extent);

#endif
