/* SPDX-License-Identifier: MIT
 *
 * The store: what others call. A half, housekeeping, the end; in this order. Opening is in store_open.c.
 *
 * Happy path: a half after the other (store_half.c); between them housekeeping (store_segment.c); finish.
 *
 * Failure modes: what concerns one file is got over by leaving it for a new one, once a call; what
 * concerns the disk is returned, and everything that was stored stays as it is. The next call goes
 * on at store->done. See the head of store_segment.c.
 *
 * On stop: store_finish, then store_free. store_free alone is what a crash would do, without the
 * mess: the stream stays unclosed, and is recovered by the next store_open.
 */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store_state.h"

uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now); /* cannot fail for the clocks that every system has */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void store_report(struct store *store, struct store_event event)
{
    if (store->options.on_event)
        store->options.on_event(store->options.context, &event);
}

/* ---- What opening and changing share ---- */

struct random_parameters store_random(const struct store_options *options)
{
    if (!options->random)
        return (struct random_parameters){0};
    return (struct random_parameters){.random = 1,
                                      .seed = options->seed,
                                      .min_block = options->min_block,
                                      .max_block = options->max_block};
}

/* A segment holds at least one extent between its checkpoints, and no place that a header could not
 * name. */
void store_set_segment_bytes(struct store *store)
{
    uint64_t most = (uint64_t)UINT32_MAX * FORMAT_ALIGN;
    uint64_t least = FORMAT_ALIGN + 2 * tally_checkpoint_bytes(&store->tally) +
                     ((store->options.extent_bytes_max + FORMAT_ALIGN - 1) & ~(FORMAT_ALIGN - 1ul));
    uint64_t bytes = store->options.segment_bytes & ~(FORMAT_ALIGN - 1ull);

    if (store->options.segment_bytes == 0 || bytes > most)
        bytes = most;
    store->segment_bytes_max = bytes > least ? bytes : least;
}

void store_take_writers(struct store *store)
{
    if (store->tally.writer_count < store->options.writer_count)
        store->tally.writer_count = store->options.writer_count;
    for (unsigned w = 0; w < store->options.writer_count; w++)
        store->next_blocks[w] = store->tally.writers[w].next_block;
}

const uint64_t *store_next_blocks(const struct store *store)
{
    return store->next_blocks;
}

const uint8_t *store_uuid(const struct store *store)
{
    return store->uuid;
}

/* ---- Storing ---- */

/* Whether a call that failed is to be made again at once: a file is left once a call; room is made for
 * as long as there is something to give up for it. */
static bool goes_on(struct store *store, int rc, bool *again)
{
    if (!store_recover(store, rc) || !(*again || (no_room(rc) && store->options.full_deletes)))
        return false;
    *again = false;
    return true;
}

int store_write(struct store *store, struct extent_header *const extents[], size_t count)
{
    assert(!store->finished);
    if (!store->pending)
        store_begin_half(store, extents, count);
    segment_doubt_room(&store->segment);
    int rc = store_look(store);
    bool again = true;
    while (rc == 0) {
        rc = store_half(store, extents, count);
        if (rc == 0) {
            store->pending = false;
            store_note_success(store);
            store_mark(store); /* the caller releases it: nobody can ask for it again */
            return 0;
        }
        if (goes_on(store, rc, &again))
            rc = 0;
    }
    return rc;
}

void store_tune(struct store *store, const struct store_tuning *tuning)
{
    struct store_options *options = &store->options;

    options->durability = tuning->durability;
    options->sync_interval_ns = tuning->sync_interval_ns;
    options->segment_bytes = tuning->segment_bytes;
    options->segment_age_ns = tuning->segment_age_ns;
    options->retain_bytes = tuning->retain_bytes;
    options->retain_age_ns = tuning->retain_age_ns;
    options->full_deletes = tuning->full_deletes;
    options->min_free_bytes = tuning->min_free_bytes;
    store->rotates = options->segment_bytes > 0 || options->segment_age_ns > 0;
    store_set_segment_bytes(store);
    store->retention_due = true;
}

static bool same_random(const struct random_parameters *a, const struct random_parameters *b)
{
    return a->random == b->random && a->seed == b->seed && a->min_block == b->min_block &&
           a->max_block == b->max_block;
}

