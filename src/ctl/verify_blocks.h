/* SPDX-License-Identifier: MIT
 *
 * What there is to know of an extent's blocks once its bytes are gone, and whether they are what the
 * random source makes. Pure; any thread may call it.
 */
#ifndef DBUFD_CTL_VERIFY_BLOCKS_H
#define DBUFD_CTL_VERIFY_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "../disk/scan.h"
#include "../disk/tally.h"

struct block_sums {
    uint64_t blocks, bytes;     /* of data in them */
    uint64_t first_ns, last_ns; /* times of blocks; without any UINT64_MAX and 0 */
};

/* Of an extent of blocks whose data is there; of a checkpoint there is nothing to sum up. */
struct block_sums block_sums(const struct scan_extent *extent);

/* What the checkpoint in the data says of the random source; the data adds up, or nothing is said. */
struct random_parameters blocks_random(const struct scan_extent *checkpoint);

/* Whether the block is what the source makes. `room` is for FORMAT_BLOCK_MAX bytes. */
bool block_is_random(const struct random_parameters *random, unsigned writer, uint64_t number,
                     const struct block_header *block, const unsigned char *data,
                     unsigned char *room);

/* Whether all of the extent's are. */
bool blocks_are_random(const struct random_parameters *random, const struct scan_extent *extent,
                       unsigned char *room);

bool random_is_same(const struct random_parameters *a, const struct random_parameters *b);

#endif
