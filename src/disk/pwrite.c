/* SPDX-License-Identifier: MIT
 *
 * output_pwrite: the store's file calls as the system has them.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    WRITE_BYTES = 4 << 20,
    DEVICE_WAIT_MS = 1000 /* so that the caller can look around while a pipe is full */
};

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int pwrite_open(void *context, const char *path, int flags)
{
    (void)context;
    return result(open(path, flags | O_CLOEXEC | O_NOCTTY, 0640));
}

/* As many whole pieces as one call should take; at least one. */
static int front(const struct iovec *pieces, int count)
{
    size_t bytes = pieces[0].iov_len;
    int taken = 1;

    while (taken < count && taken < IOV_MAX && bytes + pieces[taken].iov_len <= WRITE_BYTES)
        bytes += pieces[taken++].iov_len;
    return taken;
}

static ssize_t pwrite_write(void *context, int fd, const struct iovec *pieces, int count,
                            off_t offset)
{
    (void)context;
    int taken = front(pieces, count);

    for (;;) {
        ssize_t written =
            offset < 0 ? writev(fd, pieces, taken) : pwritev(fd, pieces, taken, offset);
        if (written >= 0)
            return written;
        if (errno != EAGAIN || offset >= 0)
            return -errno;
        struct pollfd device = {.fd = fd, .events = POLLOUT};
        int ready = poll(&device, 1, DEVICE_WAIT_MS);
        if (ready <= 0)
            return ready < 0 ? -errno : -EAGAIN;
    }
}

static int pwrite_sync(void *context, int fd)
{
    (void)context;
    return result(fdatasync(fd));
}

static int pwrite_truncate(void *context, int fd, uint64_t bytes)
{
    (void)context;
    return result(ftruncate(fd, (off_t)bytes));
}

static int pwrite_allocate(void *context, int fd, uint64_t from, uint64_t to)
{
    (void)context;
    return result(fallocate(fd, 0, (off_t)from, (off_t)(to - from)));
}

static int pwrite_settle(void *context, int fd, uint64_t before, uint64_t from, uint64_t to)
{
    (void)context;
    if (sync_file_range(fd, (off_t)from, (off_t)(to - from), SYNC_FILE_RANGE_WRITE) < 0)
        return -errno;
    if (from == before)
        return 0;
    if (sync_file_range(fd, (off_t)before, (off_t)(from - before),
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER) < 0)
        return -errno;
    return -posix_fadvise(fd, (off_t)before, (off_t)(from - before), POSIX_FADV_DONTNEED);
}

static int pwrite_free_bytes(void *context, int fd, uint64_t *ret)
{
    (void)context;
    struct statvfs system;

    if (fstatvfs(fd, &system) < 0)
        return -errno;
    *ret = (uint64_t)system.f_bavail * system.f_frsize;
    return 0;
}

static int pwrite_rename(void *context, const char *from, const char *to)
{
    (void)context;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* A file system without it. We hold the stream's lock, so that nobody but a stranger could
     * make the file between the look and the rename. */
    struct stat there;
    if (lstat(to, &there) == 0)
        return -EEXIST;
    return result(rename(from, to));
}

static int pwrite_remove(void *context, const char *path)
{
    (void)context;
    return result(unlink(path));
}

static int pwrite_sync_directory(void *context, const char *path)
{
    (void)context;
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

    if (!directory)
        return -ENOMEM;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : result(fsync(fd));
    if (fd >= 0)
        close(fd);
    free(directory);
    return rc == -EINVAL ? 0 : rc; /* a file system that has nothing to sync there */
}

const struct output output_pwrite = {
    .open = pwrite_open,
    .write_bytes = WRITE_BYTES,
    .write = pwrite_write,
    .sync = pwrite_sync,
    .truncate = pwrite_truncate,
    .allocate = pwrite_allocate,
    .settle = pwrite_settle,
    .free_bytes = pwrite_free_bytes,
    .rename = pwrite_rename,
    .remove = pwrite_remove,
    .sync_directory = pwrite_sync_directory,
};
