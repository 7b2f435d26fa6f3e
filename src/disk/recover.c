/* SPDX-License-Identifier: MIT
 *
 * recover: where a stream goes on.
 *
 * Happy path: the last segment is read from its first checkpoint to its end; the tally of the
 * stream and the end of the last whole extent are known then.
 *
 * Failure modes:
 *   - behind the last whole extent there is a torn one, or many pages of which only some were
 *     written: kept in PATH.torn and cut off;
 *   - there is only room that was never used: cut off;
 *   - damage with whole extents behind it is no torn tail: nothing is cut, the stream goes on
 * behind the last whole extent, and verifying will show the damage; but where all from there on is in
 * memory and will be stored again, the damage is the end, whatever is behind it;
 *   - whole extents without the checkpoint before them: -EBADMSG, this is for a person to look at;
 *   - the last file holds no whole extent at all (a disk that forgot what it had acknowledged): it
 * is renamed to PATH.torn, and the one before it counts;
 *   - an empty file is as good as none, and is removed.
 */
#include "recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "again.h"
#include "scan.h"

enum {
    COPY_BYTES = 1 << 20,
    FUTILE_WRITES = 8,    /* in a row, before it counts as an error */
    TORN_NAMES_MAX = 1000 /* torn tails of one segment that are kept apart */
};

/* What is read must be what the disk has: a page that only the cache had would be built on, and
 * could still go away. */
static int sync_file(const struct output *output, const char *path)
{
    int fd = open_again(output, path, O_RDONLY);

    if (fd < 0)
        return fd;
    int rc = sync_again(output, fd);
    close(fd);
    return rc;
}

/* Blocks of an extent that is damaged, and stays in the file because a whole one is behind it: their
 * sequences are not given a second time, or nobody could tell which are meant. */
struct lost {
    uint64_t next_block[FORMAT_WRITERS_MAX]; /* 0: nothing is lost */
};

static void add_lost(struct lost *lost, const struct extent_header *header)
{
    uint64_t next_block = header->first_block + header->block_count;

    if (next_block > lost->next_block[header->writer])
        lost->next_block[header->writer] = next_block;
}

static void skip_lost(struct lost *lost, struct tally *tally)
{
    for (unsigned w = 0; w < FORMAT_WRITERS_MAX; w++) {
        if (lost->next_block[w] > tally->writers[w].next_block) {
            tally->writers[w].next_block = lost->next_block[w];
            if (tally->writer_count <= w)
                tally->writer_count = w + 1;
        }
        lost->next_block[w] = 0;
    }
}

/* A whole extent of the segment. */
static void add_extent(struct recovery *recovery, const struct scan_extent *extent,
                       struct lost *lost)
{
    struct tally *tally = &recovery->tally;
    const struct extent_header *header = extent->header;

    if (recovery->torn)
        skip_lost(lost, tally);
    if (header->flags & EXTENT_CHECKPOINT) {
        const struct checkpoint_writer *writers;
        const struct checkpoint *checkpoint = scan_checkpoint(extent->data, header->used, &writers);
        assert(checkpoint); /* scan_next has looked at it */
        tally_restore(tally, header, checkpoint, writers);
    } else {
        tally_add(tally, header, tally_data_bytes(header, extent->data));
        tally->next_seq = header->seq + 1; /* behind damage there is a gap */
    }
    recovery->found = true;
    recovery->closed = header->flags & EXTENT_CLOSE;
    recovery->goes_on = (header->flags & EXTENT_END) && !recovery->closed;
    recovery->end = extent->offset + extent->bytes;
    recovery->torn = false;
}

/* Whether what is at `offset` of the file is in memory, too. */
static bool is_in_memory(const struct store_target *in_memory, const struct stream_file *file,
                         uint64_t offset)
{
    return in_memory && (file->number > in_memory->number ||
                         (file->number == in_memory->number && offset >= in_memory->offset));
}

