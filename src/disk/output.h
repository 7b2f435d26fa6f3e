/* SPDX-License-Identifier: MIT
 *
 * The few calls that touch a stream's files. Everything that the store changes on disk goes through
 * one struct of functions, so that a test can let any one of them fail, and another way of writing
 * can take the place of pwritev.
 *
 * All return -errno on failure, print nothing, and may wait for the disk. Writing, syncing and cutting
 * are for the reader's thread only; the others may be called by any thread, on different files.
 */
#ifndef DBUFD_DISK_OUTPUT_H
#define DBUFD_DISK_OUTPUT_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { OUTPUT_IN_FLIGHT_MAX = 8 };

struct output {
    void *context; /* handed to every function */

    /* A descriptor. `flags` as for open(2); a new file gets mode 0640. */
    int (*open)(void *context, const char *path, int flags);

    size_t write_bytes; /* of one write: a device gains nothing from more */

    /* Writes the front of `pieces` at `offset` (-1: where the descriptor stands, for a device) and
     * says how many bytes that was: at least one, seldom all. -EAGAIN: a device that takes nothing
     * for a second. */
    ssize_t (*write)(void *context, int fd, const struct iovec *pieces, int count, off_t offset);

    /* The same with several writes at a time; writes_in_flight 0: not to be had. Begins what `write`
     * does, at an offset, as number `slot` of them, one that is not in flight. Pieces and bytes must
     * stay as they are until its end. -errno: it was not begun. */
    unsigned writes_in_flight; /* at most OUTPUT_IN_FLIGHT_MAX */
    int (*begin_write)(void *context, unsigned slot, int fd, const struct iovec *pieces, int count,
                       off_t offset);

    /* Waits for the end of that write: what `write` would have returned, or 0. */
    ssize_t (*end_write)(void *context, unsigned slot);

    /* fdatasync. */
    int (*sync)(void *context, int fd);

    /* ftruncate. */
    int (*truncate)(void *context, int fd, uint64_t bytes);

    /* Room for bytes from..to, which become part of the file. */
    int (*allocate)(void *context, int fd, uint64_t from, uint64_t to);

    /* A buffered file's bytes from `before` on have been written: starts to put from..to on disk,
     * waits for before..from and drops it from the page cache, so that a long stream of writes
     * neither fills memory nor ends in one long stall. Says nothing about durability. */
    int (*settle)(void *context, int fd, uint64_t before, uint64_t from, uint64_t to);

    /* Bytes that an ordinary user may still write to the file's file system. */
    int (*free_bytes)(void *context, int fd, uint64_t *ret);

    /* Gives the file another name; -EEXIST: there is such a file. */
    int (*rename)(void *context, const char *from, const char *to);

    int (*remove)(void *context, const char *path);

    /* Makes the names in the directory of `path` durable. */
    int (*sync_directory)(void *context, const char *path);
};

/* The system's own calls. */
extern const struct output output_pwrite;

#endif
