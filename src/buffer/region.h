/* SPDX-License-Identifier: MIT
 *
 * The memory of the double buffer: one sealed memfd, mapped, touched and locked at start, so that a
 * writer never meets a page fault and the content can outlive the process.
 *
 * All functions belong to one thread; they may wait for the kernel, never for another thread.
 */
#ifndef DBUFD_BUFFER_REGION_H
#define DBUFD_BUFFER_REGION_H

#include <stddef.h>

struct region {
    int fd;         /* the memfd; its size is sealed */
    void *map;      /* page aligned, zero at first */
    size_t bytes;   /* of the mapping, a multiple of the page */
    int huge_errno; /* 0: huge pages were asked for and granted; else why not (one notice) */
    int lock_errno; /* 0: the memory is locked; else why not (one notice) */
};

/* Gets `bytes` bytes (rounded up to a page) of zeroed, resident memory. Huge pages and locking are
 * tried and may be missing; the memory itself may not: -ENOMEM and the like, *ret untouched. */
int region_open(struct region *ret, size_t bytes);

/* Gives it back. A region that was never opened (all zero) is left alone. */
void region_close(struct region *region);

#endif
