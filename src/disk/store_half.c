/* SPDX-License-Identifier: MIT
 *
 * A half's extents into the open segment.
 *
 * Happy path: there is room; some extents are completed (sequence, place, CRCs, zeros behind) where
 * they lie in the double buffer, and written from there; those that are whole on disk are counted;
 * and so on. Nothing is copied.
 *
 * Failure modes: a short write goes on at the byte reached. After a failure store->done says how
 * many extents are whole; a file of segments is cut back to there (store_recover), raw files and
 * devices go on in the middle of an extent, at store->partial.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "raw.h"
#include "store_state.h"

#define BATCH_BYTES ((uint64_t)4 << 20) /* completed and written at a time, still in the cache */

static bool is_raw(const struct store *store)
{
    return store->options.format == STORE_RAW;
}

void store_check_half(const struct store *store, struct extent_header *const extents[],
                      size_t count)
{
    uint64_t next_blocks[FORMAT_WRITERS_MAX];

    for (unsigned w = 0; w < store->options.writer_count; w++)
        next_blocks[w] = store->tally.writers[w].next_block;
    for (size_t i = 0; i < count; i++) {
        const struct extent_header *header = extents[i];
        assert((uintptr_t)header % FORMAT_ALIGN == 0);
        assert(header->writer < store->options.writer_count);
        assert(header->block_count > 0);
        assert(header->used > 0);
        assert(sizeof(*header) + header->used <= store->options.extent_bytes_max);
        assert(header->epoch == extents[0]->epoch);
        assert(header->first_block == next_blocks[header->writer] ||
               (store->gaps && header->first_block > next_blocks[header->writer]));
        next_blocks[header->writer] = header->first_block + header->block_count;
    }
}

/* Bytes that an extent comes to in the file; for `raw` at most. */
static uint64_t room_for(const struct store *store, const struct extent_header *header)
{
    return is_raw(store) ? header->used : extent_stored_bytes(header->used);
}

/* Bytes that must stay free behind the extents for the segment's last checkpoint. */
static uint64_t room_for_end(const struct store *store)
{
    return is_raw(store) ? 0 : tally_checkpoint_bytes(&store->tally);
}

static bool must_end(const struct store *store, const struct extent_header *next)
{
    uint64_t end = store->segment.offset + room_for(store, next) + room_for_end(store);

    if (store->device || store->partial > 0)
        return false;
    return store->rotate_asked ||
           (end > store->segment_bytes_max && store->segment.offset > store->begun_offset);
}

/* Room for all that is left of the half and goes into this segment; or for the next extent alone.
 */
static int reserve(struct store *store, struct extent_header *const extents[], size_t count)
{
    struct segment *segment = &store->segment;
    uint64_t min_free = store->options.min_free_bytes;
    uint64_t start = segment->offset - (is_raw(store) ? 0 : store->partial);
    uint64_t least = start + room_for(store, extents[store->done]) + room_for_end(store);
    uint64_t all = least;

    if (store->device || segment->room_end >= least)
        return 0;
    for (size_t i = store->done + 1; i < count; i++) {
        uint64_t bytes = room_for(store, extents[i]);
        if (all + bytes > store->segment_bytes_max)
            break;
        all += bytes;
    }
    int rc = segment_reserve(segment, all, store_ideal_end(store, all), min_free);
    return no_room(rc) ? segment_reserve(segment, least, least, min_free) : rc;
}

/* Where the pieces of the next write must end. */
static uint64_t batch_end(const struct store *store)
{
    uint64_t end = store->segment.offset + BATCH_BYTES;
    uint64_t room_end = store->segment.room_end - room_for_end(store);
    uint64_t segment_end = store->segment_bytes_max - room_for_end(store);

    if (store->device)
        return end;
    if (end > room_end)
        end = room_end;
    return end < segment_end ? end : segment_end;
}

/* Completes some extents and points store->pieces at them. Returns the number of pieces. */
static int gather_segments(struct store *store, struct extent_header *const extents[], size_t count)
{
    uint64_t seq = store->tally.next_seq;
    uint64_t offset = store->segment.offset - store->partial;
    uint64_t end = batch_end(store);
    int pieces = 0;

    for (size_t i = store->done; i < count && pieces < IOV_MAX; i++, seq++) {
        size_t bytes = extent_stored_bytes(extents[i]->used);
        if (pieces > 0 && offset + bytes > end)
            break;
        extent_complete(extents[i], seq, store->uuid, offset);
        store->pieces[pieces++] = (struct iovec){extents[i], bytes};
        offset += bytes;
    }
    store->pieces[0].iov_base = (unsigned char *)extents[store->done] + store->partial;
    store->pieces[0].iov_len -= store->partial;
    return pieces;
}

