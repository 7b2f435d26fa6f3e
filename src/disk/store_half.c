/* SPDX-License-Identifier: MIT
 *
 * A half's extents into the open segment.
 *
 * Happy path: there is room; some extents are completed (sequence, place, CRCs, zeros behind) where
 * they lie in the double buffer, and written from there; those that are whole on disk are counted;
 * and so on. Nothing is copied. Where the output can, several such writes are in flight, and the
 * next extents are completed meanwhile.
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

/* Where the extents that go into this segment must end. */
static uint64_t room_end(const struct store *store)
{
    uint64_t end = store->segment.room_end < store->segment_bytes_max ? store->segment.room_end
                                                                      : store->segment_bytes_max;

    return store->device ? UINT64_MAX : end - room_for_end(store);
}

/* Where the pieces of a write at `offset` must end. */
static uint64_t batch_end(const struct store *store, uint64_t offset)
{
    uint64_t end = room_end(store);
    uint64_t batch = offset + store->options.output->write_bytes;

    return batch < end ? batch : end;
}

/* Where the next extent goes. */
struct place {
    size_t index; /* of the extent in the half */
    uint64_t seq;
    uint64_t offset; /* in the segment */
};

static struct place place_now(const struct store *store)
{
    return (struct place){.index = store->done,
                          .seq = store->tally.next_seq,
                          .offset = store->segment.offset - store->partial};
}

static uint32_t data_bytes(const struct extent_header *header)
{
    return (uint32_t)tally_data_bytes(header, (const unsigned char *)(header + 1));
}

/* Completes extents from `place` on, at least one, and puts them into the batch, up to `end`. */
static void gather_segments(struct store *store, struct extent_header *const extents[],
                            size_t count, struct place *place, uint64_t end, struct batch *batch)
{
    batch->count = 0;
    batch->offset = place->offset;
    while (place->index < count && batch->count < IOV_MAX) {
        struct extent_header *extent = extents[place->index];
        size_t bytes = extent_stored_bytes(extent->used);
        if (batch->count > 0 && place->offset + bytes > end)
            break;
        extent_complete(extent, place->seq, store->uuid, place->offset);
        /* Now, while it is in the cache. */
        store->data_bytes[place->index % IN_FLIGHT_EXTENTS] = data_bytes(extent);
        batch->pieces[batch->count++] = (struct iovec){extent, bytes};
        place->index++;
        place->seq++;
        place->offset += bytes;
    }
    batch->bytes = place->offset - batch->offset;
}

/* What is left of a half whose next extent is in the file in part. */
static void skip_partial(const struct store *store, struct batch *batch)
{
    batch->pieces[0].iov_base = (unsigned char *)batch->pieces[0].iov_base + store->partial;
    batch->pieces[0].iov_len -= store->partial;
    batch->offset += store->partial;
    batch->bytes -= store->partial;
}

static void gather_raw(struct store *store, struct extent_header *const extents[], size_t count,
                       struct batch *batch)
{
    size_t skip = store->partial;
    uint64_t offset = store->segment.offset;
    uint64_t end = batch_end(store, offset);

    batch->count = 0;
    for (size_t i = store->done; i < count && batch->count < IOV_MAX; i++) {
        uint64_t bytes = room_for(store, extents[i]);
        if (batch->count > 0 && offset + bytes > end)
            break;
        batch->count +=
            raw_pieces(extents[i], skip, batch->pieces + batch->count, IOV_MAX - batch->count);
        offset += bytes;
        skip = 0;
    }
}

/* Extent store->done is whole in the file. */
static void count_extent(struct store *store, const struct extent_header *header)
{
    struct account *account = &store->account;
    uint64_t bytes =
        is_raw(store) ? data_bytes(header) : store->data_bytes[store->done % IN_FLIGHT_EXTENTS];

    tally_add(&store->tally, header, bytes);
    store->done++;
    if (store->done <= store->counted)
        return; /* it was in a segment that was left, and is stored a second time */
    store->counted = store->done;
    account_add(&account->blocks, header->block_count);
    account_add(&account->bytes, bytes);
    account_add(&account->extents, 1);
}

/* Counts the extents that are whole with `bytes` more. */
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

