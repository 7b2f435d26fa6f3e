/* SPDX-License-Identifier: MIT
 *
 * Reading a segment back, extent by extent, trusting nothing in it.
 *
 * Happy path: scan_open reads and checks the header; scan_next gives each extent in turn with every
 * check that can be made on it alone already made; at the end of the file it says 0.
 * Damage: scan_next says what is wrong and where, and goes on at the next place that starts a
 * valid extent of this segment (a multiple of FORMAT_ALIGN). What is wrong between extents (a gap
 * in the sequences) is for the caller to see.
 *
 * One scan belongs to one thread. It waits for the disk, and allocates in scan_open only.
 */
#ifndef DBUFD_DISK_SCAN_H
#define DBUFD_DISK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

#define SCAN_PIECE_MAX ((size_t)(2 << 20) + FORMAT_ALIGN) /* stored bytes of the largest extent */

struct scan;

enum scan_fault {
    SCAN_OK,
    SCAN_NO_EXTENT,       /* the bytes from offset on are no extent of this stream */
    SCAN_HEADER_CHANGED,  /* an extent's header does not match its CRC */
    SCAN_DATA_CHANGED,    /* the blocks do not match their CRC */
    SCAN_PADDING_CHANGED, /* the zeros behind the blocks are not zero */
    SCAN_MISPLACED,       /* its header is valid, but written for another place */
    SCAN_BAD_BLOCKS,      /* the CRCs are right, but header and blocks do not add up */
    SCAN_CUT,             /* the file ends inside the extent */
    SCAN_EMPTY_TAIL,      /* only zeros or older extents up to the end: room that was never used */
    SCAN_IO_ERROR         /* reading failed: error has the errno */
};

struct scan_extent {
    enum scan_fault fault;
    uint64_t offset; /* of the extent in the file, or where the damage starts */
    uint64_t bytes;  /* that it takes there, or that are damaged */
    int error;       /* SCAN_IO_ERROR */
    /* The header, if it matches its CRC; else NULL. Its header->used bytes of blocks, if they match
     * theirs; else NULL. With SCAN_OK and SCAN_PADDING_CHANGED both are there and right in
     * everything that can be seen from them alone. Both stay valid until the next call. */
    const struct extent_header *header;
    const unsigned char *data;
};

/* Opens the segment at `path`. -EBADMSG: no segment header, or a damaged one; -ENOTSUP: another
 * version; -ENODATA: the file is empty; else -errno. *ret untouched on failure. */
int scan_open(struct scan **ret, const char *path);

/* Opens a segment that scan_open refuses with -EBADMSG, as one of the stream `uuid` (16 bytes), or,
 * if NULL, of the one that the damaged header names. There must be a valid extent of that stream in
 * it, else -EBADMSG. Of its scan_header only stream_uuid and first_seq are set. */
int scan_open_damaged(struct scan **ret, const char *path, const uint8_t *uuid);

/* NULL is fine. */
void scan_close(struct scan *scan);

const struct segment_header *scan_header(const struct scan *scan);
uint64_t scan_file_bytes(const struct scan *scan);

/* 1: *ret is an extent or a damaged place. 0: the end. */
int scan_next(struct scan *scan, struct scan_extent *ret);

/* 1: *ret is the next whole extent (SCAN_OK) that begins before `end`. 0: there is none. What is no such
 * extent is passed over in silence: for a look at a part of a segment, which may begin anywhere. */
int scan_find(struct scan *scan, uint64_t end, struct scan_extent *ret);

/* The same as scan_next, but an extent's header is all that is read and checked of it: data is NULL. */
int scan_skim(struct scan *scan, struct scan_extent *ret);

/* Goes on at `offset`, a multiple of FORMAT_ALIGN behind the segment's header. */
void scan_seek(struct scan *scan, uint64_t offset);

/* The offset where it goes on. */
uint64_t scan_offset(const struct scan *scan);

/* Lets the kernel read these bytes while others are looked at. */
void scan_announce(const struct scan *scan, uint64_t from, uint64_t bytes);

/* Looks at the file anew, for what was written since: what scan_next gives from here on is read
 * after this call. -errno. */
int scan_refresh(struct scan *scan);

/* Whether a valid header is now where it goes on; its blocks may still be on their way. */
bool scan_comes(const struct scan *scan);

/* The file's bytes from `offset` on, a multiple of FORMAT_ALIGN, whatever they are: at most `bytes`,
 * SCAN_PIECE_MAX and what the file has. Valid until the next call. -errno. */
int scan_bytes(struct scan *scan, uint64_t offset, size_t bytes, const unsigned char **ret_data,
               size_t *ret_bytes);

/* Walks the blocks of an extent's data (8-byte aligned): *position starts at 0. 1: *ret_block and
 * *ret_data are the next block's; 0: no more. -EBADMSG: the lengths do not add up. Pure. */
int scan_block(const unsigned char *data, size_t used, size_t *position,
               const struct block_header **ret_block, const unsigned char **ret_data);

/* The checkpoint in an extent's data, or NULL if it does not add up. *ret_writers: its
 * entries. */
const struct checkpoint *scan_checkpoint(const unsigned char *data, size_t used,
                                         const struct checkpoint_writer **ret_writers);

#endif
