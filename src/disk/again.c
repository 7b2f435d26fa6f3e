/* SPDX-License-Identifier: MIT
 *
 * Happy path: the first call is the only one.
 * Failure modes: those of the call; -EINTR, if that is all that it ever says.
 */
#include "again.h"

#include <errno.h>

int open_again(const struct output *output, const char *path, int flags)
{
    int fd = -EINTR;
    for (int i = 0; i < INTERRUPTIONS && fd == -EINTR; i++)
        fd = output->open(output->context, path, flags);
    return fd;
}

int sync_again(const struct output *output, int fd)
{
    int rc = -EINTR;
    for (int i = 0; i < INTERRUPTIONS && rc == -EINTR; i++)
        rc = output->sync(output->context, fd);
    return rc;
}

int truncate_again(const struct output *output, int fd, uint64_t bytes)
{
    int rc = -EINTR;
    for (int i = 0; i < INTERRUPTIONS && rc == -EINTR; i++)
        rc = output->truncate(output->context, fd, bytes);
    return rc;
}

int allocate_again(const struct output *output, int fd, uint64_t from, uint64_t to)
{
    int rc = -EINTR;
    for (int i = 0; i < INTERRUPTIONS && rc == -EINTR; i++)
        rc = output->allocate(output->context, fd, from, to);
    return rc;
}
