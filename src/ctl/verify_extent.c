/* SPDX-License-Identifier: MIT
 *
 * One extent after the other.
 *
 * Happy path: its sequence is the one before plus one, its first block the one that is due of its
 * writer; a checkpoint states just what was counted.
 *
 * Failure modes:
 *   - damage in a place (scan names it): told with what the header still says about it;
 *   - a gap in a sequence: kept aside, for what is missing here may turn up later: then it is out of
 *     order, else missing;
 *   - a sequence that was there already: doubled;
 *   - after damage the totals are uncertain (v->uncertain): the next checkpoint's are taken over
 *     instead of being compared, or one fault would be told twice.
 */
#include <errno.h>

#include "../disk/crc32c.h"
#include "verify_state.h"

/* ---- Sequences --------------------------------------------------------------------------------
 */

enum turn { IN_ORDER, OUT_OF_ORDER, THERE_ALREADY };

static void add_missing(struct verify *v, struct ranges *ranges, uint64_t first, uint64_t end,
                        uint64_t offset)
{
    struct range range = {first, end, v->file->path, offset};
    if (ranges_add(ranges, range) < 0) {
        v->error = -ENOMEM;
    }
}

static bool take_missing(struct verify *v, struct ranges *ranges, uint64_t first, uint64_t end)
{
    int rc = ranges_take(ranges, first, end);
    if (rc < 0) {
        v->error = rc;
    }
    return rc == 1;
}

static uint64_t end_of(uint64_t first, uint64_t count)
{
    return count > UINT64_MAX - first ? UINT64_MAX : first + count;
}

static enum turn take_seq(struct verify *v, const struct scan_extent *extent)
{
    uint64_t seq = extent->header->seq;
    if (seq < v->next_seq) {
        v->uncertain = true;
        bool was_missing = take_missing(v, &v->missing, seq, end_of(seq, 1));
        verify_tell(v, finding_at_extent(v, extent,
                                         was_missing ? FINDING_EXTENTS_REORDERED
                                                     : FINDING_EXTENTS_DOUBLED));
        return was_missing ? OUT_OF_ORDER : THERE_ALREADY;
    }
    if (seq > v->next_seq) {
        v->uncertain = true;
        v->random_unsure = true;
        /* Damage was told already: it needs no second line for the extents that were in it. */
        if ((seq - v->next_seq) > v->damaged_bytes / FORMAT_ALIGN) {
            add_missing(v, &v->missing, v->next_seq, seq, extent->offset);
        }
    }
    v->next_seq = end_of(seq, 1);
    return IN_ORDER;
}

/* The blocks' place among their writer's. Tells of it, unless their extent was told of already. */
static enum turn take_blocks(struct verify *v, const struct scan_extent *extent, bool told)
{
    const struct extent_header *header = extent->header;
    struct writer *writer = &v->writers[header->writer];
    uint64_t first = header->first_block, end = end_of(first, header->block_count);

    if (!writer->known) {
        writer->next_block = v->started ? 0 : first;
        writer->known = true;
    }
    if (first < writer->next_block) {
        bool was_missing = take_missing(v, &writer->missing, first, end);
        uint64_t stop = end < writer->next_block ? end : writer->next_block;
        if (!told) {
            struct finding finding = finding_at_extent(
                v, extent, was_missing ? FINDING_BLOCKS_REORDERED : FINDING_BLOCKS_DOUBLED);
            finding.block_count = stop - first;
            verify_tell(v, finding);
        }
        v->uncertain = true;
        writer->next_block = end > writer->next_block ? end : writer->next_block;
        return was_missing ? OUT_OF_ORDER : THERE_ALREADY;
    }
    if (first > writer->next_block) {
        add_missing(v, &writer->missing, writer->next_block, first, extent->offset);
        v->uncertain = true;
    }
    writer->next_block = end;
    return IN_ORDER;
}

/* ---- Blocks -----------------------------------------------------------------------------------
 */

