/* SPDX-License-Identifier: MIT
 *
 * segment: one output file.
 *
 * Happy path: create under a temporary name, allocate the whole size (a write inside the file's
 * size takes no exclusive lock and allocates nothing), write the beginning, fdatasync, rename, sync
 * the directory; write with O_DIRECT, so that an error belongs to this very write and the page
 * cache stays as it is; cut to what was used, fdatasync, close.
 *
 * Failure modes:
 *   - O_DIRECT refused, at open or at the first write: buffered, with rolling write-out
 *   - fallocate refused: the size alone is set ahead, or else the file grows as it is written
 *   - little room: less is allocated ahead, down to what the next half needs
 *   - a failed allocation may leave blocks and size behind (ext4 does): the file is cut back at
 * once
 *   - EINTR: the same call again; after a hundred in a row it is an error like others, so that nobody
 *     spins: whoever calls waits, and comes again
 */
#include "segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "again.h"

#define ALIGN         4096u                /* O_DIRECT: what every file system takes */
#define AHEAD_LEAST   ((uint64_t)64 << 20) /* bytes: less is not worth allocating ahead */
#define SETTLE_BYTES  ((uint64_t)8 << 20)  /* written between two steps of the rolling write-out */
#define AWAIT_MS      5                    /* between two looks at a file that somebody holds */
#define AWAIT_MOST_MS 10000                /* a device that takes longer for four writes is ill */
#define FUTILE_WRITES 8                    /* in a row, before it counts as an error */

/* The stream's lock is by its name; this one is on the file itself, which may have other names. A file
 * system without locks has none. A device is everybody's. */
static int lock_file(int fd)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode))
        return 0;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return -EWOULDBLOCK;
    /* This one ends with the process, also if the kernel still writes for it: see is_alive. If it cannot
     * be had, or is lost, whoever comes waits in vain. */
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)fcntl(fd, F_SETLK, &whole);
    return 0;
}

/* Whether the process that has the file locked is there, and not only what it had in flight. */
static bool is_alive(const char *path)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool alive = fd >= 0 && fcntl(fd, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;

    if (fd >= 0)
        close(fd);
    return alive;
}

int segment_probe(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = lock_file(fd);
    close(fd); /* and with it the lock */
    return rc;
}

int segment_await(const char *path)
{
    static const struct timespec rest = {.tv_nsec = AWAIT_MS * 1000000};
    int rc;

    for (int waited_ms = 0; (rc = segment_probe(path)) == -EWOULDBLOCK; waited_ms += AWAIT_MS) {
        if (waited_ms >= AWAIT_MOST_MS || is_alive(path))
            break;
        (void)nanosleep(&rest, NULL);
    }
    return rc;
}

/* Opens `path`, with O_DIRECT if that can be had. */
static int open_file(struct segment *ret, const struct output *output, const char *path, int flags,
                     struct segment_manner manner)
{
    struct segment segment = {.output = output,
                              .direct = manner.direct,
                              .direct_only = manner.direct && manner.direct_only,
                              .overlap = manner.overlap && output->writes_in_flight > 0,
                              .ahead = manner.ahead,
                              .preallocate = manner.ahead && manner.preallocate};

    segment.fd = open_again(output, path, flags | (manner.direct ? O_DIRECT : 0));
    if (segment.fd == -EINVAL && manner.direct && !manner.direct_only) {
        segment.direct = false;
        segment.no_direct_errno = EINVAL;
        segment.fd = open_again(output, path, flags);
    }
    if (segment.fd < 0)
        return segment.fd;
    int rc = lock_file(segment.fd);
    if (rc == 0 && !(segment.path = strdup(path)))
        rc = -ENOMEM;
    if (rc < 0) {
        close(segment.fd);
        return rc;
    }
    *ret = segment;
    return 0;
}

int segment_create(struct segment *ret, const struct output *output, const char *path,
                   struct segment_manner manner)
{
    return open_file(ret, output, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, manner);
}

int segment_reopen(struct segment *ret, const struct output *output, const char *path,
                   uint64_t offset, struct segment_manner manner)
{
    struct segment segment;
    struct stat status;
    int rc = open_file(&segment, output, path, O_WRONLY, manner);

    if (rc < 0)
        return rc;
    if (fstat(segment.fd, &status) < 0) {
        rc = -errno;
        segment_close(&segment);
        return rc;
    }
    segment.file_end = (uint64_t)status.st_size;
    segment.offset = segment.room_end = segment.settled = segment.settled_before = offset;
    *ret = segment;
    return 0;
}

int segment_open_device(struct segment *ret, const struct output *output, const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return -errno;
    int rc = open_file(ret, output, path, O_WRONLY | O_NONBLOCK, (struct segment_manner){0});
    if (rc == 0)
        ret->device = true;
    return rc;
}

static int truncate_file(struct segment *segment, uint64_t bytes)
{
    int rc = truncate_again(segment->output, segment->fd, bytes);
    if (rc == 0)
        segment->file_end = bytes;
    return rc;
}

