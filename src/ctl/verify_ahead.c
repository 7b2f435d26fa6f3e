/* SPDX-License-Identifier: MIT
 *
 * Happy path: a ring of slots, each with one piece of the stream, in order. Workers fill free ones; the
 * judge empties the oldest and gives it back.
 *
 * Failure modes:
 *   - a file that a worker cannot open, or no memory for its window: its piece stays empty, and the judge
 *     sees for itself;
 *   - damage: the judge reads past pieces; those that it has left behind are not looked at;
 *   - random parameters that change in the middle of a file: a worker compares with those of the last
 *     checkpoint that anybody has seen before its piece. Each extent says with which, so that a wrong guess
 *     costs time only.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "verify_ahead.h"

enum { SLOTS_A_WORKER = 2, CHECKPOINT_ROOM = 2 * CHECKPOINT_STORED_MAX };

struct place {
    size_t file;
    uint64_t offset;
};

struct slot {
    struct place from; /* of the piece */
    uint64_t to;
    bool done;
    struct random_parameters random; /* of the last checkpoint in it */
    bool has_checkpoint;
    struct ahead_extent *extents; /* room for one a page */
    size_t count, next;
    unsigned char *checkpoints; /* their data, CHECKPOINT_ROOM */
    size_t checkpoint_bytes;
};

/* Members: [I] immutable after the start, [L] under the lock; a slot is its worker's from the claim until it
 * is done, and then the judge's. */
struct ahead {
    const struct survey *survey;  /* [I] */
    struct ahead_options options; /* [I] */
    size_t file_count; /* [I] all but the one that is being written: the judge reads that alone */
    pthread_mutex_t lock;
    pthread_cond_t freed;            /* a slot is free, or it is over */
    pthread_cond_t changed;          /* a slot was claimed, or is done */
    struct slot *slots;              /* [I] the ring */
    size_t slot_count;               /* [I] */
    uint64_t claimed, taken;         /* [L] slots, in all */
    struct place cursor;             /* [L] where the next piece begins */
    bool stopped;                    /* [L] */
    struct random_parameters random; /* [L] of the farthest checkpoint seen, in piece random_of */
    struct place random_of;          /* [L] */
    pthread_t *threads;              /* the judge's */
    size_t thread_count;
};

struct worker {
    struct ahead *ahead;
    struct scan *scan; /* on the survey's file `file`; NULL: it cannot be read */
    size_t file;
    unsigned char *block_room;
};

static bool is_before(struct place a, struct place b)
{
    return a.file != b.file ? a.file < b.file : a.offset < b.offset;
}

/* ---- A worker ---------------------------------------------------------------------------------
 */

/* Takes the next piece; NULL: there is none left. *ret_random: a guess. */
static struct slot *claim(struct ahead *ahead, struct random_parameters *ret_random)
{
    struct slot *slot = NULL;
    const struct survey *survey = ahead->survey;