static int gather_raw(struct store *store, struct extent_header *const extents[], size_t count)
{
    size_t skip = store->partial;
    uint64_t offset = store->segment.offset;
    uint64_t end = batch_end(store);
    int pieces = 0;

    for (size_t i = store->done; i < count && pieces < IOV_MAX; i++) {
        uint64_t bytes = room_for(store, extents[i]);
        if (pieces > 0 && offset + bytes > end)
            break;
        pieces += raw_pieces(extents[i], skip, store->pieces + pieces, IOV_MAX - pieces);
        offset += bytes;
        skip = 0;
    }
    return pieces;
}

/* Extent store->done is whole in the file. */
static void count_extent(struct store *store, const struct extent_header *header)
{
    struct account *account = &store->account;
    uint64_t bytes = tally_data_bytes(header, (const unsigned char *)(header + 1));

    tally_add(&store->tally, header, bytes);
    store->done++;
    if (store->done <= store->counted)
        return; /* it was in a segment that was left, and is stored a second time */
    store->counted = store->done;
    account_add(&account->blocks, header->block_count);
    account_add(&account->bytes, bytes);
    account_add(&account->extents, 1);
}

/* So many more bytes of the half are in the file. */
static void count_bytes(struct store *store, struct extent_header *const extents[], size_t count,
                        size_t bytes)
{
    store->partial += bytes;
    store->position += bytes;
    while (store->done < count) {
        const struct extent_header *header = extents[store->done];
        size_t whole = is_raw(store) ? raw_bytes(header) : extent_stored_bytes(header->used);
        if (store->partial < whole)
            return;
        store->partial -= whole;
        count_extent(store, header);
    }
    assert(store->partial == 0);
}

static uint64_t raw_half_bytes(struct extent_header *const extents[], size_t count)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        bytes += raw_bytes(extents[i]);
    return bytes;
}

void store_begin_half(struct store *store, struct extent_header *const extents[], size_t count)
{
    store_check_half(store, extents, count);
    store->pending = true;
    store->done = store->partial = store->counted = 0;
    store->position = 0;
    store->epoch = count > 0 ? extents[0]->epoch : 0;
    if (store->stored_in_part && count > 0 && store->epoch == store->part_epoch) {
        uint64_t all = raw_half_bytes(extents, count);
        uint64_t part = store->part_position < all ? store->part_position : all;
        count_bytes(store, extents, count, (size_t)part);
    }
    store->stored_in_part = false;
    store_mark(store);
    store_tell_target(store);
}

static int write_some(struct store *store, struct extent_header *const extents[], size_t count)
{
    int pieces =
        is_raw(store) ? gather_raw(store, extents, count) : gather_segments(store, extents, count);
    ssize_t written = 0;

    if (pieces > 0) { /* blocks without a byte come to nothing in raw */
        uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
        written = segment_write(&store->segment, store->pieces, pieces);
        account_add(&store->account.write_ns, clock_ns(CLOCK_MONOTONIC) - start_ns);
    }
    if (written < 0)
        return (int)written;
    account_add(&store->account.file_bytes, (uint64_t)written);
    count_bytes(store, extents, count, (size_t)written);
    if (store->device)
        store_tell_target(store);
    if (!is_raw(store))
        atomic_store_explicit(&store->account.digest, store->tally.digest, memory_order_release);
    return 0;
}

/* Syncs as far as the durability asks for it now. */
static int sync_as_asked(struct store *store)
{
    uint64_t age_ns = clock_ns(CLOCK_MONOTONIC) - store->sync_time_ns;
    bool due = store->options.durability == DURABILITY_HALF ||
               (store->options.durability == DURABILITY_INTERVAL &&
                age_ns >= store->options.sync_interval_ns);

    if (!store->begun || store->segment.offset == store->durable_offset)
        return 0;
    return due || store->device ? store_sync(store) : 0;
}

int store_half(struct store *store, struct extent_header *const extents[], size_t count)
{
    while (store->done < count) {
        int rc = store_begin(store);
        if (rc < 0)
            return rc;
        if (must_end(store, extents[store->done])) {
            rc = store_end(store, EXTENT_END);
            if (rc < 0)
                return rc;
            continue;
        }
        if (store->checkpoint_due) {
            rc = store_restate(store);
            if (rc < 0)
                return rc;
            continue; /* it has taken room */
        }
        rc = reserve(store, extents, count);
        if (rc == 0)
            rc = write_some(store, extents, count);
        if (rc < 0)
            return rc;
    }
    return sync_as_asked(store);
}
