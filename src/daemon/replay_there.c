/* SPDX-License-Identifier: MIT
 *
 * Happy path: the target says in which file, and where in it, the half goes on that was being stored;
 * what lies there is compared with what the region has, from front to back, as it was stored.
 *
 * Only what is the same counts, to the last byte: the files may have been moved, or a run that did not
 * know of this region may have gone on in them. A torn end, or a file that is gone, ends what is there.
 */
#include "replay_there.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../disk/raw.h"
#include "../disk/scan.h"
#include "../disk/stream.h"

enum { READ_BYTES = 1 << 20 };

/* ---- Segments ---------------------------------------------------------------------------------- */

/* Of a damaged region the disk may have more. */
static bool is_same(const struct extent_header *ours, const struct scan_extent *there)
{
    const struct extent_header *header = there->header;

    return ours->writer == header->writer && ours->epoch == header->epoch &&
           ours->first_block == header->first_block && ours->used <= header->used &&
           memcmp(ours + 1, there->data, ours->used) == 0;
}

/* Counts those in one file, on from *count. 1: the next file may have more; 0: something else comes
 * first. -errno. */
static int count_in_segment(const char *path, uint64_t offset, const struct there_extents *extents,
                            size_t *count)
{
    struct scan *scan;
    struct scan_extent extent;
    int rc = scan_open(&scan, path);
    if (rc < 0)
        return rc == -EBADMSG || rc == -ENODATA || rc == -ENOENT ? 0 : rc;
    scan_seek(scan, offset > FORMAT_ALIGN ? offset : FORMAT_ALIGN);
    rc = 1;
    while (rc == 1 && scan_next(scan, &extent) == 1) {
        const bool whole = extent.fault == SCAN_OK || extent.fault == SCAN_PADDING_CHANGED;
        if (extent.fault == SCAN_IO_ERROR)
            rc = -extent.error;
        else if (extent.fault != SCAN_EMPTY_TAIL && !whole)
            rc = 0;
        else if (whole && !(extent.header->flags & EXTENT_CHECKPOINT)) {
            if (*count < extents->count && is_same(extents->items[*count], &extent))
                (*count)++;
            else
                rc = 0;
        }
    }
    scan_close(scan);
    return rc;
}

/* How many of them are in front of the target. -ESTALE: it points into the middle of one. */
static int count_before(const struct store_target *target, const struct there_extents *extents,
                        size_t *ret)
{
    uint64_t position = 0;
    size_t count = 0;
    while (position < target->position && count < extents->count &&
           extents->items[count]->epoch == target->epoch)
        position += extent_stored_bytes(extents->items[count++]->used);
    *ret = count;
    return position == target->position ? 0 : -ESTALE;
}

int there_in_segments(const struct stream_files *files, const struct store_target *target,
                      const struct there_extents *extents, size_t *ret)
{
    size_t count;
    int rc = count_before(target, extents, &count);
    if (rc < 0)
        return rc;
    rc = 1;
    for (size_t i = 0; i < files->count && rc == 1; i++)
        if (files->files[i].number >= target->number)
            rc = count_in_segment(files->files[i].path,
                                  files->files[i].number == target->number ? target->offset : 0,
                                  extents, &count);
    if (rc >= 0)
        *ret = count;
    return rc < 0 ? rc : 0;
}

/* ---- Raw --------------------------------------------------------------------------------------- */

/* The bytes of the extents in a row. */
struct bytes {
    const struct there_extents *extents;
    size_t index; /* of the extent, */
    size_t skip;  /* and bytes of it that are done with */
};

/* Moves on by `count` bytes. */
static void skip_bytes(struct bytes *bytes, uint64_t count)
{
    while (bytes->index < bytes->extents->count) {
        const size_t left = raw_bytes(bytes->extents->items[bytes->index]) - bytes->skip;
        if (count < left) {
            bytes->skip += (size_t)count;
            return;
        }
        count -= left;
        bytes->index++;
        bytes->skip = 0;
    }
}

/* Compares the next of them with `data` and moves on. The bytes that are the same. */
static size_t compare_bytes(struct bytes *bytes, const unsigned char *data, size_t count)
{
    struct iovec pieces[64];
    size_t same = 0;
    while (same < count && bytes->index < bytes->extents->count) {
        const int n = raw_pieces(bytes->extents->items[bytes->index], bytes->skip, pieces, 64);
        size_t took = 0;
        for (int i = 0; i < n && same + took < count; i++) {
            const size_t left = count - same - took;
            const size_t length = pieces[i].iov_len < left ? pieces[i].iov_len : left;
            if (memcmp(pieces[i].iov_base, data + same + took, length) != 0)
                return same;
            took += length;
        }
        same += took;
        skip_bytes(bytes, took);
        if (n == 0)
            skip_bytes(bytes, 0); /* an extent without a byte left */
    }
    return same;
}

/* Compares the file's end from `offset` on. 0 and the bytes; -ESTALE: it is not ours. */
static int count_in_raw(const char *path, uint64_t offset, struct bytes *bytes, uint64_t *ret)
{
    unsigned char *room = malloc(READ_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : room == NULL ? -ENOMEM : 0;
    *ret = 0;
    while (rc == 0) {
        const ssize_t got = pread(fd, room, READ_BYTES, (off_t)(offset + *ret));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            rc = got < 0 ? -errno : 0;
            break;
        }
        if (compare_bytes(bytes, room, (size_t)got) < (size_t)got)
            rc = -ESTALE;
        *ret += (uint64_t)got;
    }
    if (fd >= 0)
        (void)close(fd);
    free(room);
    return rc;
}

int there_in_raw(const struct stream_files *files, const struct store_target *target,
                 const struct there_extents *extents, uint64_t *ret)
{
    struct bytes bytes = {.extents = extents};
    uint64_t count = 0;
    int rc = 0;
    skip_bytes(&bytes, target->position);
    for (size_t i = 0; i < files->count && rc == 0; i++)
        if (files->files[i].number == target->number && files->files[i].bytes > target->offset)
            rc = count_in_raw(files->files[i].path, target->offset, &bytes, &count);
    *ret = target->position + count;
    return rc;
}