void store_change(struct store *store, const struct store_change *change)
{
    struct store_options *options = &store->options;
    const unsigned writers = store->tally.writer_count;

    assert(!store->finished && !store->pending);
    assert(change->writer_count > 0 && change->writer_count <= FORMAT_WRITERS_MAX);
    options->extent_bytes_max = change->extent_bytes_max;
    options->writer_count = change->writer_count;
    options->random = change->random;
    options->seed = change->seed;
    options->min_block = change->min_block;
    options->max_block = change->max_block;

    const struct random_parameters random = store_random(options);
    store_take_writers(store);
    store_set_segment_bytes(store);
    if (store->tally.writer_count != writers || !same_random(&random, &store->random))
        store->checkpoint_due = true;
    store->random = random;
    store_mark(store);
}

bool store_rotate(struct store *store)
{
    if (store->device)
        return false;
    store->rotate_asked = true;
    return true;
}

/* Between two halves. What fails is tried again, here or with the next half. */
static int rotate_if_asked(struct store *store)
{
    if (!store->rotate_asked || store->pending)
        return 0;
    int rc = store_look(store);
    if (rc == 0 && store->begun)
        rc = store_end(store, EXTENT_END);
    if (rc == 0)
        rc = store_begin(store);
    if (rc < 0)
        (void)store_recover(store, rc); /* a file that failed is left; room may be made */
    return rc;
}

static int sync_by_interval(struct store *store)
{
    if (store->options.durability != DURABILITY_INTERVAL || !store->begun ||
        store->segment.offset == store->durable_offset ||
        clock_ns(CLOCK_MONOTONIC) - store->sync_time_ns < store->options.sync_interval_ns)
        return 0;
    int rc = store_sync(store);
    if (rc < 0)
        (void)store_recover(store, rc); /* it is left; the next half begins a new one */
    return rc;
}

int store_housekeep(struct store *store)
{
    int rotated = rotate_if_asked(store);
    int synced = sync_by_interval(store);
    store_look_at_age(store);
    int retained = store_retain(store); /* first: what it gives up may be the next */
    int prepared = store_prepare_next(store);

    if (rotated < 0)
        return rotated;
    if (synced < 0)
        return synced;
    return prepared < 0 ? prepared : retained;
}

int store_finish(struct store *store)
{
    assert(!store->finished);
    if (store->pending)
        return -EBUSY;
    store->closing = true;
    bool again = true;
    for (;;) {
        int rc = store_look(store);
        if (rc == 0)
            rc = store_begin(store);
        if (rc == 0)
            rc = store_end(store, EXTENT_END | EXTENT_CLOSE);
        if (rc == 0)
            break;
        if (!goes_on(store, rc, &again))
            return rc;
    }
    store->finished = true;
    return 0;
}

void store_free(struct store *store)
{
    if (!store)
        return;
    prepare_close(store->prepare);
    segment_close(&store->segment);
    stream_unlock(&store->other_lock);
    stream_unlock(&store->lock);
    free(store->resume_path);
    free(store->page);
    free(store->next_blocks);
    free((char *)(uintptr_t)store->options.path);
    free((char *)(uintptr_t)store->options.failover_path);
    free(store);
}

/* ---- What others may know ---- */

static uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

struct store_account store_account(const struct store *store)
{
    const struct account *account = &store->account;
    /* Before the bytes: so nobody ever sees more of them durable than stored. */
    uint64_t durable_bytes = counted(&account->durable_bytes);

    return (struct store_account){
        .blocks = counted(&account->blocks),
        .bytes = counted(&account->bytes),
        .extents = counted(&account->extents),
        .file_bytes = counted(&account->file_bytes),
        .durable_bytes = durable_bytes,
        .segments = counted(&account->segments),
        .segments_deleted = counted(&account->segments_deleted),
        .write_ns = counted(&account->write_ns),
        .sync_ns = counted(&account->sync_ns),
        .syncs = counted(&account->syncs),
        .digest = atomic_load_explicit(&account->digest, memory_order_acquire),
    };
}

const char *store_path(const struct store *store)
{
    return store->segment.path ? store->segment.path : store->options.path;
}

uint64_t store_offset(const struct store *store)
{
    return store->segment.offset;
}
