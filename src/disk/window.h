/* SPDX-License-Identifier: MIT
 *
 * A file that is read forward through a window of memory, large pieces at a time.
 *
 * One thread; waits for the disk; allocates in window_open only.
 */
#ifndef DBUFD_DISK_WINDOW_H
#define DBUFD_DISK_WINDOW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "format.h"

#define WINDOW_READ_BYTES ((size_t)1 << 20) /* least to ask the file for */

struct window {
    int fd;
    uint64_t file_bytes; /* when it was opened; less if it has shrunk since */
    size_t piece_bytes;  /* of the largest piece */
    size_t room_bytes;
    unsigned char *room; /* `count` bytes of the file from `offset` on */
    uint64_t offset;
    size_t count;
    uint64_t announced; /* the kernel was asked for what is before this */
};

/* Opens a regular file, for pieces of up to `piece_bytes`. -EISDIR; -EBADMSG: it is neither file nor
 * folder; else -errno. *ret untouched on failure. */
int window_open(struct window *ret, const char *path, size_t piece_bytes);
void window_close(struct window *window);

/* Forgets what it holds and looks how large the file is now. -errno. */
int window_refresh(struct window *window);

/* Makes `bytes` bytes at `offset`, a multiple of FORMAT_ALIGN, lie in memory in one piece, or as many
 * as the file has: *ret_bytes. *ret_data is aligned to FORMAT_ALIGN and valid until the next call.
 * -errno if they could not all be read. */
int window_load(struct window *window, uint64_t offset, size_t bytes,
                const unsigned char **ret_data, size_t *ret_bytes);

/* Lets the kernel read these bytes while others are looked at. Advice: without it reading is slower, not
 * wrong. */
void window_announce(const struct window *window, uint64_t from, uint64_t bytes);

/* Reads past the window: few bytes that are wanted alone. Returns how many there are; -errno. */
ssize_t window_peek(const struct window *window, uint64_t offset, void *room, size_t bytes);

/* From zeros at `offset`: the next page that may hold something else, at least one farther on.
 * What was never written is not read at all. */
uint64_t window_next_data(const struct window *window, uint64_t offset);

#endif