/* -EBADMSG: there are whole extents, but no checkpoint that says where they belong. */
static int read_extents(struct scan *scan, const struct stream_file *file,
                        const struct store_target *in_memory, struct recovery *recovery)
{
    struct scan_extent extent;
    struct lost lost = {0};
    bool orphans = false, at_end = false;

    while (scan_next(scan, &extent) == 1) {
        if (at_end) {
            if (extent.fault != SCAN_EMPTY_TAIL)
                recovery->torn_end = extent.offset + extent.bytes;
            continue;
        }
        bool whole = extent.fault == SCAN_OK || extent.fault == SCAN_PADDING_CHANGED;
        bool newer = whole && (!recovery->found || extent.header->seq >= recovery->tally.next_seq);
        /* Only a checkpoint says what came before. */
        bool start = recovery->found || (whole && extent.header->flags & EXTENT_CHECKPOINT);
        if (newer && start)
            add_extent(recovery, &extent, &lost);
        else if (newer)
            orphans = true;
        else if (!whole && extent.fault != SCAN_EMPTY_TAIL) {
            recovery->torn = true;
            recovery->torn_end = extent.offset + extent.bytes;
            if (extent.fault == SCAN_DATA_CHANGED && recovery->found &&
                extent.header->seq >= recovery->tally.next_seq)
                add_lost(&lost, extent.header);
            at_end = is_in_memory(in_memory, file, extent.offset);
        }
    }
    return orphans && !recovery->found ? -EBADMSG : 0;
}

/* Reads one segment. 0: recovery->found says whether it has a whole extent. */
static int read_segment(const struct stream_file *file, const struct store_target *in_memory,
                        const struct output *output, struct recovery *recovery)
{
    struct scan *scan;
    int rc = sync_file(output, file->path);

    if (rc == 0)
        rc = scan_open(&scan, file->path);
    if (rc < 0)
        return rc;
    const struct segment_header *header = scan_header(scan);
    memcpy(recovery->uuid, header->stream_uuid, sizeof(recovery->uuid));
    recovery->bytes = scan_file_bytes(scan);
    if (header->number > recovery->number)
        recovery->number = header->number;
    rc = read_extents(scan, file, in_memory, recovery);
    scan_close(scan);
    return rc;
}

static int add_hollow(struct recovery *recovery, const char *path)
{
    char **grown =
        reallocarray(recovery->hollow, recovery->hollow_count + 1, sizeof(recovery->hollow[0]));

    if (!grown)
        return -ENOMEM;
    recovery->hollow = grown;
    grown[recovery->hollow_count] = strdup(path);
    if (!grown[recovery->hollow_count])
        return -ENOMEM;
    recovery->hollow_count++;
    return 0;
}

