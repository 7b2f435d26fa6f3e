/* SPDX-License-Identifier: MIT
 *
 * One open output file: made under a temporary name, given room ahead of the writing, published
 * under its own name, written in order, synced, cut to what is used and closed.
 *
 * It knows nothing of extents. One thread, the reader's; waits for the disk.
 */
#ifndef DBUFD_DISK_SEGMENT_H
#define DBUFD_DISK_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "output.h"

struct segment {
    const struct output *output;
    int fd;
    char *path;        /* its name now */
    uint64_t offset;   /* where the next byte goes */
    uint64_t file_end; /* size of the file; it is no larger */
    uint64_t room_end; /* up to here there is room, allocated or looked for: see segment_reserve */
    uint64_t settled;  /* buffered: on its way to disk up to here ... */
    uint64_t settled_before;  /* ... and out of the page cache up to here */
    bool published;           /* it has its own name, or had for a moment */
    bool device;              /* a character device or FIFO: written straight */
    bool direct;              /* O_DIRECT */
    bool direct_only;         /* nothing else will do */
    bool overlap;             /* several writes may be in flight, with O_DIRECT */
    bool ahead;               /* its size may be set ahead of the writing */
    bool preallocate;         /* and fallocate has not been refused */
    int no_direct_errno;      /* why not direct, though asked for; 0: it is, or was not asked for */
    int no_preallocate_errno; /* likewise */
    int no_overlap_errno;     /* likewise, of a write */
};

/* How to open it. What is refused is said in the segment. */
struct segment_manner {
    bool direct;      /* try O_DIRECT */
    bool direct_only; /* and do not go without it: -EINVAL then */
    bool ahead;       /* set its size ahead: whoever reads it knows where it really ends */
    bool preallocate; /* try to allocate that */
    bool overlap; /* have several writes in flight, if there is O_DIRECT and `output` has them */
};

/* Whether nobody has the file open as a segment: 0, -EWOULDBLOCK, else -errno. Changes nothing. */
int segment_probe(const char *path);

/* The same, but waits for some seconds: a process that was killed has it until what it had in flight
 * has ended. */
int segment_await(const char *path);

/* Makes an empty file at `path`, over whatever was there. -errno: nothing is left, *ret untouched.
 */
int segment_create(struct segment *ret, const struct output *output, const char *path,
                   struct segment_manner manner);

/* Opens an existing file for going on at its byte `offset`. */
int segment_reopen(struct segment *ret, const struct output *output, const char *path,
                   uint64_t offset, struct segment_manner manner);

/* Opens a character device or a FIFO. A FIFO is held open for reading too: it may have no reader
 * yet, and readers may come and go, without a byte being lost or an EPIPE. */
int segment_open_device(struct segment *ret, const struct output *output, const char *path);

/* Sees to it that there is room up to `least_end`, and allocates it ahead up to `ideal_end` or as
 * much as there is, but never so much that less than `min_free` bytes of the file system stay.
 * least_end 0: what cannot be had is no failure. -ENOSPC, -EDQUOT: no room; nothing is kept. */
int segment_reserve(struct segment *segment, uint64_t least_end, uint64_t ideal_end,
                    uint64_t min_free);

/* Forgets that there was room if it was only looked for: others may have taken it since. */
void segment_doubt_room(struct segment *segment);

/* Writes the front of `pieces`; returns the bytes, at least one. -errno: nothing of it counts,
 * though there may be some of it behind `offset`. */
ssize_t segment_write(struct segment *segment, const struct iovec *pieces, int count);

/* Whether several writes may be in flight. One that is refused for being so is the last. */
bool segment_overlaps(const struct segment *segment);

/* Begins to write `pieces` at `offset`, where the last one that was begun ends, or at the segment's. */
int segment_begin_write(struct segment *segment, unsigned slot, const struct iovec *pieces,
                        int count, uint64_t offset);

/* Waits for the write that was begun first. Returns the bytes that count. Fewer than all, or -errno as
 * of segment_write: those begun behind it are to be abandoned before anything else is done, and what
 * is missing written by segment_write. */
ssize_t segment_end_write(struct segment *segment, unsigned slot, const struct iovec *pieces,
                          int count);

/* Waits for a write behind one that failed. Nothing of it counts, though it may be in the file. */
void segment_abandon_write(struct segment *segment, unsigned slot, const struct iovec *pieces,
                           int count, uint64_t offset);

/* fdatasync. After a failure the file must not be trusted any more, and never be synced again. */
int segment_sync(struct segment *segment);

/* Cuts the file off at `bytes`, which becomes its offset. */
int segment_cut(struct segment *segment, uint64_t bytes);

/* Makes the file durable under `path`. Takes `path` over, whatever comes of it; segment->path says
 * which name the file has then. -EEXIST: there is such a file. */
int segment_publish(struct segment *segment, char *path);

/* Gives the file another name, durably, whatever has it already. segment->path says which name it has
 * then, whatever comes of it. */
int segment_rename(struct segment *segment, const char *path);

/* Whether the file is still at its path. 0: yes. -ESTALE: it was moved away. -ENOENT: it has no
 * name any more, so that what was written is lost to all. */
int segment_look(const struct segment *segment);

/* Closes it as it is. A segment that is not open (path NULL) is left alone. */
void segment_close(struct segment *segment);

/* Closes it and removes the file. -errno: the file is still there. */
int segment_discard(struct segment *segment);

#endif
