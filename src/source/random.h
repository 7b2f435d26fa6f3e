/* SPDX-License-Identifier: MIT
 *
 * Random blocks that anyone can make again: the content and the length of a block depend on seed,
 * writer and block sequence alone. Pure; any thread may call it.
 */
#ifndef DBUFD_SOURCE_RANDOM_H
#define DBUFD_SOURCE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Length of the block, uniform in min_block..max_block. */
size_t random_block_bytes(uint64_t seed, unsigned writer, uint64_t block, size_t min_block,
                          size_t max_block);

/* Its content, `bytes` bytes, at least 4 GB/s on one core. A shorter content is the beginning of a
 * longer one. `room` is 8-byte aligned or not. */
void random_block_fill(uint64_t seed, unsigned writer, uint64_t block, void *room, size_t bytes);

#endif
