/* SPDX-License-Identifier: MIT
 *
 * The memory of the double buffer: one sealed memfd, or a file on tmpfs or pmem, mapped, touched and
 * locked at start, so that a writer never meets a page fault and the content can outlive the process.
 *
 * All functions belong to one thread; they may wait for the kernel, never for another thread.
 */
#ifndef DBUFD_BUFFER_REGION_H
#define DBUFD_BUFFER_REGION_H

#include <stddef.h>

struct region {
    int fd;         /* the memfd, its size sealed; or the file */
    void *map;      /* page aligned, zero at first */
    size_t bytes;   /* of the mapping, a multiple of the page */
    int huge_errno; /* 0: huge pages were granted, or not asked for; else why not (one notice) */
    int lock_errno; /* 0: the memory is locked; else why not (one notice) */
};

/* Gets `bytes` bytes (rounded up to a page) of zeroed, resident memory. Huge pages and locking are
 * tried and may be missing; the memory itself may not: -ENOMEM and the like, *ret untouched. */
int region_open(struct region *ret, size_t bytes);

/* Takes the file at `path` for this process, made if it is not there, and leaves it as it is: its
 * descriptor, or -errno. -EWOULDBLOCK: another process has it; -EBADMSG: it is no regular file. */
int region_open_file(const char *path);

/* The same as region_open, in such a file: what it held is gone. Takes over the descriptor if it
 * succeeds. */
int region_open_in(struct region *ret, int file, size_t bytes);

/* Maps what an earlier process has left, in a memfd or a file, as it is; neither touched nor locked:
 * it is read once. Takes over the descriptor if it succeeds. -EBADMSG: it cannot be a region, by its
 * kind or its size, or somebody could still change its size. */
int region_adopt(struct region *ret, int fd);

/* The same for a file that is only looked at: what is changed in the mapping stays in it.
 * -EWOULDBLOCK: a process lives in it. */
int region_adopt_copy(struct region *ret, const char *path);

/* Writes all of it to a new file at `path`, whole or not at all, and durable. -EEXIST; -errno. */
int region_save(const struct region *region, const char *path);

/* Gives it back. A region that was never opened (all zero) is left alone. */
void region_close(struct region *region);

#endif
