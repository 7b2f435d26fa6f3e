/* SPDX-License-Identifier: MIT
 *
 * Framing: the next block in a stream of bytes that somebody else cuts into frames. Private to src/source.
 *
 *     lines          bytes up to a newline, which is not a part of the block
 *     octet-counted  "LEN SP MSG" of RFC 6587: LEN in decimal, from 1 on, without a leading zero
 *     u32            four bytes of length, little endian, then so many bytes
 *
 * A frame longer than a block comes out in pieces, one after the other, all but the last marked
 * BLOCK_CUT. What the end of the stream cuts short comes out too: a begun line as it is, a begun frame
 * marked BLOCK_CUT, as more of it was promised.
 *
 * The bytes wait in a stage, because a frame's end is known only when it is there. One owner at a time,
 * one stream each; only framing_open allocates, nothing waits.
 */
#ifndef DBUFD_SOURCE_FRAMING_H
#define DBUFD_SOURCE_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source.h"

enum { FRAMING_ROOM_MIN = 64 * 1024 }; /* for a read into the stage; a pipe holds as much */
#define FRAMING_FRAME_MAX                                                                          \
    ((uint32_t)1 << 30) /* a longer one is nobody's frame, but a wrong count */

struct framing {
    enum source_framing kind; /* [I] not FRAMING_NONE */
    unsigned char *stage;     /* [I] stage[from..to) has come in and not gone out */
    size_t stage_bytes;       /* [I] */
    size_t from, to;
    size_t searched; /* lines: of those, the first so many hold no newline */
    bool in_frame;   /* counted: its count has been read */
    uint32_t left;   /* counted: bytes of it that have not gone out */
    bool in_pieces;  /* see framing_in_pieces */
};

/* For blocks of at most `max_block` bytes. -ENOMEM: nothing to close. */
int framing_open(struct framing *framing, enum source_framing kind, size_t max_block);
/* All zero is fine. */
void framing_close(struct framing *framing);

/* Where the next bytes of the stream are to be put: at least FRAMING_ROOM_MIN, if everything that
 * framing_find has found before is taken. How many there may be. */
size_t framing_room(struct framing *framing, unsigned char **ret);
/* So many were put there. */
void framing_add(struct framing *framing, size_t bytes);

/* Whether framing_take would give something, and if not, why: 1: a block; 0: not before more bytes come,
 * or with `ended` never again; -EBADMSG: what stands where a frame begins is no count. */
int framing_find(struct framing *framing, size_t limit, bool ended, struct block_info *ret);

/* Puts the next block at `room`, at most `limit` (1 to max_block) bytes; `ended`: no more bytes come.
 * Returns as framing_find. */
int framing_take(struct framing *framing, void *room, size_t limit, bool ended,
                 struct block_info *ret);

/* Whether the block that was taken last was a piece, and another one of the same line or frame follows. */
bool framing_in_pieces(const struct framing *framing);

/* Counted, and no block is to be found: how many bytes at least are missing to the end of the frame that
 * has begun; 0: none has. */
size_t framing_missing(const struct framing *framing);

#endif
