/* SPDX-License-Identifier: MIT
 *
 * Calls of the seam (output.h), made again when a signal has come between. After a hundred such ends in
 * a row -EINTR is an error like others, so that nobody waits here without end. Same threads, waits and
 * errors as the calls themselves.
 */
#ifndef DBUFD_DISK_AGAIN_H
#define DBUFD_DISK_AGAIN_H

#include <stdint.h>

#include "output.h"

#define INTERRUPTIONS 100 /* in a row, before it counts as an error */

int open_again(const struct output *output, const char *path, int flags);
int sync_again(const struct output *output, int fd);
int truncate_again(const struct output *output, int fd, uint64_t bytes);
int allocate_again(const struct output *output, int fd, uint64_t from, uint64_t to);

#endif
