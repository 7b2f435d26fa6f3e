/* SPDX-License-Identifier: MIT
 *
 * A copy of a region in a file.
 *
 * Happy path: written under a temporary name, synced, given its name, the directory synced. Failure:
 * the temporary file is removed again. A kill in between leaves it behind, which the next try
 * overwrites.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "region.h"

enum { WRITE_BYTES = 8 << 20 };

static int write_all(int fd, const unsigned char *from, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        const size_t left = bytes - at;
        ssize_t written = write(fd, from + at, left < WRITE_BYTES ? left : WRITE_BYTES);
        if (written < 0 && errno != EINTR)
            return -errno;
        if (written > 0)
            at += (size_t)written;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash != NULL ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (directory == NULL)
        return -ENOMEM;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        (void)close(fd);
    free(directory);
    return rc;
}

/* Gives the file its name, but not over another one's. */
static int give_name(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (access(to, F_OK) == 0) /* a file system without it */
        return -EEXIST;
    return rename(from, to) < 0 ? -errno : 0;
}

int region_save(const struct region *region, const char *path)
{
    char *part;
    if (asprintf(&part, "%s.part", path) < 0)
        return -ENOMEM;
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -errno : write_all(fd, region->map, region->bytes);
    if (fd >= 0)
        (void)close(fd);
    if (rc == 0)
        rc = give_name(part, path);
    if (rc < 0 && fd >= 0)
        (void)unlink(part);
    if (rc == 0)
        rc = sync_directory_of(path);
    free(part);
    return rc;
}
