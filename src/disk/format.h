/* SPDX-License-Identifier: MIT
 *
 * The on-disk format, version 1; man/dbufd-format.5 says the same in words.
 *
 * A stream is a row of segments (files). A segment is one 4096-byte header and then extents, each
 * padded with zeros to 4096 bytes. An extent is a 64-byte header and then either blocks, all of one
 * writer, or (EXTENT_CHECKPOINT) a checkpoint: what every writer had stored by then. A block is a
 * 16-byte header and its data, padded with zeros to 8 bytes.
 *
 *     segment   [header 4096][checkpoint][extent][extent] ... [checkpoint END]
 *     extent    [header 64][block][block] ... [zeros to 4096]
 *     block     [length 4][flags 4][time 8][data][zeros to 8]
 *
 * Everything is little endian and is used as it lies in memory: an extent of the double buffer
 * starts with this very header, so that storing it copies nothing. Nothing on disk is ever written
 * twice: a segment's header is written before the segment gets its name, and what is known only at
 * its end stands in its last checkpoint.
 *
 * What proves what:
 *   seq          consecutive over the whole stream: a lost, doubled or reordered extent shows
 *   first_block  consecutive for each writer: a lost, doubled or reordered block shows
 *   place        the extent's own offset: a misdirected write shows
 *   data_crc     a changed byte in the blocks shows
 *   header_crc   a changed byte in the header shows; it starts from the stream's UUID, so that an
 *                extent of another stream, or of another life of the file, is never taken for ours
 *   checkpoint   a cut tail shows, and so does a lost segment
 *
 * This file is the one thing that buffer, disk and ctl share. It includes nothing of theirs.
 */
#ifndef DBUFD_DISK_FORMAT_H
#define DBUFD_DISK_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || UINTPTR_MAX < UINT64_MAX
#error "dbufd stores its memory as it is and needs a little-endian 64-bit machine"
#endif

enum {
    FORMAT_VERSION = 1,
    FORMAT_ALIGN = 4096,       /* bytes: extents start and end on multiples of it */
    FORMAT_WRITERS_MAX = 1024, /* writers of a stream */
    FORMAT_BLOCK_MAX = 1 << 20 /* bytes of data of one block */
};

#define SEGMENT_MAGIC 0x314745536675421bULL /* "\x1b" "BufSEG1" */
#define EXTENT_MAGIC  0x54584264u           /* "dBXT" */

struct segment_header {
    uint64_t magic;          /* SEGMENT_MAGIC */
    uint32_t version;        /* FORMAT_VERSION */
    uint32_t align;          /* FORMAT_ALIGN */
    uint8_t stream_uuid[16]; /* the same in all segments of a stream */
    uint64_t number;         /* of this segment in its stream, from 1 */
    uint64_t first_seq;      /* sequence of the first extent */
    uint64_t created_ns;     /* CLOCK_REALTIME */
    uint8_t reserved[4036];  /* zeros */
    uint32_t crc;            /* CRC32C of the 4092 bytes before */
};
static_assert(sizeof(struct segment_header) == FORMAT_ALIGN, "a segment header is one page");

enum extent_flags {
    EXTENT_CHECKPOINT = 1 << 0, /* holds a struct checkpoint instead of blocks */
    EXTENT_END = 1 << 1,  /* a checkpoint: the segment ends here, the stream goes on in the next */
    EXTENT_CLOSE = 1 << 2 /* a checkpoint: dbufd stopped here and had stored everything */
};

struct extent_header {
    uint32_t magic;       /* EXTENT_MAGIC */
    uint16_t version;     /* FORMAT_VERSION */
    uint16_t writer;      /* whose blocks these are; 0 in a checkpoint */
    uint32_t flags;       /* enum extent_flags */
    uint32_t epoch;       /* the half of the buffer that it came from; 0 in a checkpoint */
    uint64_t seq;         /* sequence of the extent in the stream, from 0 */
    uint64_t first_block; /* sequence of its first block among those of its writer, from 0 */
    uint32_t block_count; /* blocks in it */
    uint32_t used;        /* bytes behind this header that are blocks (or the checkpoint) */
    uint64_t time_ns;     /* CLOCK_REALTIME of its first block */
    uint32_t dropped;     /* blocks that its writer dropped since its extent before */
    uint32_t place;       /* its own offset in the segment, in units of FORMAT_ALIGN */
    uint32_t data_crc;    /* CRC32C of the used bytes */
    uint32_t header_crc;  /* CRC32C of the stream's UUID and then of the 60 bytes before */
};
static_assert(sizeof(struct extent_header) == 64, "an extent header is one cache line");
static_assert(offsetof(struct extent_header, block_count) == 32, "count and used are one word");

enum block_flags {
    BLOCK_LINE = 1 << 0, /* a newline stood behind it in the source; it is not stored */
    BLOCK_CUT = 1 << 1   /* longer than this block: the writer's next one goes on, if more came */
};

struct block_header {
    uint32_t length;  /* bytes of data */
    uint32_t flags;   /* enum block_flags */
    uint64_t time_ns; /* CLOCK_REALTIME */
};
static_assert(sizeof(struct block_header) == 16, "a block header is 16 bytes");

/* What a checkpoint's extent holds: totals, the random source's parameters (so that its blocks can
 * be made again), and one entry for every writer that the stream has had. */
struct checkpoint {
    uint32_t writer_count; /* entries that follow */
    uint32_t random;    /* 1: the blocks from here to the next checkpoint are the random source's */
    uint64_t seed;      /* of the random source */
    uint32_t min_block; /* bytes */
    uint32_t max_block; /* bytes */
    uint64_t blocks;    /* stored in the stream before here */
    uint64_t bytes;     /* of data in them */
    uint32_t digest;    /* CRC32C over the data_crc words of all block extents of the stream */
    uint32_t reserved;  /* 0 */
};

struct checkpoint_writer {
    uint64_t next_block; /* sequence of the writer's next block = blocks that it has stored */
    uint64_t dropped;    /* blocks that it has dropped */
};

/* Bytes that a block with `length` bytes of data takes in an extent. */
static inline size_t block_bytes(size_t length)
{
    return sizeof(struct block_header) + ((length + 7) & ~(size_t)7);
}

/* Bytes that an extent with `used` bytes takes in a segment. */
static inline size_t extent_stored_bytes(size_t used)
{
    return (sizeof(struct extent_header) + used + FORMAT_ALIGN - 1) & ~(size_t)(FORMAT_ALIGN - 1);
}

#endif
