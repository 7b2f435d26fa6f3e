/* SPDX-License-Identifier: MIT
 *
 * The store's segments: opening, ending, leaving, making ready.
 *
 * Happy path: begin (a file under a temporary name gets its room, its header and its first
 * checkpoint, is synced and gets its name), store halves into it, end (a last checkpoint, the
 * unused room cut off, sync, close), begin the next one, which housekeeping has made ready.
 *
 * Failure modes:
 *   - no room: what is half written is cut off again, the segment that was made ready is given up
 *     for its room, and then it is for the caller to wait
 *   - a failed sync, or a failed write: the file is left at the mark and never touched again; the
 *     store goes back to the mark, and what was written behind it comes again in a new segment
 *   - the cut at the mark fails too: the extents behind it stay in the file, and come again with
 * the same sequences in the next segment, whose first_seq says that those before are void
 *   - deleted by somebody: left likewise. Moved away: it is ended properly where it is now.
 *   - the place itself cannot be written: see store_place.c
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crc32c.h"
#include "store_state.h"

#define AHEAD_BYTES ((uint64_t)64 << 20) /* allocated ahead in a segment without an end */

uint64_t store_ideal_end(const struct store *store, uint64_t end)
{
    uint64_t ahead = end + AHEAD_BYTES;

    return store->options.segment_bytes || ahead > store->segment_bytes_max
               ? store->segment_bytes_max
               : ahead;
}

void store_note_manner(struct store *store, const struct segment *segment)
{
    if (segment->no_direct_errno && store->manner.direct) {
        store->manner.direct = false;
        store_report(store, (struct store_event){.kind = STORE_NO_DIRECT,
                                                 .path = store->options.path,
                                                 .error = segment->no_direct_errno});
    }
    if (segment->no_overlap_errno && store->manner.overlap) {
        store->manner.overlap = false;
        store_report(store, (struct store_event){.kind = STORE_NO_OVERLAP,
                                                 .path = store->options.path,
                                                 .error = segment->no_overlap_errno});
    }
    if (segment->no_preallocate_errno && store->manner.preallocate) {
        store->manner.preallocate = false;
        store_report(store, (struct store_event){.kind = STORE_NO_PREALLOCATE,
                                                 .path = store->options.path,
                                                 .error = segment->no_preallocate_errno});
    }
}

void store_mark(struct store *store)
{
    struct mark *mark = &store->mark;
    /* In a file of segments a torn extent is never kept. */
    bool keep_partial = store->device || store->options.format == STORE_RAW;

    mark->tally = store->tally;
    mark->done = store->done;
    mark->position = store->position - (keep_partial ? 0 : store->partial);
    mark->partial = keep_partial ? store->partial : 0;
    mark->offset = store->segment.offset - (keep_partial ? 0 : store->partial);
}

void store_tell_target(const struct store *store)
{
    const struct store_target target = {.epoch = store->epoch,
                                        .number = store->numbered ? store->number : 0,
                                        .offset = store->segment.offset,
                                        .position = store->position};

    if (store->pending && store->begun && store->options.on_target)
        store->options.on_target(store->options.target_context, &target);
}

/* What is stored up to here is durable. */
static void mark_durable(struct store *store)
{
    store_mark(store);
    store->durable_offset = store->mark.offset;
    store->durable_bytes = store->mark.tally.bytes;
    store->sync_time_ns = clock_ns(CLOCK_MONOTONIC);
    atomic_store_explicit(&store->account.durable_bytes,
                          store->durable_bytes - store->first_bytes - store->at_risk_bytes,
                          memory_order_release);
}

int store_sync(struct store *store)
{
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    int rc = segment_sync(&store->segment);

    account_add(&store->account.sync_ns, clock_ns(CLOCK_MONOTONIC) - start_ns);
    account_add(&store->account.syncs, 1);
    if (rc == 0)
        mark_durable(store);
    else
        store->distrusted = true;
    return rc;
}

/* Writes the page's `bytes` bytes to `segment`. If that fails a file is cut back to where it was; a
 * device cannot be, and goes on in the middle. */
