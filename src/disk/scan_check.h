/* SPDX-License-Identifier: MIT
 *
 * The checks that can be made on an extent that lies in memory; for scan.c alone. Pure.
 */
#ifndef DBUFD_DISK_SCAN_CHECK_H
#define DBUFD_DISK_SCAN_CHECK_H

#include "scan.h"

bool scan_all_zero(const unsigned char *data, size_t bytes);

/* Whether each field of a header, which matches its CRC, may be what it says. */
bool scan_fields_are_valid(const struct extent_header *header);

/* The first check that fails, of an extent that lies in memory with `bytes` of its stored ones: `data`
 * is what is behind its header. */
enum scan_fault scan_check(const struct extent_header *header, uint64_t offset,
                           const unsigned char *data, size_t bytes, bool *ret_data_is_whole);

#endif
