/* SPDX-License-Identifier: MIT
 *
 * CRC32C (Castagnoli), as in RFC 3720 section 12.1 and its test vectors in appendix B.4. Uses the
 * processor's CRC instruction where there is one, a table elsewhere. Pure; any thread may call it.
 */
#ifndef DBUFD_DISK_CRC32C_H
#define DBUFD_DISK_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of `bytes` bytes at `data`, going on from `crc` (0 to start): pieces in turn give the
 * same as the whole at once. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

/* The two ways to it. */
typedef uint32_t crc32c_way(uint32_t crc, const void *data, size_t bytes);

/* Plain C, any machine: about 2 GB/s. */
crc32c_way crc32c_portable;

/* What this machine's processor can do better (crc32c_processor.c), or NULL. */
crc32c_way *crc32c_processor(void);

#endif