static int put_page(struct store *store, struct segment *segment, size_t bytes)
{
    while (store->page_written < bytes) {
        struct iovec piece = {store->page + store->page_written, bytes - store->page_written};
        ssize_t written = segment_write(segment, &piece, 1);
        if (written < 0) {
            if (segment->device)
                return (int)written;
            uint64_t start = segment->offset - store->page_written;
            store->page_written = 0;
            int rc = segment_cut(segment, start);
            return rc < 0 ? rc : (int)written;
        }
        store->page_written += (size_t)written;
        account_add(&store->account.file_bytes, (uint64_t)written);
    }
    store->page_written = 0;
    return 0;
}

static void make_header(struct store *store, uint64_t number)
{
    struct segment_header *header = (struct segment_header *)store->page;

    *header = (struct segment_header){
        .magic = SEGMENT_MAGIC,
        .version = FORMAT_VERSION,
        .align = FORMAT_ALIGN,
        .number = number,
        .first_seq = store->tally.next_seq,
        .created_ns = clock_ns(CLOCK_REALTIME),
    };
    memcpy(header->stream_uuid, store->uuid, sizeof(store->uuid));
    header->crc = crc32c(0, header, offsetof(struct segment_header, crc));
}

/* Puts a checkpoint, behind a header if `number` is not 0, at the end of the segment. */
static int put_checkpoint(struct store *store, struct segment *segment, uint64_t number,
                          uint32_t flags)
{
    size_t header_bytes = number ? FORMAT_ALIGN : 0;

    if (store->options.format == STORE_RAW)
        return 0;
    if (store->page_written == 0) { /* else a device has the first part of it already */
        if (number)
            make_header(store, number);
        tally_checkpoint(&store->tally, &store->random, flags, clock_ns(CLOCK_REALTIME),
                         store->uuid, segment->offset + header_bytes, store->page + header_bytes);
    }
    int rc = put_page(store, segment, header_bytes + tally_checkpoint_bytes(&store->tally));
    if (rc == 0)
        store->tally.next_seq++;
    return rc;
}

/* ---- Beginning ---- */

static int create_next(struct store *store, struct segment *ret)
{
    char *path;
    int rc = stream_next_path(store_place(store), &path);

    if (rc < 0)
        return rc;
    rc = segment_create(ret, store->options.output, path, store->manner);
    free(path);
    return rc;
}

/* By its name, as stream_list gives it. */
static uint64_t file_number(const struct store *store)
{
    return store->numbered ? store->number : 0;
}

/* Gives the file its name: the stream's own, or with its number. */
static int publish(struct store *store, struct segment *segment, uint64_t number)
{
    char *path;
    bool numbered = store->rotates || store->numbered || store->away;

    for (;;) {
        int rc = stream_segment_path(store_place(store), numbered ? number : 0, &path);
        if (rc == 0)
            rc = segment_publish(segment, path);
        if (rc != -EEXIST || numbered) {
            store->numbered = numbered;
            return rc;
        }
        numbered = true; /* the stream's own name is taken, by another file than ours */
    }
}

static int fill_and_publish(struct store *store, struct segment *segment, uint64_t number)
{
    uint64_t least = FORMAT_ALIGN + 2 * tally_checkpoint_bytes(&store->tally);
    int rc = 0;

    if (store->options.format == STORE_SEGMENTS)
        rc = segment_reserve(segment, least, store_ideal_end(store, least),
                             store->options.min_free_bytes);
    if (rc == 0)
        rc = put_checkpoint(store, segment, number, 0);
    store_note_manner(store, segment);
    if (rc == 0)
        rc = publish(store, segment, number);
    return rc;
}

/* A new segment. -EEXIST: its number was taken by a stranger, the next one may be free. */
static int begin_new(struct store *store)
{
    struct segment segment;
    uint64_t seq = store->tally.next_seq;
    uint64_t number = store->number + 1;

    if (!store->prepare || store->away || !prepare_take(store->prepare, &segment)) {
        int rc = create_next(store, &segment);
        if (rc < 0)
            return rc;
    }
    int rc = fill_and_publish(store, &segment, number);
    if (rc < 0) {
        /* A disk that fails may show the name again one day: then it is no other segment's. */
        if (rc == -EEXIST || (segment.published && store->options.failover_path))
            store->number = number;
        if (segment.published)
            store_note_begun(store, store->numbered ? number : 0);
        store->tally.next_seq = seq;
        /* If it cannot be removed it is in nobody's way: it has the temporary name, which the next
         * one takes, or its first_seq comes again in the next one, which makes it void. */
        (void)segment_discard(&segment);
        return rc;
    }
    store->segment = segment;
    store->number = number;
    store->created = true;
    return 0;
}

