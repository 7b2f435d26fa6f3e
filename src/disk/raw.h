/* SPDX-License-Identifier: MIT
 *
 * The raw format: the bytes of an extent's blocks without their headers, and a newline behind each
 * block that was a line. Pure; the extent's lengths must already have been checked.
 */
#ifndef DBUFD_DISK_RAW_H
#define DBUFD_DISK_RAW_H

#include <sys/uio.h>

#include "format.h"

/* Bytes that the extent comes to. */
size_t raw_bytes(const struct extent_header *header);

/* Fills `pieces` with the extent's bytes from number `skip` on, at most `room` pieces. Returns how
 * many there are; fewer than `room`: that is all of it. */
int raw_pieces(const struct extent_header *header, size_t skip, struct iovec *pieces, int room);

#endif
