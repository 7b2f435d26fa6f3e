/* SPDX-License-Identifier: MIT
 *
 * What a stream holds up to some point: the totals and sequences that a checkpoint states. Counted
 * extent by extent while storing, and again while recovering. Pure; no locks, no allocation.
 */
#ifndef DBUFD_DISK_TALLY_H
#define DBUFD_DISK_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "format.h"

struct tally {
    uint64_t next_seq; /* of the stream's next extent */
    uint64_t blocks;
    uint64_t bytes;        /* of data in them */
    uint32_t digest;       /* as in struct checkpoint */
    uint32_t writer_count; /* that the stream has had */
    struct checkpoint_writer writers[FORMAT_WRITERS_MAX];
};

/* What the random source needs to make its blocks again; zeros for any other source. */
struct random_parameters {
    uint32_t random; /* 1: it is the random source */
    uint32_t min_block, max_block;
    uint64_t seed;
};

enum {
    CHECKPOINT_STORED_MAX =
        (sizeof(struct extent_header) + sizeof(struct checkpoint) +
         FORMAT_WRITERS_MAX * sizeof(struct checkpoint_writer) + FORMAT_ALIGN - 1) /
        FORMAT_ALIGN * FORMAT_ALIGN
};

/* An extent of blocks follows, with `data_bytes` bytes of data in them. Its data_crc is in place.
 */
void tally_add(struct tally *tally, const struct extent_header *header, uint64_t data_bytes);

/* Bytes of data in an extent's blocks. It has been checked: lengths that do not add up to the
 * header's used and block_count are a programmer's error. */
uint64_t tally_data_bytes(const struct extent_header *header, const unsigned char *data);

/* Bytes that a checkpoint takes in a segment. */
size_t tally_checkpoint_bytes(const struct tally *tally);

/* Makes the checkpoint that states `tally`, an extent ready to be stored at `offset`. `room` has
 * tally_checkpoint_bytes. The tally does not count it: that is for whoever has stored it. */
void tally_checkpoint(const struct tally *tally, const struct random_parameters *random,
                      uint32_t flags, uint64_t time_ns, const uint8_t uuid[static 16],
                      uint64_t offset, void *room);

/* Takes over what a checkpoint states; its own extent is counted. */
void tally_restore(struct tally *tally, const struct extent_header *header,
                   const struct checkpoint *checkpoint, const struct checkpoint_writer *writers);

/* Completes an extent whose own fields are set (writer, flags, epoch, first_block, block_count,
 * used, dropped, time_ns) for being stored as `seq` at `offset`, and zeroes what is behind its used
 * bytes. The same again gives the same again. */
void extent_complete(struct extent_header *header, uint64_t seq, const uint8_t uuid[static 16],
                     uint64_t offset);

#endif