static void check_random(struct verify *v, const struct seen_extent *seen)
{
    const struct scan_extent *extent = &seen->at;
    const struct extent_header *header = extent->header;
    const struct block_header *block;
    const unsigned char *data;
    size_t position = 0;
    uint64_t number = header->first_block;

    bool known = v->random_known && v->random.random == 1;
    if (known && seen->blocks_are_random) {
        return;
    }
    while (known && scan_block(extent->data, header->used, &position, &block, &data) == 1) {
        if (!block_is_random(&v->random, header->writer, number, block, data, v->block_room)) {
            if (v->random_unsure) {
                known = false;
                break;
            }
            struct finding finding = finding_at_extent(v, extent, FINDING_RANDOM_WRONG);
            finding.offset = extent->offset + sizeof(*header) +
                             (uint64_t)((const unsigned char *)block - extent->data);
            finding.bytes = block_bytes(block->length);
            finding.first_block = number;
            finding.block_count = 1;
            verify_tell(v, finding);
        }
        number++;
    }
    if (!known) {
        verify_tell(v, finding_at_extent(v, extent, FINDING_RANDOM_UNKNOWN));
    }
}

/* Counts an extent's blocks, which are whole. */
static void count_blocks(struct verify *v, const struct seen_extent *seen)
{
    const struct block_sums *sums = &seen->sums;
    if (sums->blocks > 0 && (v->result.blocks == 0 || sums->first_ns < v->result.first_ns)) {
        v->result.first_ns = sums->first_ns;
    }
    if (sums->last_ns > v->result.last_ns) {
        v->result.last_ns = sums->last_ns;
    }
    v->bytes += sums->bytes;
    v->result.bytes += sums->bytes;
    v->result.blocks += sums->blocks;
    struct writer *writer = &v->writers[seen->at.header->writer];
    if (!writer->seen) {
        writer->seen = true;
        v->result.writers++;
    }
    if (v->options->random) {
        check_random(v, seen);
    }
}

static void follow_blocks(struct verify *v, const struct seen_extent *seen, enum turn turn)
{
    const struct extent_header *header = seen->at.header;
    if (turn == THERE_ALREADY) {
        return;
    }
    enum turn blocks_turn = take_blocks(v, &seen->at, turn != IN_ORDER);
    v->writers[header->writer].dropped += header->dropped;
    v->result.dropped += header->dropped;
    v->blocks += header->block_count;
    v->digest = crc32c(v->digest, &header->data_crc, sizeof(header->data_crc));
    if (!seen->blocks_are_whole) {
        v->uncertain = true;
    } else if (blocks_turn != THERE_ALREADY) {
        count_blocks(v, seen);
    }
}

/* ---- Checkpoints ------------------------------------------------------------------------------
 */

static void disagree(struct verify *v, const struct scan_extent *extent, const char *field,
                     int writer, uint64_t counted, uint64_t stated)
{
    if (counted != stated) {
        struct finding finding = finding_at_extent(v, extent, FINDING_CHECKPOINT_WRONG);
        finding.field = field;
        finding.writer = writer;
        finding.counted = counted;
        finding.stated = stated;
        verify_tell(v, finding);
    }
}

static void compare_writer(struct verify *v, const struct scan_extent *extent, unsigned index,
                           const struct checkpoint_writer *stated)
{
    struct writer *writer = &v->writers[index];
    if (!writer->known && !v->started) {
        *writer = (struct writer){
            .known = true, .next_block = stated->next_block, .dropped = stated->dropped};
        return;
    }
    writer->known = true;
    if (stated->next_block > writer->next_block) {
        add_missing(v, &writer->missing, writer->next_block, stated->next_block, extent->offset);
        writer->next_block = stated->next_block;
        v->uncertain = true;
    } else if (v->uncertain) {
        writer->next_block = stated->next_block; /* why it is less was told already */
    } else {
        disagree(v, extent, "next block", (int)index, writer->next_block, stated->next_block);
    }
    if (v->started && !v->uncertain) {
        disagree(v, extent, "dropped blocks", (int)index, writer->dropped, stated->dropped);
    }
    writer->dropped = stated->dropped;
}

