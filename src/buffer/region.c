/* SPDX-License-Identifier: MIT
 *
 * Happy path: a memfd of huge pages, mapped, every page made resident and locked, its size sealed.
 * Steps down, each told by the region's own *_errno: no huge pages reserved -> ordinary pages;
 * locking not allowed -> unlocked (resident all the same until the machine swaps).
 * Failure: the memory itself is not there. It is asked for here, page by page, so that a shortage
 * is an error now and not a SIGBUS in a writer later.
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
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

/* One try with one kind of page. On success only ret's fd, map and bytes are set. */
static int map_memfd(struct region *ret, size_t bytes, unsigned flags)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd = memfd_create("dbufd", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0)
        return -errno;

    int rc;
    void *map = MAP_FAILED;
    if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
        goto fail_errno;
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        goto fail_errno;
    /* Only advice: where the kernel has no huge pages for shared memory nothing changes. */
    if (flags == 0)
        (void)madvise(map, bytes, MADV_HUGEPAGE);
    rc = populate(map, bytes);
    if (rc < 0)
        goto fail;
    *ret = (struct region){.fd = fd, .map = map, .bytes = bytes};
    return 0;

fail_errno:
    rc = -errno;
fail:
    if (map != MAP_FAILED)
        (void)munmap(map, bytes);
    (void)close(fd);
    return rc;
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
    if (mlock(region.map, region.bytes) < 0)
        region.lock_errno = errno;
    /* A core dump of the daemon is about the daemon, not 100 MB of its users' data. */
    (void)madvise(region.map, region.bytes, MADV_DONTDUMP);
    *ret = region;
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