/* A file that cannot be synced is not gone on with. */
static int sync_resumed(struct store *store, struct segment *segment)
{
    int rc = segment_sync(segment);

    if (rc < 0) {
        store->tally.next_seq--; /* the checkpoint that was just put */
        store_report(store, (struct store_event){.kind = STORE_SEGMENT_LEFT,
                                                 .path = segment->path,
                                                 .number = store->number,
                                                 .offset = store->resume_offset,
                                                 .error = -rc});
        free(store->resume_path);
        store->resume_path = NULL;
    }
    return rc;
}

/* Goes on in the last segment of the stream. */
static int begin_resumed(struct store *store)
{
    struct segment segment;
    size_t least = tally_checkpoint_bytes(&store->tally) * 2;
    uint64_t segment_end = store->resume_offset;
    int rc = segment_reopen(&segment, store->options.output, store->resume_path,
                            store->resume_offset, store->manner);

    if (rc < 0)
        return rc;
    if (store->options.format == STORE_SEGMENTS) {
        rc = segment_cut(&segment, store->resume_offset);
        if (rc == 0)
            rc = segment_reserve(&segment, segment.offset + least,
                                 store_ideal_end(store, segment.offset + least),
                                 store->options.min_free_bytes);
        if (rc == 0)
            rc = put_checkpoint(store, &segment, 0, 0);
        if (rc == 0)
            rc = sync_resumed(store, &segment);
    }
    store_note_manner(store, &segment);
    if (rc < 0) {
        (void)segment_cut(&segment, segment_end); /* the next try does it again */
        segment_close(&segment);
        return rc;
    }
    store->segment = segment;
    free(store->resume_path);
    store->resume_path = NULL;
    store->created = false;
    return 0;
}

static int begin_file(struct store *store)
{
    int rc;

    if (store->resume_path && !store->away) {
        rc = begin_resumed(store);
        if (rc == 0 || store->resume_path)
            return rc;
    }
    do
        rc = begin_new(store);
    while (rc == -EEXIST);
    if (rc == 0) { /* elsewhere: the file that was to be gone on with has its end */
        free(store->resume_path);
        store->resume_path = NULL;
    }
    return rc;
}

int store_begin(struct store *store)
{
    int rc;

    if (store->begun)
        return 0;
    if (store->device)
        rc = put_checkpoint(store, &store->segment, 1, 0);
    else
        rc = store_choose_place(store, begin_file);
    if (rc < 0)
        return rc;
    store->begun = true;
    store->checkpoint_due = false;
    store->rotate_asked = false;
    store->begun_ns = clock_ns(CLOCK_MONOTONIC);
    store->begun_offset = store->segment.offset;
    store->begun_bytes = store->tally.bytes;
    store->retention_due = true;
    store_note_begun(store, file_number(store));
    mark_durable(store);
    account_add(&store->account.segments, 1);
    store_report(store, (struct store_event){.kind = STORE_SEGMENT_OPENED,
                                             .path = store->segment.path,
                                             .number = store->number,
                                             .offset = store->segment.offset});
    store_tell_target(store);
    return 0;
}

int store_restate(struct store *store)
{
    const uint64_t bytes =
        2 * tally_checkpoint_bytes(&store->tally); /* room for the last one, too */
    const uint64_t end = store->segment.offset + bytes;
    int rc = 0;

    if (!store->device && store->options.format == STORE_SEGMENTS)
        rc = segment_reserve(&store->segment, end, store_ideal_end(store, end),
                             store->options.min_free_bytes);
    if (rc == 0)
        rc = put_checkpoint(store, &store->segment, 0, 0);
    if (rc == 0) {
        store->checkpoint_due = false;
        store_tell_target(store);
    }
    return rc;
}

/* ---- Ending ---- */