static void follow_checkpoint(struct verify *v, const struct scan_extent *extent)
{
    const struct checkpoint_writer *entries;
    const struct checkpoint *stated = scan_checkpoint(extent->data, extent->header->used, &entries);
    if (stated == NULL) {
        return; /* misplaced, and not even right: told already */
    }
    for (unsigned i = 0; i < FORMAT_WRITERS_MAX; i++) {
        const struct checkpoint_writer nothing = {0};
        if (i < stated->writer_count || v->writers[i].known) {
            compare_writer(v, extent, i, i < stated->writer_count ? &entries[i] : &nothing);
        }
    }
    if (v->started && !v->uncertain) {
        disagree(v, extent, "blocks", -1, v->blocks, stated->blocks);
        disagree(v, extent, "bytes", -1, v->bytes, stated->bytes);
        disagree(v, extent, "digest", -1, v->digest, stated->digest);
    }
    v->blocks = stated->blocks;
    v->bytes = stated->bytes;
    v->digest = stated->digest;
    v->started = true;
    v->uncertain = false;
    v->random_known = true;
    v->random_unsure = false;
    v->random = blocks_random(extent);
}

/* ---- Extents ----------------------------------------------------------------------------------
 */

static enum finding_kind kind_of(enum scan_fault fault)
{
    static const enum finding_kind kinds[] = {
        [SCAN_NO_EXTENT] = FINDING_NO_EXTENT,
        [SCAN_HEADER_CHANGED] = FINDING_HEADER_CHANGED,
        [SCAN_DATA_CHANGED] = FINDING_DATA_CHANGED,
        [SCAN_PADDING_CHANGED] = FINDING_PADDING_CHANGED,
        [SCAN_MISPLACED] = FINDING_MISPLACED,
        [SCAN_BAD_BLOCKS] = FINDING_MALFORMED,
        [SCAN_CUT] = FINDING_CUT,
        [SCAN_IO_ERROR] = FINDING_READ_ERROR,
    };
    return kinds[fault];
}

bool verify_counts(const struct scan_extent *extent)
{
    switch (extent->fault) {
    case SCAN_OK:
    case SCAN_PADDING_CHANGED:
    case SCAN_DATA_CHANGED:
        return true;
    case SCAN_MISPLACED:
        return extent->data != NULL;
    case SCAN_CUT:
        return extent->header != NULL;
    default:
        return false;
    }
}

void verify_extent(struct verify *v, const struct seen_extent *seen)
{
    const struct scan_extent *extent = &seen->at;
    if (extent->fault != SCAN_OK) {
        verify_tell(v, finding_at_extent(v, extent, kind_of(extent->fault)));
    }
    if (!verify_counts(extent)) {
        v->uncertain = true;
        v->random_unsure = true;
        v->damaged_bytes += extent->bytes;
        return;
    }
    const struct extent_header *header = extent->header;
    enum turn turn = take_seq(v, extent);
    v->damaged_bytes = 0;
    if (turn != THERE_ALREADY) {
        v->result.extents++;
        /* A daemon that goes on in the same file begins with a checkpoint. */
        if ((v->last_flags & EXTENT_END) && !(header->flags & EXTENT_CHECKPOINT)) {
            verify_tell(v, finding_at_extent(v, extent, FINDING_AFTER_END));
        }
        v->last_flags = header->flags;
    }
    if (!(header->flags & EXTENT_CHECKPOINT)) {
        follow_blocks(v, seen, turn);
    } else if (turn == IN_ORDER && extent->data != NULL) {
        follow_checkpoint(v, extent);
    } else {
        v->random_unsure = true;
    }
}
