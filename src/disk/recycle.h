/* SPDX-License-Identifier: MIT
 *
 * Whether a closed segment's file may become another segment's.
 */
#ifndef DBUFD_DISK_RECYCLE_H
#define DBUFD_DISK_RECYCLE_H

#include <stdint.h>

/* 0: the file ends with the checkpoint of a segment that was ended in it, of this stream and of the
 * life that its header tells of, so that all that is in it is older than anything that will be; and it
 * has no other name, under which somebody may want to keep it. -EBADMSG: not so; -errno. */
int recycle_check(const char *path, const uint8_t uuid[static 16]);

/* Whether nobody has the file open, but by `fd`, which is for writing. -EAGAIN: somebody has; -errno: it
 * cannot be known. */
int recycle_claim(int fd);

/* Opens a segment for reading, -errno as of open. It stays this segment's as long as it is open. */
int recycle_open_for_reading(const char *path, int flags);

#endif