int store_end(struct store *store, uint32_t flags)
{
    struct segment *segment = &store->segment;
    int rc = put_checkpoint(store, segment, 0, flags);

    if (rc < 0)
        return rc;
    if (!store->device)
        rc = segment_cut(segment, segment->offset);
    if (rc == 0)
        rc = store_sync(store);
    if (rc < 0) {
        store->distrusted = true; /* it has its end; nothing may follow that in this file */
        return rc;
    }
    store_report(store, (struct store_event){.kind = STORE_SEGMENT_CLOSED,
                                             .path = segment->path,
                                             .number = store->number,
                                             .bytes = segment->offset});
    store_note_left(store, file_number(store), segment->offset);
    segment_close(segment);
    store->begun = false;
    store->retention_due = true;
    store_try_home(store);
    return 0;
}

/* Leaves the open segment at the mark; `gone`: nothing that was in it is there any more. */
static void leave(struct store *store, int error, bool gone)
{
    struct segment *segment = &store->segment;
    const struct mark *mark = &store->mark;
    bool worthless = store->created && mark->offset == store->begun_offset;
    uint64_t from = gone ? 0 : store->durable_offset;
    uint64_t at_risk_before = store->at_risk_bytes;

    store->at_risk_bytes += mark->tally.bytes - (gone ? store->begun_bytes : store->durable_bytes);
    if (store->at_risk_bytes > at_risk_before) /* it is not for us to make that certain */
        store->doubtful[store->doubtful_count++ % DOUBTFUL_MAX] = file_number(store);
    store->tally = mark->tally;
    store->done = mark->done;
    store->partial = mark->partial;
    store->position = mark->position;
    store->page_written = 0;
    store_report(store, (struct store_event){.kind = STORE_SEGMENT_LEFT,
                                             .path = segment->path,
                                             .number = store->number,
                                             .offset = from,
                                             .bytes = worthless ? 0 : mark->offset - from,
                                             .error = error});
    store_note_left(store, file_number(store), segment->file_end);
    /* Failing is no harm but the untidiness that is described at the head of this file. */
    (void)segment_cut(segment, mark->offset);
    if (!worthless)
        segment_close(segment);
    else if (segment_discard(segment) == 0) {
        store->tally.next_seq--; /* its checkpoint was the only extent in it */
        /* See begin_new: a number is never another segment's at the other place. */
        store->number -= store->options.failover_path ? 0 : 1;
    }
    store->begun = false;
    store->distrusted = false;
    store->retention_due = true;
    store_note_failure(store, error);
}

int store_look(struct store *store)
{
    if (!store->begun)
        return 0;
    int rc = segment_look(&store->segment);
    if (rc == -ESTALE)
        store->rotate_asked = true;
    else if (rc == -ENOENT)
        leave(store, ENOENT, true);
    else
        return rc;
    return 0;
}

/* Errors that say nothing against the file. */
static bool is_passing(int rc)
{
    return no_room(rc) || rc == -EAGAIN || rc == -ENOMEM || rc == -EINTR;
}

bool store_recover(struct store *store, int rc)
{
    if (store->begun && !store->device && (store->distrusted || !is_passing(rc))) {
        leave(store, -rc, false);
        return true;
    }
    if (!no_room(rc) || store->device)
        return false;
    /* Whatever was allocated ahead is free for others, and for us, while we wait. */
    if (store->begun && store->options.format == STORE_SEGMENTS) {
        int cut = segment_cut(&store->segment, store->segment.offset - store->partial);
        store->position -= store->partial;
        store->partial = 0;
        if (cut < 0) {
            leave(store, -cut, false);
            return true;
        }
    }
    struct segment next;
    if (store->prepare && prepare_take(store->prepare, &next))
        return segment_discard(&next) == 0;
    return store->options.full_deletes && rc != -EFBIG && store_delete_for_room(store);
}

/* ---- Ahead and behind ---- */

void store_look_at_age(struct store *store)
{
    uint64_t age_ns = store->options.segment_age_ns;

    if (age_ns > 0 && store->begun && !store->device &&
        store->segment.offset > store->begun_offset &&
        clock_ns(CLOCK_MONOTONIC) - store->begun_ns >= age_ns)
        store->rotate_asked = true;
}