/* Allocates room_end..to. If that fails nothing stays behind. */
static int allocate(struct segment *segment, uint64_t to)
{
    uint64_t file_end = segment->file_end;
    int rc = allocate_again(segment->output, segment->fd, segment->room_end, to);

    if (rc == 0) {
        segment->room_end = to;
        if (to > segment->file_end)
            segment->file_end = to;
        return 0;
    }
    int cut = truncate_file(segment, file_end);
    return cut < 0 ? cut : rc;
}

static bool no_room(int rc)
{
    return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
}

/* Allocates up to `ideal_end`, or by halves less, or up to `least_end`, out of `free_bytes`. */
static int allocate_ahead(struct segment *segment, uint64_t least_end, uint64_t ideal_end,
                          uint64_t free_bytes)
{
    int rc = -ENOSPC;

    for (uint64_t ahead = ideal_end - segment->room_end;
         ahead >= AHEAD_LEAST || segment->room_end + ahead == ideal_end; ahead /= 2) {
        uint64_t end = (segment->room_end + ahead) & ~(uint64_t)(ALIGN - 1);
        if (end < least_end || end <= segment->room_end)
            break;
        if (end - segment->room_end > free_bytes)
            continue;
        rc = allocate(segment, end);
        if (!no_room(rc))
            return rc;
    }
    if (least_end > segment->room_end && least_end - segment->room_end <= free_bytes)
        return allocate(segment, least_end);
    return least_end > segment->room_end ? rc : 0;
}

int segment_reserve(struct segment *segment, uint64_t least_end, uint64_t ideal_end,
                    uint64_t min_free)
{
    uint64_t free_bytes;

    if (segment->device || segment->room_end >= (least_end ? least_end : ideal_end))
        return 0;
    int rc = segment->output->free_bytes(segment->output->context, segment->fd, &free_bytes);
    if (rc < 0)
        return rc;
    free_bytes = free_bytes > min_free ? free_bytes - min_free : 0;
    if (ideal_end < least_end)
        ideal_end = least_end;
    if (segment->preallocate) {
        rc = allocate_ahead(segment, least_end, ideal_end, free_bytes);
        if (rc == 0 || rc == -EDQUOT)
            return rc;
        if (no_room(rc))
            return least_end ? rc : 0;
        if (rc != -EOPNOTSUPP && rc != -ENOSYS && rc != -EINVAL)
            return rc;
        segment->preallocate = false;
        segment->no_preallocate_errno = -rc;
    }
    /* The size alone still spares the journal an entry for every write. If that is refused too the
     * file simply grows. */
    if (segment->ahead && (least_end ? least_end : ideal_end) > segment->file_end)
        (void)truncate_file(segment, ideal_end);
    if (least_end <= segment->room_end)
        return 0;
    if (least_end - segment->room_end > free_bytes)
        return -ENOSPC;
    segment->room_end = least_end;
    return 0;
}

void segment_doubt_room(struct segment *segment)
{
    if (!segment->preallocate)
        segment->room_end = segment->offset;
}

/* The rolling write-out of a buffered file: chunk n is started, chunk n-1 waited for and dropped.
 */
static int settle(struct segment *segment)
{
    if (segment->offset - segment->settled < SETTLE_BYTES)
        return 0;
    int rc = segment->output->settle(segment->output->context, segment->fd, segment->settled_before,
                                     segment->settled, segment->offset);
    segment->settled_before = segment->settled;
    segment->settled = segment->offset;
    /* What could not be written out is gone from the page cache, room or no room: the file is not
     * to be trusted. Where there is no such call the kernel writes out when it likes: slower, no
     * more. */
    return rc == -EIO || no_room(rc) ? -EIO : 0;
}

/* O_DIRECT was taken at open and is refused by a write. */
static int leave_direct(struct segment *segment)
{
    int flags = fcntl(segment->fd, F_GETFL);

    if (flags < 0 || fcntl(segment->fd, F_SETFL, flags & ~O_DIRECT) < 0)
        return -errno;
    segment->direct = false;
    segment->no_direct_errno = EINVAL;
    segment->settled = segment->settled_before = segment->offset;
    return 0;
}

/* A write that failed may have put some of its bytes at `offset` and behind it. */
static void note_remains(struct segment *segment, const struct iovec *pieces, int count,
                         uint64_t offset)
{
    uint64_t end = offset;

    for (int i = 0; i < count; i++)
        end += pieces[i].iov_len;
    if (end > segment->file_end)
        segment->file_end = end;
}

