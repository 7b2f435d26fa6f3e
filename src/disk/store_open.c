/* SPDX-License-Identifier: MIT
 *
 * The store: opening.
 *
 * Happy path: lock, look where the stream goes on, cut what a crash left, begin a segment.
 *
 * Failure modes: another process has it, it is no stream of ours, the disk refuses: -errno, and nothing is
 * changed but that a torn tail may be aside already. A full disk is none: store_write begins the segment.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recover.h"
#include "store_state.h"

static int new_uuid(uint8_t uuid[static 16])
{
    if (getrandom(uuid, 16, 0) != 16)
        return -errno;
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4: random */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return 0;
}

/* What is at the stream's path. 1: a device, to be written straight. 0: a file, or nothing. */
static int look_at_path(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))
        return 1;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    return S_ISREG(status.st_mode) ? 0 : -EBADMSG;
}

static int allocate_store(struct store **ret, const struct store_options *options)
{
    struct store *store = calloc(1, sizeof(*store));

    if (!store)
        return -ENOMEM;
    store->options = *options;
    store->rotates = options->segment_bytes > 0 || options->segment_age_ns > 0;
    store->options.path = strdup(options->path);
    store->options.failover_path = options->failover_path ? strdup(options->failover_path) : NULL;
    store->next_blocks = calloc(FORMAT_WRITERS_MAX, sizeof(store->next_blocks[0]));
    store->page = aligned_alloc(FORMAT_ALIGN, FORMAT_ALIGN + CHECKPOINT_STORED_MAX);
    if (!store->options.output)
        store->options.output = &output_pwrite;
    store->random = store_random(options);
    bool raw = options->format == STORE_RAW;
    store->manner = (struct segment_manner){.direct = !raw && !options->buffered,
                                            .direct_only = !raw && options->direct_only,
                                            .ahead = !raw,
                                            .preallocate = !raw,
                                            .overlap = true};
    if (!store->options.path || (options->failover_path && !store->options.failover_path) ||
        !store->next_blocks || !store->page) {
        store_free(store);
        return -ENOMEM;
    }
    *ret = store;
    return 0;
}

static void report_cut(void *context, const char *path, uint64_t offset, uint64_t bytes, bool torn)
{
    store_report(context, (struct store_event){.kind = torn ? STORE_TAIL_CUT : STORE_TAIL_FREED,
                                               .path = path,
                                               .offset = offset,
                                               .bytes = bytes});
}

/* A stream begins. If something came before it its first extent is not number 0: whoever verifies it
 * is told so. */
static void begin_sequences(struct store *store)
{
    const struct store_before *before = store->options.before;

    for (unsigned w = 0; before && w < store->options.writer_count; w++) {
        store->tally.writers[w].next_block = before->first_blocks[w];
        if (before->first_blocks[w] > 0)
            store->tally.next_seq = 1;
    }
}

/* The stream as it was found, and where to go on in it. */
static int take_over(struct store *store, const struct recovery *recovery)
{
    const struct store_before *before = store->options.before;

    store->number = recovery->number;
    if (!recovery->found) {
        begin_sequences(store);
        return new_uuid(store->uuid);
    }
    if (before && memcmp(before->uuid, recovery->uuid, sizeof(store->uuid)) != 0)
        return -ESTALE;
    memcpy(store->uuid, recovery->uuid, sizeof(store->uuid));
    store->tally = recovery->tally;
    if (!store->rotates && store_is_home(store, recovery->path)) {
        store->resume_path = strdup(recovery->path);
        store->resume_offset = recovery->end;
        if (!store->resume_path)
            return -ENOMEM;
    }
    return 0;
}

static int open_segments(struct store *store, const struct stream_files *files)
{
    struct recovery *recovery = malloc(sizeof(*recovery)); /* it is large */
    const struct store_before *before = store->options.before;
    int rc = recovery ? recover_look(files, before ? before->target : NULL, store->options.output,
                                     recovery)
                      : -ENOMEM;

    if (rc < 0) {
        free(recovery);
        return rc;
    }
    if (recovery->found)
        rc = segment_probe(recovery->path);
    if (rc == 0)
        rc = take_over(store, recovery);
    if (rc == 0 && recovery->found && !recovery->closed && !before)
        store_report(store, (struct store_event){.kind = STORE_UNCLOSED,
                                                 .path = recovery->path,
                                                 .number = recovery->number,
                                                 .offset = recovery->end,
                                                 .goes_on = recovery->goes_on});
    if (rc == 0)
        rc = recover_cut(recovery, store->options.output, report_cut, store);
    recover_free(recovery);
    free(recovery);
    return rc;
}

/* A raw stream has nothing to recover; but segments are not to be spoilt by appending to them. */
static int look_at_raw(const char *path)
{
    uint64_t magic = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t got = pread(fd, &magic, sizeof(magic), 0);
    int rc = got < 0 ? -errno : 0;
    close(fd);
    return rc == 0 && magic == SEGMENT_MAGIC ? -EBADMSG : rc;
}

