/* SPDX-License-Identifier: MIT
 *
 * Failure mode: a reader that opens the file in the very moment in which it is taken over is not seen,
 * but sees that the name it opened is gone, or is another file's.
 */
#include "recycle.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "tally.h"

enum { OPEN_TRIES = 100 }; /* each time it was another file's name by then */

/* Whether this is the header of a checkpoint that ends the segment, `bytes` long, at `offset`. */
static bool is_end(const struct extent_header *header, const struct segment_header *segment,
                   uint64_t offset, uint64_t bytes)
{
    uint32_t crc = crc32c(crc32c(0, segment->stream_uuid, sizeof(segment->stream_uuid)), header,
                          offsetof(struct extent_header, header_crc));

    return header->magic == EXTENT_MAGIC && header->header_crc == crc &&
           header->flags & EXTENT_CHECKPOINT && header->flags & EXTENT_END &&
           extent_stored_bytes(header->used) == bytes && header->place == offset / FORMAT_ALIGN &&
           header->seq > segment->first_seq; /* else it is of an earlier life */
}

static int check(int fd, const uint8_t uuid[static 16], unsigned char *page)
{
    const struct segment_header *segment = (const struct segment_header *)page;
    const struct extent_header *last = (const struct extent_header *)(page + FORMAT_ALIGN);
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_nlink != 1)
        return -EBADMSG;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* advice */
    if (pread(fd, page, FORMAT_ALIGN, 0) != FORMAT_ALIGN || segment->magic != SEGMENT_MAGIC ||
        segment->crc != crc32c(0, segment, offsetof(struct segment_header, crc)) ||
        memcmp(segment->stream_uuid, uuid, sizeof(segment->stream_uuid)) != 0)
        return -EBADMSG;
    /* How long it is says only its header, at its other end. */
    for (off_t bytes = FORMAT_ALIGN; bytes <= CHECKPOINT_STORED_MAX; bytes += FORMAT_ALIGN) {
        off_t offset = status.st_size - bytes;
        if (offset < 2 * FORMAT_ALIGN ||
            pread(fd, page + FORMAT_ALIGN, FORMAT_ALIGN, offset) != FORMAT_ALIGN)
            return -EBADMSG;
        if (is_end(last, segment, (uint64_t)offset, (uint64_t)bytes))
            return 0;
    }
    return -EBADMSG;
}

int recycle_check(const char *path, const uint8_t uuid[static 16])
{
    unsigned char *pages = aligned_alloc(FORMAT_ALIGN, 2 * FORMAT_ALIGN);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc = !pages ? -ENOMEM : fd < 0 ? -errno : check(fd, uuid, pages);

    if (fd >= 0)
        close(fd);
    free(pages);
    return rc;
}

int recycle_claim(int fd)
{
    /* A lease for writing is given only to the one who alone has the file open. It is not kept: whoever
     * opens the file in this very moment would make the kernel send us a signal, of which this one does
     * nothing. */
    if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0 ||
        fcntl(fd, F_SETLEASE, F_UNLCK) < 0)
        return -errno;
    return 0;
}

static bool has_name(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

int recycle_open_for_reading(const char *path, int flags)
{
    for (int tries = 1;; tries++) {
        int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        if (has_name(fd, path) || tries == OPEN_TRIES)
            return fd;
        close(fd);
    }
}