ssize_t segment_write(struct segment *segment, const struct iovec *pieces, int count)
{
    const struct output *output = segment->output;
    off_t offset = segment->device ? -1 : (off_t)segment->offset;
    int interrupted = 0;

    for (int futile = 0; futile < FUTILE_WRITES;) {
        ssize_t written = output->write(output->context, segment->fd, pieces, count, offset);
        if (written == -EINVAL && segment->direct && !segment->direct_only) {
            int rc = leave_direct(segment);
            if (rc < 0)
                return rc;
            continue;
        }
        if (written == -EINTR && ++interrupted < INTERRUPTIONS)
            continue;
        if (written < 0) {
            note_remains(segment, pieces, count, segment->offset);
            return written;
        }
        if (segment->direct)
            written -= written % (ssize_t)ALIGN; /* the rest of a torn page is written again */
        if (written == 0) {
            futile++;
            continue;
        }
        segment->offset += (uint64_t)written;
        if (segment->offset > segment->file_end)
            segment->file_end = segment->offset;
        if (segment->device || segment->direct)
            return written;
        int rc = settle(segment);
        return rc < 0 ? rc : written;
    }
    return -EIO;
}

bool segment_overlaps(const struct segment *segment)
{
    return segment->direct && segment->overlap;
}

/* Whether the error is about the way of writing, and not about the file. */
static bool is_refusal(ssize_t rc)
{
    return rc == -EINVAL || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EPERM || rc == -EACCES;
}

static void leave_overlap(struct segment *segment, int rc)
{
    segment->overlap = false;
    segment->no_overlap_errno = -rc;
}

int segment_begin_write(struct segment *segment, unsigned slot, const struct iovec *pieces,
                        int count, uint64_t offset)
{
    const struct output *output = segment->output;
    int rc = output->begin_write(output->context, slot, segment->fd, pieces, count, (off_t)offset);

    if (is_refusal(rc))
        leave_overlap(segment, rc);
    return rc;
}

ssize_t segment_end_write(struct segment *segment, unsigned slot, const struct iovec *pieces,
                          int count)
{
    const struct output *output = segment->output;
    ssize_t written = output->end_write(output->context, slot);

    if (written < 0) {
        note_remains(segment, pieces, count, segment->offset);
        if (is_refusal(written))
            leave_overlap(segment, (int)written);
        /* It is tried once more by itself, which tells what is wrong with it, if anything is. */
        bool again =
            is_refusal(written) || written == -EINTR || written == -EAGAIN || written == -ECANCELED;
        return again ? 0 : written;
    }
    written -= written % (ssize_t)ALIGN; /* the rest of a torn page is written again */
    segment->offset += (uint64_t)written;
    if (segment->offset > segment->file_end)
        segment->file_end = segment->offset;
    return written;
}

void segment_abandon_write(struct segment *segment, unsigned slot, const struct iovec *pieces,
                           int count, uint64_t offset)
{
    /* Whatever it says: the bytes are not counted. */
    (void)segment->output->end_write(segment->output->context, slot);
    note_remains(segment, pieces, count, offset);
}

int segment_sync(struct segment *segment)
{
    if (segment->device)
        return 0; /* what it has taken is no longer in our hands */
    return sync_again(segment->output, segment->fd);
}

int segment_cut(struct segment *segment, uint64_t bytes)
{
    assert(!segment->device);
    segment->offset = bytes;
    if (segment->settled > bytes)
        segment->settled = bytes;
    if (segment->settled_before > bytes)
        segment->settled_before = bytes;
    segment->room_end = bytes;
    return segment->file_end == bytes ? 0 : truncate_file(segment, bytes);
}

int segment_publish(struct segment *segment, char *path)
{
    const struct output *output = segment->output;
    int rc = segment_sync(segment);

    if (rc == 0)
        rc = output->rename(output->context, segment->path, path);
    if (rc < 0) {
        free(path);
        return rc;
    }
    free(segment->path);
    segment->path = path;
    segment->published = true;
    return output->sync_directory(output->context, path);
}

int segment_rename(struct segment *segment, const char *path)
{
    const struct output *output = segment->output;
    char *copy = strdup(path);
    int rc = copy ? output->rename(output->context, segment->path, path) : -ENOMEM;

    if (rc == -EEXIST) {
        rc = output->remove(output->context, path);
        if (rc == 0)
            rc = output->rename(output->context, segment->path, path);
    }
    if (rc < 0) {
        free(copy);
        return rc;
    }
    free(segment->path);
    segment->path = copy;
    return output->sync_directory(output->context, path);
}

int segment_look(const struct segment *segment)
{
    struct stat ours, there;

    if (segment->device)
        return 0;
    if (fstat(segment->fd, &ours) < 0)
        return -errno;
    if (ours.st_nlink == 0 || (uint64_t)ours.st_size < segment->offset)
        return -ENOENT; /* deleted, or cut by somebody: what was in it is gone */
    if (stat(segment->path, &there) < 0)
        return errno == ENOENT ? -ESTALE : -errno;
    return ours.st_ino == there.st_ino && ours.st_dev == there.st_dev ? 0 : -ESTALE;
}

void segment_close(struct segment *segment)
{
    if (!segment->path)
        return;
    close(segment->fd); /* whatever it says, fdatasync has said it before */
    free(segment->path);
    *segment = (struct segment){0};
}

int segment_discard(struct segment *segment)
{
    int rc = segment->output->remove(segment->output->context, segment->path);

    segment_close(segment);
    return rc == -ENOENT ? 0 : rc;
}