/* How much of the half that the run before was storing is in the output: whoever calls has looked. */
static void take_part(struct store *store)
{
    const struct store_before *before = store->options.before;

    if (!before || !before->target)
        return;
    store->stored_in_part = true;
    store->part_epoch = before->target->epoch;
    store->part_position = before->target->position;
}

static int open_raw(struct store *store, const struct stream_files *files)
{
    const struct stream_file *last = files->count ? &files->files[files->count - 1] : NULL;

    begin_sequences(store);
    take_part(store);
    if (!last)
        return 0;
    int rc = segment_probe(last->path);
    if (rc == 0)
        rc = look_at_raw(last->path);
    if (rc < 0)
        return rc;
    store->number = last->number;
    if (!store->rotates && store_is_home(store, last->path)) {
        store->resume_path = strdup(last->path);
        store->resume_offset = last->bytes;
        if (!store->resume_path)
            return -ENOMEM;
    }
    return 0;
}

/* What a killed run was making ready would keep its room for ever if none were made again. `ahead`: one is
 * made ready there from now on. */
static int clear_next(struct store *store, const char *stream_path, bool ahead)
{
    const struct output *output = store->options.output;
    char *path;
    int rc = stream_next_path(stream_path, &path);

    if (rc < 0)
        return rc;
    rc = output->remove(output->context, path);
    if (rc == -ENOENT)
        rc = 0;
    if (rc == 0 && ahead)
        rc = prepare_open(&store->prepare, output, path, store->options.own_thread);
    free(path);
    return rc;
}

/* The newest file is the only one that a killed process can have had writes in flight to. */
static int await_newest(const struct stream_files *files)
{
    int rc = files->count > 0 ? segment_await(files->files[files->count - 1].path) : 0;

    return rc == -ENOENT ? 0 : rc;
}

int store_await(const char *path)
{
    struct stream_lock lock;
    struct stream_files files;
    int rc = stream_lock(path, &lock);

    if (rc < 0)
        return rc;
    rc = stream_list(path, &files);
    if (rc == 0) {
        rc = await_newest(&files);
        stream_files_free(&files);
    }
    stream_unlock(&lock);
    return rc;
}

static int open_files(struct store *store)
{
    struct stream_files files;
    const char *other = store->options.failover_path;
    int rc = stream_lock(store->options.path, &store->lock);

    if (rc == 0 && other)
        rc = stream_lock(other, &store->other_lock);
    if (rc == 0)
        rc =
            clear_next(store, store->options.path,
                       store->options.format == STORE_SEGMENTS && store->options.segment_bytes > 0);
    if (rc == 0 && other)
        rc = clear_next(store, other, /* ahead= */ false);
    if (rc == 0)
        rc = store_list(store, &files);
    if (rc < 0)
        return rc;
    store->numbered = files.count > 0 && files.files[files.count - 1].number > 0;
    for (size_t i = 0; i < files.count; i++)
        store->begun_number[!store_is_home(store, files.files[i].path)] = files.files[i].number;
    rc = await_newest(&files);
    if (rc == 0)
        rc = store->options.format == STORE_RAW ? open_raw(store, &files)
                                                : open_segments(store, &files);
    stream_files_free(&files);
    return rc;
}

static int open_stream(struct store *store)
{
    int kind = look_at_path(store->options.path);
    int rc = kind;

    if (kind == 1) {
        store->device = true;
        store->number = 1;
        begin_sequences(store);
        if (store->options.format == STORE_RAW)
            take_part(store);
        rc = new_uuid(store->uuid);
        if (rc == 0)
            rc = segment_open_device(&store->segment, store->options.output, store->options.path);
    } else if (kind == 0)
        rc = open_files(store);
    if (rc < 0)
        return rc;
    store_take_writers(store);
    store->first_bytes = store->tally.bytes;
    atomic_store(&store->account.digest, store->tally.digest);
    store_set_segment_bytes(store);
    store->gaps = store->options.before != NULL;
    store->options.before = NULL; /* it was valid until here */
    rc = store_begin(store);
    /* Room and a reader for the pipe may come later: store_write begins then. */
    return no_room(rc) || rc == -EAGAIN ? 0 : rc;
}

int store_open(struct store **ret, const struct store_options *options)
{
    struct store *store;

    assert(options->writer_count > 0 && options->writer_count <= FORMAT_WRITERS_MAX);
    assert(options->extent_bytes_max % FORMAT_ALIGN == 0 && options->extent_bytes_max > 0);
    int rc = allocate_store(&store, options);
    if (rc < 0)
        return rc;
    rc = open_stream(store);
    if (rc < 0) {
        store_free(store);
        return rc;
    }
    *ret = store;
    return 0;
}
