/* SPDX-License-Identifier: MIT
 *
 * Happy path: a memfd of huge pages, mapped, every page made resident and locked, its size sealed.
 * Steps down, each told by the region's own *_errno: no huge pages reserved -> ordinary pages;
 * locking not allowed -> unlocked (resident all the same until the machine swaps).
 * Failure: the memory itself is not there. It is asked for here, page by page, so that a shortage
 * is an error now and not a SIGBUS in a writer later. A file is allocated as a whole for the same
 * reason, and held by flock so that nobody of ours cuts it.
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE /* Linux 5.14; missing from older headers */
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE_BYTES = 4096, HUGE_PAGE_BYTES = 2 << 20 };

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Makes every page of the mapping resident. */
static int populate(unsigned char *map, size_t bytes)
{
    if (madvise(map, bytes, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL)
        return errno == EFAULT ? -ENOMEM : -errno;
    for (size_t at = 0; at < bytes; at += PAGE_BYTES) /* a kernel before 5.14 */
        *(volatile unsigned char *)(map + at) = 0;
    return 0;
}

static int map_shared(int fd, size_t bytes, void **ret)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED)
        return -errno;
    *ret = map;
    return 0;
}

/* One try with one kind of page. On success only ret's fd, map and bytes are set. */
static int map_memfd(struct region *ret, size_t bytes, unsigned flags)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd = memfd_create("dbufd", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0)
        return -errno;

    void *map = NULL;
    int rc = ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
    if (rc == 0)
        rc = map_shared(fd, bytes, &map);
    /* Only advice: where the kernel has no huge pages for shared memory nothing changes. */
    if (rc == 0 && flags == 0)
        (void)madvise(map, bytes, MADV_HUGEPAGE);
    if (rc == 0)
        rc = populate(map, bytes);
    if (rc < 0) {
        if (map != NULL)
            (void)munmap(map, bytes);
        (void)close(fd);
        return rc;
    }
    *ret = (struct region){.fd = fd, .map = map, .bytes = bytes};
    return 0;
}

static void lock(struct region *region)
{
    if (mlock(region->map, region->bytes) < 0)
        region->lock_errno = errno;
    /* A core dump of the daemon is about the daemon, not 100 MB of its users' data. */
    (void)madvise(region->map, region->bytes, MADV_DONTDUMP);
}

int region_open(struct region *ret, size_t bytes)
{
    struct region region;
    int huge = map_memfd(&region, round_up(bytes, HUGE_PAGE_BYTES), MFD_HUGETLB);
    if (huge < 0) {
        int rc = map_memfd(&region, round_up(bytes, PAGE_BYTES), 0);
        if (rc < 0)
            return rc;
    }
    region.huge_errno = -huge;
    lock(&region);
    *ret = region;
    return 0;
}

int region_open_file(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return -errno;

    int rc = fstat(fd, &status) < 0 ? -errno : S_ISREG(status.st_mode) ? 0 : -EBADMSG;
    if (rc == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        rc = -errno;
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    return fd;
}

int region_open_in(struct region *ret, int file, size_t bytes)
{
    struct region region = {.fd = file, .bytes = round_up(bytes, PAGE_BYTES)};
    int rc = ftruncate(file, 0) < 0 ? -errno : 0;
    if (rc == 0)
        rc = -posix_fallocate(file, 0, (off_t)region.bytes);
    if (rc == 0)
        rc = map_shared(file, region.bytes, &region.map);
    if (rc == 0 && (rc = populate(region.map, region.bytes)) < 0)
        (void)munmap(region.map, region.bytes);
    if (rc < 0)
        return rc;
    lock(&region);
    *ret = region;
    return 0;
}

/* Whether it has a size that a region has. */
static int look_at_size(int fd, struct stat *status)
{
    if (fstat(fd, status) < 0)
        return -errno;
    if (!S_ISREG(status->st_mode) || status->st_size == 0 || status->st_size % PAGE_BYTES != 0)
        return -EBADMSG;
    return 0;
}

int region_adopt(struct region *ret, int fd)
{
    struct stat status;
    int rc = look_at_size(fd, &status);
    if (rc < 0)
        return rc;
    /* A memfd could be cut by whoever else has it, and kill us by SIGBUS; a file is locked. */
    const int seals = fcntl(fd, F_GET_SEALS);
    if (status.st_nlink == 0 && (seals < 0 || !(seals & F_SEAL_SHRINK)))
        return -EBADMSG;

    struct region region = {.fd = fd, .bytes = (size_t)status.st_size};
    rc = map_shared(fd, region.bytes, &region.map);
    if (rc < 0)
        return rc;
    (void)madvise(region.map, region.bytes, MADV_DONTDUMP);
    *ret = region;
    return 0;
}

int region_adopt_copy(struct region *ret, const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    void *map = MAP_FAILED;
    int rc = flock(fd, LOCK_SH | LOCK_NB) < 0 ? -errno : look_at_size(fd, &status);
    if (rc == 0)
        map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (rc == 0 && map == MAP_FAILED)
        rc = -errno;
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    *ret = (struct region){.fd = fd, .map = map, .bytes = (size_t)status.st_size};
    return 0;
}

void region_close(struct region *region)
{
    if (region->map == NULL)
        return;
    (void)munmap(region->map, region->bytes);
    (void)close(region->fd);
    *region = (struct region){0};
}
