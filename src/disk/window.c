/* SPDX-License-Identifier: MIT
 *
 * Happy path: a piece that lies in the window already is handed out there; else its beginning, if
 * it lies there, is moved to the front, and a MiB or more is read behind it.
 *
 * Failure modes: a read error fails the pieces that need the bytes, and no others; a file that
 * grows meanwhile is read as it was when it was opened; one that shrinks ends where reading found
 * its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recycle.h"
#include "window.h"

#define AHEAD_BYTES ((uint64_t)8 << 20) /* that the kernel is asked to have ready */

static int allocate(struct window *window, size_t piece_bytes)
{
    size_t bytes = piece_bytes + WINDOW_READ_BYTES; /* a piece's beginning, kept, and one read */
    if (window->file_bytes < bytes) {               /* a small file needs no more than itself */
        bytes = (size_t)window->file_bytes / FORMAT_ALIGN * FORMAT_ALIGN + FORMAT_ALIGN;
    }
    window->piece_bytes = piece_bytes;
    window->room_bytes = bytes;
    window->room = aligned_alloc(FORMAT_ALIGN, bytes);
    return window->room == NULL ? -ENOMEM : 0;
}

int window_open(struct window *ret, const char *path, size_t piece_bytes)
{
    struct stat stat;
    int rc = 0;
    struct window window = {0};
    assert(piece_bytes % FORMAT_ALIGN == 0);
    window.fd = recycle_open_for_reading(path, O_NONBLOCK); /* a FIFO must not stop us */
    if (window.fd < 0) {
        return window.fd;
    }
    if (fstat(window.fd, &stat) < 0) {
        rc = -errno;
    } else if (!S_ISREG(stat.st_mode)) {
        rc = S_ISDIR(stat.st_mode) ? -EISDIR : -EBADMSG;
    } else {
        window.file_bytes = (uint64_t)stat.st_size;
        /* Advice: without it reading is slower, not wrong. */
        (void)posix_fadvise(window.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        rc = allocate(&window, piece_bytes);
    }
    if (rc < 0) {
        (void)close(window.fd); /* only read from: nothing can be lost */
        return rc;
    }
    *ret = window;
    return 0;
}

void window_close(struct window *window)
{
    (void)close(window->fd); /* only read from: nothing can be lost */
    free(window->room);
}

int window_refresh(struct window *window)
{
    const size_t full = window->piece_bytes + WINDOW_READ_BYTES;
    struct stat stat;
    if (fstat(window->fd, &stat) < 0) {
        return -errno;
    }
    if ((uint64_t)stat.st_size > window->file_bytes && window->room_bytes < full) {
        unsigned char *room = aligned_alloc(FORMAT_ALIGN, full);
        if (room == NULL) {
            return -ENOMEM;
        }
        free(window->room);
        window->room = room;
        window->room_bytes = full;
    }
    window->file_bytes = (uint64_t)stat.st_size;
    window->count = 0;
    return 0;
}

void window_announce(const struct window *window, uint64_t from, uint64_t bytes)
{
    if (from < window->file_bytes) {
        (void)posix_fadvise(window->fd, (off_t)from, (off_t)bytes, POSIX_FADV_WILLNEED);
    }
}

/* What comes next: the device and the processor work at the same time. */
static void announce(struct window *window, uint64_t from)
{
    if (from >= window->announced && from - window->announced > AHEAD_BYTES) {
        window->announced = from; /* it was skipped */
    }
    while (window->announced < from + AHEAD_BYTES && window->announced < window->file_bytes) {
        window_announce(window, window->announced, WINDOW_READ_BYTES);
        window->announced += WINDOW_READ_BYTES;
    }
}

/* Reads on until the window holds `bytes`, or the file ends. -errno: it holds fewer. */
static int fill(struct window *window, size_t bytes)
{
    while (window->count < bytes) {
        uint64_t from = window->offset + window->count;
        uint64_t left = window->file_bytes - from;
        size_t want = bytes - window->count;
        if (want > left) {
            want = (size_t)left;
        }
        if (want == 0) {
            return 0;
        }
        ssize_t got = pread(window->fd, window->room + window->count, want, (off_t)from);
        if (got > 0) {
            window->count += (size_t)got;
        } else if (got == 0) {
            window->file_bytes = from;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

int window_load(struct window *window, uint64_t offset, size_t bytes,
                const unsigned char **ret_data, size_t *ret_bytes)
{
    assert(offset % FORMAT_ALIGN == 0 && offset <= window->file_bytes);
    assert(bytes <= window->piece_bytes);
    uint64_t end = window->offset + window->count;
    bool begins_inside = offset >= window->offset && offset <= end;

    if (!begins_inside || offset + bytes > end) {
        size_t kept = begins_inside ? (size_t)(end - offset) : 0;
        if (kept > 0) {
            memmove(window->room, window->room + (offset - window->offset), kept);
        }
        window->offset = offset;
        window->count = kept;
        announce(window, offset + kept);
        int rc = fill(window, kept + WINDOW_READ_BYTES > bytes ? kept + WINDOW_READ_BYTES : bytes);
        /* A bad page farther on is met when it is needed. */
        if (rc < 0 && window->count < bytes) {
            return rc;
        }
        end = offset + window->count;
    }
    *ret_data = window->room + (offset - window->offset);
    *ret_bytes = end - offset < bytes ? (size_t)(end - offset) : bytes;
    return 0;
}

ssize_t window_peek(const struct window *window, uint64_t offset, void *room, size_t bytes)
{
    ssize_t got;
    do {
        got = pread(window->fd, room, bytes, (off_t)offset);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

uint64_t window_next_data(const struct window *window, uint64_t offset)
{
    off_t data = lseek(window->fd, (off_t)offset, SEEK_DATA);
    if (data < 0) {
        return errno == ENXIO ? window->file_bytes : offset + FORMAT_ALIGN;
    }
    uint64_t page = (uint64_t)data & ~(uint64_t)(FORMAT_ALIGN - 1);
    return page > offset ? page : offset + FORMAT_ALIGN;
}
