/* SPDX-License-Identifier: MIT
 *
 * The store's old segments: which may go, and when they do.
 *
 * Happy path: between two halves, once a segment has ended or time has passed, the oldest ones go until
 * what is left is small and young enough; the file of one becomes the next segment's, if none is ready
 * yet. Or one goes because there is no room, if that is wanted.
 *
 * Failure modes: a file that cannot be removed is tried again. What never goes is the open segment, the
 * one that the stream is to go on in, and one that was left with bytes that may not be durable: closing
 * a segment makes it durable, so that all others are.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "store_state.h"

#define LOOK_MOST_NS ((uint64_t)60 * 1000000000u) /* between two looks for segments too old */

static bool is_doubtful(const struct store *store, uint64_t number)
{
    for (unsigned i = 0; i < store->doubtful_count && i < DOUBTFUL_MAX; i++)
        if (store->doubtful[i] == number)
            return true;
    return false;
}

/* Whether the file may be deleted at all. */
static bool is_closed(const struct store *store, const struct stream_file *file)
{
    if (store->segment.path && strcmp(file->path, store->segment.path) == 0)
        return false;
    if (store->resume_path && strcmp(file->path, store->resume_path) == 0)
        return false;
    /* A raw file says nothing about who wrote it, and this name need not be ours. */
    if (store->options.format == STORE_RAW && file->number == 0)
        return false;
    return !is_doubtful(store, file->number);
}

static int delete_segment(struct store *store, const struct stream_file *file,
                          enum store_reason reason)
{
    const struct output *output = store->options.output;

    if (reason != STORE_DISK_FULL && !store->away && store_is_home(store, file->path) &&
        store->prepare && prepare_is_idle(store->prepare))
        return store_replace_old(store, file, reason);
    int rc = output->remove(output->context, file->path);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    account_add(&store->account.segments_deleted, 1);
    store_report(store, (struct store_event){.kind = STORE_SEGMENT_DELETED,
                                             .path = file->path,
                                             .number = file->number,
                                             .bytes = file->bytes,
                                             .reason = reason});
    return 0;
}

/* From the oldest on. The files hold `bytes` bytes together. */
static int delete_excess(struct store *store, const struct stream_files *files, uint64_t bytes)
{
    const struct store_options *options = &store->options;
    uint64_t now_ns = clock_ns(CLOCK_REALTIME);

    for (size_t i = 0; i < files->count; i++) {
        const struct stream_file *file = &files->files[i];
        bool excess = options->retain_bytes > 0 && bytes > options->retain_bytes;
        bool old = options->retain_age_ns > 0 && now_ns > file->changed_ns &&
                   now_ns - file->changed_ns > options->retain_age_ns;
        if (!is_closed(store, file))
            continue;
        if (!excess && !old)
            break;
        int rc = delete_segment(store, file, excess ? STORE_RETAIN_BYTES : STORE_RETAIN_AGE);
        if (rc < 0)
            return rc;
        bytes -= file->bytes;
    }
    return 0;
}

/* Segments come to an age by themselves. */
static bool is_retention_due(const struct store *store)
{
    uint64_t look_ns = store->options.retain_age_ns / 16;

    if (store->retention_due || store->options.retain_age_ns == 0)
        return store->retention_due;
    return clock_ns(CLOCK_MONOTONIC) - store->retained_ns >=
           (look_ns < LOOK_MOST_NS ? look_ns : LOOK_MOST_NS);
}

int store_retain(struct store *store)
{
    struct stream_files files;
    uint64_t bytes = 0;

    if ((store->options.retain_bytes == 0 && store->options.retain_age_ns == 0) || !store->begun ||
        store->device || !is_retention_due(store))
        return 0;
    if (store->prepare && prepare_is_busy(store->prepare))
        return 0; /* the oldest may be on its way out already */
    int rc = store_list(store, &files);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < files.count; i++)
        bytes += files.files[i].bytes;
    rc = delete_excess(store, &files, bytes);
    stream_files_free(&files);
    store->retention_due = rc < 0;
    store->retained_ns = clock_ns(CLOCK_MONOTONIC);
    return rc;
}

bool store_delete_for_room(struct store *store)
{
    struct stream_files files;
    bool deleted = false;

    if (stream_list(store_place(store), &files) < 0)
        return false;
    for (size_t i = 0; i < files.count && !deleted; i++)
        deleted = is_closed(store, &files.files[i]) &&
                  delete_segment(store, &files.files[i], STORE_DISK_FULL) == 0;
    stream_files_free(&files);
    return deleted;
}