/* So many more bytes of the half are in the file. */
static void count_written(struct store *store, struct extent_header *const extents[], size_t count,
                          size_t written)
{
    account_add(&store->account.file_bytes, written);
    count_bytes(store, extents, count, written);
    if (store->device)
        store_tell_target(store);
    if (!is_raw(store))
        atomic_store_explicit(&store->account.digest, store->tally.digest, memory_order_release);
}

/* One write, and waits for it. */
static int write_some(struct store *store, struct extent_header *const extents[], size_t count)
{
    struct batch *batch = &store->batches[0];
    struct place place = place_now(store);
    ssize_t written = 0;

    if (is_raw(store))
        gather_raw(store, extents, count, batch);
    else {
        gather_segments(store, extents, count, &place, batch_end(store, place.offset), batch);
        skip_partial(store, batch);
    }
    if (batch->count > 0) { /* blocks without a byte come to nothing in raw */
        uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
        written = segment_write(&store->segment, batch->pieces, batch->count);
        account_add(&store->account.write_ns, clock_ns(CLOCK_MONOTONIC) - start_ns);
    }
    if (written < 0)
        return (int)written;
    count_written(store, extents, count, (size_t)written);
    return 0;
}

/* Writes in flight, by numbers that go on; number % writes_in_flight is the batch and the slot. */
struct flight {
    struct place next; /* what is begun next */
    size_t first;      /* index that it started with: there is room for that one in any case */
    unsigned begin, end;
};

/* Begins writes until as many are in flight as there may be, or nothing is left that goes into this
 * segment. */
static int begin_writes(struct store *store, struct extent_header *const extents[], size_t count,
                        struct flight *flight)
{
    const unsigned most = store->segment.output->writes_in_flight;
    struct place *next = &flight->next;

    while (next->index < count && flight->end - flight->begin < most) {
        const size_t bytes = extent_stored_bytes(extents[next->index]->used);
        const unsigned slot = flight->end % most;
        struct batch *batch = &store->batches[slot];
        if (next->index > flight->first && next->offset + bytes > room_end(store))
            break;
        gather_segments(store, extents, count, next, batch_end(store, next->offset), batch);
        int rc =
            segment_begin_write(&store->segment, slot, batch->pieces, batch->count, batch->offset);
        if (rc < 0)
            return rc;
        flight->end++;
    }
    return 0;
}

/* Ends the first of the writes in flight; returns whether it is whole, and counts. */
static int end_write(struct store *store, struct extent_header *const extents[], size_t count,
                     struct flight *flight, bool *ret_whole)
{
    const unsigned slot = flight->begin++ % store->segment.output->writes_in_flight;
    const struct batch *batch = &store->batches[slot];

    if (batch->offset != store->segment.offset) { /* one before it was not whole */
        segment_abandon_write(&store->segment, slot, batch->pieces, batch->count, batch->offset);
        return 0;
    }
    ssize_t written = segment_end_write(&store->segment, slot, batch->pieces, batch->count);
    *ret_whole = written == (ssize_t)batch->bytes;
    if (written < 0)
        return (int)written;
    count_written(store, extents, count, (size_t)written);
    return 0;
}

/* Writes what goes into this segment, several batches at a time: while some are on their way the next
 * ones are completed. They count in their order. After the first that is not whole nothing is begun
 * any more, and none is in flight when this returns: then the file and the half are as after a write
 * that was short, or failed. */
static int write_overlapping(struct store *store, struct extent_header *const extents[],
                             size_t count)
{
    struct flight flight = {.next = place_now(store), .first = store->done};
    bool whole = true;
    int rc = 0;

    for (;;) {
        uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
        if (whole && begin_writes(store, extents, count, &flight) < 0)
            whole = false; /* it is written by itself below, and fails there if it must */
        if (flight.begin == flight.end)
            break;
        bool this_whole = whole;
        int ended = end_write(store, extents, count, &flight, &this_whole);
        account_add(&store->account.write_ns, clock_ns(CLOCK_MONOTONIC) - start_ns);
        whole = whole && this_whole;
        rc = rc < 0 ? rc : ended;
    }
    store_note_manner(store, &store->segment);
    return rc < 0 || whole ? rc : write_some(store, extents, count);
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
            rc = segment_overlaps(&store->segment) && store->partial == 0
                     ? write_overlapping(store, extents, count)
                     : write_some(store, extents, count);
        if (rc < 0)
            return rc;
    }
    return sync_as_asked(store);
}