/* The newest file that has a whole extent, and all behind it that have none. */
static int look_backwards(const struct stream_files *files, const struct store_target *in_memory,
                          const struct output *output, struct recovery *recovery)
{
    for (size_t left = files->count; left > 0; left--) {
        const struct stream_file *file = &files->files[left - 1];
        if (file->number > recovery->number)
            recovery->number = file->number;
        int rc = read_segment(file, in_memory, output, recovery);
        if (rc < 0 && rc != -ENODATA)
            return rc;
        if (recovery->found) {
            recovery->path = strdup(file->path);
            return recovery->path ? 0 : -ENOMEM;
        }
        rc = add_hollow(recovery, file->path);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int recover_look(const struct stream_files *files, const struct store_target *in_memory,
                 const struct output *output, struct recovery *ret)
{
    struct recovery *recovery = calloc(1, sizeof(*recovery)); /* it is large */

    if (!recovery)
        return -ENOMEM;
    int rc = look_backwards(files, in_memory, output, recovery);
    if (rc < 0)
        recover_free(recovery);
    else
        *ret = *recovery;
    free(recovery);
    return rc;
}

/* PATH.torn, PATH.torn.2 and so on. *ret is to be freed. */
static int torn_name(const char *path, int number, char **ret)
{
    int length =
        number == 1 ? asprintf(ret, "%s.torn", path) : asprintf(ret, "%s.torn.%d", path, number);

    return length < 0 ? -ENOMEM : 0;
}

/* A new file beside `path`, by the first of these names that is free. */
static int create_torn(const char *path, const struct output *output, char **ret_path)
{
    int rc = -EEXIST;

    for (int number = 1; number <= TORN_NAMES_MAX && rc == -EEXIST; number++) {
        char *torn_path;
        rc = torn_name(path, number, &torn_path);
        if (rc < 0)
            return rc;
        rc = open_again(output, torn_path, O_WRONLY | O_CREAT | O_EXCL);
        if (rc >= 0)
            *ret_path = torn_path;
        else
            free(torn_path);
    }
    return rc;
}

static int write_all(const struct output *output, int fd, unsigned char *data, size_t bytes,
                     uint64_t offset)
{
    for (int futile = 0; bytes > 0 && futile < FUTILE_WRITES;) {
        const struct iovec piece = {data, bytes};
        ssize_t written = output->write(output->context, fd, &piece, 1, (off_t)offset);
        if (written < 0 && written != -EINTR)
            return (int)written;
        if (written <= 0) {
            futile++;
            continue;
        }
        futile = 0;
        data += written;
        offset += (uint64_t)written;
        bytes -= (size_t)written;
    }
    return bytes > 0 ? -EIO : 0;
}

static size_t without_zeros(const unsigned char *data, size_t bytes)
{
    while (bytes > 0 && data[bytes - 1] == 0)
        bytes--;
    return bytes;
}

/* Copies `from` from `offset` on to `to`, leaving zeros out where they fill a whole piece or end
 * it. A page that cannot be read is left out too: nobody else will read it either. */
static int copy_tail(const struct output *output, int from, uint64_t offset, uint64_t end, int to)
{
    unsigned char *room = malloc(COPY_BYTES);
    uint64_t start = offset;
    int rc = room ? 0 : -ENOMEM;

    while (rc == 0 && offset < end) {
        size_t want = end - offset < COPY_BYTES ? (size_t)(end - offset) : COPY_BYTES;
        ssize_t got = pread(from, room, want, (off_t)offset);
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            offset += FORMAT_ALIGN;
            continue;
        }
        rc = write_all(output, to, room, without_zeros(room, (size_t)got), offset - start);
        offset += (uint64_t)got;
    }
    free(room);
    return rc == 0 ? sync_again(output, to) : rc;
}

static int keep_tail(const struct recovery *recovery, int from, const struct output *output)
{
    char *torn_path;
    int to = create_torn(recovery->path, output, &torn_path);

    if (to < 0)
        return to;
    int rc = copy_tail(output, from, recovery->end, recovery->torn_end, to);
    close(to);
    if (rc == 0)
        rc = output->sync_directory(output->context, torn_path);
    if (rc < 0) /* half a copy helps nobody, and the next try makes a new one */
        (void)output->remove(output->context, torn_path);
    free(torn_path);
    return rc;
}

static int cut_file(const struct recovery *recovery, const struct output *output)
{
    int fd = open_again(output, recovery->path, O_RDWR);
    int rc;

    if (fd < 0)
        return fd;
    rc = recovery->torn ? keep_tail(recovery, fd, output) : 0;
    if (rc == 0)
        rc = truncate_again(output, fd, recovery->end);
    if (rc == 0)
        rc = sync_again(output, fd);
    close(fd);
    return rc;
}

/* Its name becomes that of a torn tail. */
static int rename_to_torn(const char *path, const struct output *output)
{
    int rc = -EEXIST;

    for (int number = 1; number <= TORN_NAMES_MAX && rc == -EEXIST; number++) {
        char *torn_path;
        rc = torn_name(path, number, &torn_path);
        if (rc < 0)
            return rc;
        rc = output->rename(output->context, path, torn_path);
        free(torn_path);
    }
    return rc;
}

/* A file without a whole extent is no segment. */
static int put_hollow_aside(const char *path, const struct output *output, recover_report *report,
                            void *context)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return -errno;
    if (status.st_size == 0)
        return output->remove(output->context, path);
    int rc = rename_to_torn(path, output);
    if (rc == 0)
        rc = output->sync_directory(output->context, path);
    if (rc == 0)
        report(context, path, 0, (uint64_t)status.st_size, true);
    return rc;
}

int recover_cut(const struct recovery *recovery, const struct output *output,
                recover_report *report, void *context)
{
    int rc = 0;

    for (size_t i = 0; i < recovery->hollow_count && rc == 0; i++)
        rc = put_hollow_aside(recovery->hollow[i], output, report, context);
    if (rc < 0 || !recovery->path || recovery->bytes <= recovery->end)
        return rc;
    rc = cut_file(recovery, output);
    if (rc == 0)
        report(context, recovery->path, recovery->end, recovery->bytes - recovery->end,
               recovery->torn);
    return rc;
}

void recover_free(struct recovery *recovery)
{
    for (size_t i = 0; i < recovery->hollow_count; i++)
        free(recovery->hollow[i]);
    free(recovery->hollow);
    free(recovery->path);
    *recovery = (struct recovery){0};
}
