/* SPDX-License-Identifier: MIT
 *
 * What the parts of dbufctl cat share; for its own files only.
 *
 *   cat.c          the command, the stream's segments, their extents
 *   cat_forms.c    the forms of a block
 *   cat_follow.c   --follow: the newest segment while it is being written, and those that come
 *   cat_salvage.c  --damaged: what a damaged place still has
 */
#ifndef DBUFD_CTL_CAT_H
#define DBUFD_CTL_CAT_H

#include <stdbool.h>
#include <stdint.h>

#include "print.h"
#include "ranges.h"
#include "survey.h"

/* One block, and where it comes from. */
struct cat_item {
    unsigned writer;
    uint64_t number;
    const struct block_header *block;
    const unsigned char *data;
    bool unproven; /* no checksum says that it is what was stored */
};

/* Which blocks of a writer were given out. */
struct cat_writer {
    bool known;
    uint64_t next_block;
    struct ranges missing;
};

struct cat {
    void (*put)(struct print *print, const struct cat_item *item);
    int writer; /* -1: all */
    uint64_t from_ns, to_ns;
    const char *follow; /* the stream that is followed, or NULL */
    bool damaged;       /* damaged places give what they have */
    bool once;          /* writers[] is kept, and no block is given out twice */
    struct print *print;
    int status;
    int error;    /* -ENOMEM */
    bool started; /* next_seq is known */
    uint64_t next_seq;
    uint32_t last_flags;
    const char *path;
    unsigned writer_count;      /* that the stream is known to have */
    struct cat_writer *writers; /* [FORMAT_WRITERS_MAX] */
    /* A fault that is not told yet: at the end of a file that is being written it is none. */
    struct scan_extent fault;
    bool has_fault;
};

/* ---- cat.c ---- */

/* Takes an extent, or a damaged place, and gives its blocks out. */
void cat_extent(struct cat *cat, struct scan *scan, const struct scan_extent *extent, bool lenient);
/* All that the segment still has; `next` (NULL: none) may hold some of it again. */
void cat_rest(struct cat *cat, struct scan *scan, const struct survey_file *next, bool lenient);
/* Gives the block out, if it is of the writer and the time that were asked for. */
void cat_put_item(struct cat *cat, const struct cat_item *item);

/* ---- cat_forms.c ---- */

void cat_put_raw(struct print *print, const struct cat_item *item);
void cat_put_json(struct print *print, const struct cat_item *item);
void cat_put_hex(struct print *print, const struct cat_item *item);

/* ---- cat_follow.c ---- */

/* Goes on from the newest segment, which is open, until the stream is closed or nobody reads. */
void cat_follow(struct cat *cat, struct scan *scan, const struct survey_file *file);

/* ---- cat_salvage.c ---- */

/* Gives out what can be made out of the blocks in a damaged place, and says how much that was. */
void cat_salvage(struct cat *cat, struct scan *scan, uint64_t offset, uint64_t bytes);

#endif