    pthread_mutex_lock(&ahead->lock);
    while (!ahead->stopped && ahead->claimed - ahead->taken == ahead->slot_count) {
        pthread_cond_wait(&ahead->freed, &ahead->lock);
    }
    while (ahead->cursor.file < ahead->file_count &&
           ahead->cursor.offset >= survey->files[ahead->cursor.file].bytes) {
        ahead->cursor = (struct place){.file = ahead->cursor.file + 1};
    }
    if (!ahead->stopped && ahead->cursor.file < ahead->file_count) {
        slot = &ahead->slots[ahead->claimed++ % ahead->slot_count];
        slot->from = ahead->cursor;
        slot->to = slot->from.offset + ahead->options.piece_bytes;
        slot->done = slot->has_checkpoint = false;
        slot->count = slot->next = slot->checkpoint_bytes = 0;
        ahead->cursor.offset = slot->to;
        *ret_random = ahead->random;
    }
    pthread_cond_signal(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
    return slot;
}

static void finish(struct ahead *ahead, struct slot *slot)
{
    pthread_mutex_lock(&ahead->lock);
    slot->done = true;
    if (slot->has_checkpoint && !is_before(slot->from, ahead->random_of)) {
        ahead->random = slot->random;
        ahead->random_of = slot->from;
    }
    pthread_cond_signal(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
}

static void open_file(struct worker *worker, size_t file)
{
    if (worker->file == file) {
        return;
    }
    scan_close(worker->scan);
    worker->file = file;
    if (survey_open(&worker->ahead->survey->files[file], &worker->scan) < 0) {
        worker->scan = NULL;
    }
}

/* The device reads a later piece while this one is looked at: the one that comes when each worker is done
 * with its own. */
static void announce_next(const struct worker *worker, const struct slot *slot)
{
    const struct ahead_options *options = &worker->ahead->options;
    scan_announce(worker->scan, slot->from.offset + options->workers * options->piece_bytes,
                  options->piece_bytes);
}

/* Keeps a checkpoint's data. False: there is no room. */
static bool keep_checkpoint(struct slot *slot, const struct scan_extent *found,
                            struct ahead_extent *extent)
{
    size_t bytes = found->header->used;
    if (bytes > CHECKPOINT_ROOM - slot->checkpoint_bytes) {
        return false;
    }
    unsigned char *data = slot->checkpoints + slot->checkpoint_bytes;
    memcpy(data, found->data, bytes);
    extent->data = data;
    slot->checkpoint_bytes += (bytes + 7) & ~(size_t)7;
    return true;
}

static void look_at_piece(struct worker *worker, struct slot *slot, struct random_parameters random)
{
    struct scan_extent found;

    open_file(worker, slot->from.file);
    if (worker->scan == NULL) {
        return;
    }
    announce_next(worker, slot);
    scan_seek(worker->scan, slot->from.offset > FORMAT_ALIGN ? slot->from.offset : FORMAT_ALIGN);
    while (scan_find(worker->scan, slot->to, &found) == 1) {
        struct ahead_extent *extent = &slot->extents[slot->count];
        *extent = (struct ahead_extent){
            .offset = found.offset, .bytes = found.bytes, .header = *found.header};
        if (found.header->flags & EXTENT_CHECKPOINT) {
            slot->random = random = blocks_random(&found);
            slot->has_checkpoint = true;
            slot->count += keep_checkpoint(slot, &found, extent);
            continue;
        }
        extent->sums = block_sums(&found);
        if (worker->block_room != NULL && random.random == 1 &&
            blocks_are_random(&random, &found, worker->block_room)) {
            extent->random = random;
        }
        slot->count++;
    }
}

static void *work(void *context)
{
    struct worker worker = {.ahead = context, .file = SIZE_MAX};
    struct ahead *ahead = worker.ahead;
    struct random_parameters random;
    struct slot *slot;

    if (ahead->options.random) {
        worker.block_room = malloc(FORMAT_BLOCK_MAX); /* without it, the judge compares */
    }
    while ((slot = claim(ahead, &random)) != NULL) {
        look_at_piece(&worker, slot, random);
        finish(ahead, slot);
    }
    scan_close(worker.scan);
    free(worker.block_room);
    return NULL;
}

/* ---- The judge --------------------------------------------------------------------------------
 */

/* Gives the oldest slot back. */
static void release(struct ahead *ahead)
{
    ahead->taken++;
    pthread_cond_signal(&ahead->freed);
}

/* The slot with the piece that holds `here`, once it is done. NULL: there is none. Under the lock. */
static struct slot *slot_at(struct ahead *ahead, struct place here)
{
    const size_t piece = ahead->options.piece_bytes;
    const struct place begin = {here.file, here.offset / piece * piece};

    if (is_before(ahead->cursor, begin)) {
        ahead->cursor = begin; /* nobody needs what is before */
    }
    for (;;) {
        if (ahead->taken == ahead->claimed) {
            if (is_before(begin, ahead->cursor)) {
                return NULL;
            }
        } else {
            struct slot *slot = &ahead->slots[ahead->taken % ahead->slot_count];
            if (is_before(begin, slot->from)) {
                return NULL;
            }
            if (slot->done && is_before(slot->from, begin)) {
                release(ahead);
                continue;
            }
            if (slot->done) {
                return slot;
            }
        }
        pthread_cond_wait(&ahead->changed, &ahead->lock);
    }
}

int ahead_take(struct ahead *ahead, size_t file, uint64_t offset, const struct ahead_extent **ret)
{
    pthread_mutex_lock(&ahead->lock);
    struct slot *slot = slot_at(ahead, (struct place){file, offset});
    pthread_mutex_unlock(&ahead->lock);
    if (slot == NULL) {
        return 0;
    }
    while (slot->next < slot->count && slot->extents[slot->next].offset < offset) {
        slot->next++;
    }
    if (slot->next == slot->count || slot->extents[slot->next].offset != offset) {
        return 0;
    }
    *ret = &slot->extents[slot->next];
    return 1;
}

/* ---- Start and stop ---------------------------------------------------------------------------
 */

/* What the stream's first checkpoint says of the random source, for the pieces that are begun before anybody
 * has seen it. */
static void guess_random(struct ahead *ahead)
{
    struct scan *scan;
    struct scan_extent extent;
    if (ahead->survey->readable == 0 || survey_open(&ahead->survey->files[0], &scan) < 0) {
        return;
    }
    if (scan_find(scan, 2 * FORMAT_ALIGN, &extent) == 1 &&
        (extent.header->flags & EXTENT_CHECKPOINT)) {
        ahead->random = blocks_random(&extent);
    }
    scan_close(scan);
}

static int allocate(struct ahead *ahead)
{
    const unsigned workers = ahead->options.workers;
    ahead->slot_count = (size_t)workers * SLOTS_A_WORKER;
    ahead->slots = calloc(ahead->slot_count, sizeof(*ahead->slots));
    ahead->threads = calloc(workers, sizeof(*ahead->threads));
    if (ahead->slots == NULL || ahead->threads == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < ahead->slot_count; i++) {
        struct slot *slot = &ahead->slots[i];
        slot->extents = calloc(ahead->options.piece_bytes / FORMAT_ALIGN, sizeof(*slot->extents));
        slot->checkpoints = malloc(CHECKPOINT_ROOM);
        if (slot->extents == NULL || slot->checkpoints == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

int ahead_start(struct ahead **ret, const struct survey *survey,
                const struct ahead_options *options)
{
    assert(options->workers > 0 && options->piece_bytes > 0);
    assert(options->piece_bytes % FORMAT_ALIGN == 0);
    struct ahead *ahead = calloc(1, sizeof(*ahead));
    if (ahead == NULL) {
        return -ENOMEM;
    }
    ahead->survey = survey;
    ahead->file_count = survey->readable - (survey->running && survey->readable > 0);
    ahead->options = *options;
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->freed, NULL);
    pthread_cond_init(&ahead->changed, NULL);
    int rc = allocate(ahead);
    if (rc == 0 && options->random) {
        guess_random(ahead);
    }
    while (rc == 0 && ahead->thread_count < options->workers) {
        rc = -pthread_create(&ahead->threads[ahead->thread_count], NULL, work, ahead);
        ahead->thread_count += rc == 0;
    }
    if (ahead->thread_count == 0) {
        ahead_stop(ahead);
        return rc;
    }
    *ret = ahead;
    return 0;
}

void ahead_stop(struct ahead *ahead)
{
    if (ahead == NULL) {
        return;
    }
    pthread_mutex_lock(&ahead->lock);
    ahead->stopped = true;
    pthread_cond_broadcast(&ahead->freed);
    pthread_mutex_unlock(&ahead->lock);
    for (size_t i = 0; i < ahead->thread_count; i++) {
        pthread_join(ahead->threads[i], NULL);
    }
    for (size_t i = 0; ahead->slots != NULL && i < ahead->slot_count; i++) {
        free(ahead->slots[i].extents);
        free(ahead->slots[i].checkpoints);
    }
    free(ahead->slots);
    free(ahead->threads);
    pthread_cond_destroy(&ahead->changed);
    pthread_cond_destroy(&ahead->freed);
    pthread_mutex_destroy(&ahead->lock);
    free(ahead);
}
