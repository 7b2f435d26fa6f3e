/* SPDX-License-Identifier: MIT
 *
 * Happy path: the segments are read in order, extent by extent. Each extent's sequence is the one
 * before plus one; each writer's first block is the one that was due; each checkpoint states just
 * what was counted. The last extent closes the stream.
 *
 * Failure modes:
 *   - damage in a place (scan names it): told with what the header still says about it;
 *   - a gap in a sequence: kept aside, for what is missing here may turn up later: then it is out
 * of order, else missing;
 *   - a sequence that was there already: doubled;
 *   - after damage the totals are uncertain (v->uncertain): the next checkpoint's are taken over
 *     instead of being compared, or one fault would be told twice;
 *   - the first segments are not there (retention): the first checkpoint says where to start;
 *   - a segment was given up (failing disk) and the next one starts before its end: what the next
 *     one repeats is superseded here;
 *   - a daemon is writing: faults behind the last whole extent are writes on their way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../disk/crc32c.h"
#include "../source/random.h"
#include "ranges.h"
#include "verify.h"

struct writer {
    bool known; /* next_block can be counted on */
    bool seen;  /* has blocks in what was read */
    uint64_t next_block;
    uint64_t dropped;
    struct ranges missing;
};

struct held_fault {
    struct scan_extent extent;
    struct extent_header header;
};

struct verify {
    const struct survey *survey;
    const struct verify_options *options;
    struct verify_result result;
    struct finding last; /* not yet told: the next one may make it longer */
    bool has_last;
    int error; /* -ENOMEM: give up */

    /* the stream */
    bool started;   /* everything before here is known: totals, and writers not yet seen are at 0 */
    bool uncertain; /* something was lost since the last checkpoint */
    bool random_known, random;
    bool random_unsure; /* a checkpoint with other parameters may have been lost */
    uint64_t seed;
    uint32_t min_block, max_block;
    uint64_t next_seq;
    uint64_t blocks, bytes;
    uint32_t digest;
    struct writer writers[FORMAT_WRITERS_MAX];
    struct ranges missing; /* extents */

    /* the segment being read */
    const struct survey_file *file;
    const struct survey_file *before; /* the one read before; NULL: what came before is not there */
    uint64_t damaged_bytes;           /* since the last extent that could be made out */
    uint32_t last_flags;              /* of the last extent */
    bool lenient;                     /* a daemon is writing it */
    struct held_fault *held;
    size_t held_count, held_room;

    unsigned char *block_room; /* to make random blocks in */
    uint64_t done_bytes, all_bytes, shown_bytes;
};

/* ---- Findings ---------------------------------------------------------------------------------
 */

const char *finding_name(enum finding_kind kind)
{
    static const char *const names[] = {
#define X(kind, name, text) name,
        VERIFY_FINDINGS(X)
#undef X
    };
    return names[kind];
}

const char *finding_text(enum finding_kind kind)
{
    static const char *const texts[] = {
#define X(kind, name, text) text,
        VERIFY_FINDINGS(X)
#undef X
    };
    return texts[kind];
}

static void tell_last(struct verify *v)
{
    if (v->has_last) {
        v->options->on_finding(v->options->context, &v->last);
        v->has_last = false;
    }
}

/* Whether the second range goes on behind the first; both may be empty. */
static bool goes_on(uint64_t first, uint64_t count, uint64_t next_first, uint64_t next_count)
{
    return count == 0 ? next_count == 0 : next_count > 0 && first + count == next_first;
}

/* Makes `last` longer by `next`, if it goes on right behind it in every respect. */
static bool join(struct finding *last, const struct finding *next)
{
    bool same = last->kind == next->kind && last->path == next->path &&
                last->writer == next->writer && last->error == next->error && last->field == NULL;
    bool inside = last->extent_count == 1 && last->first_extent == next->first_extent;

    if (!same || next->bytes == 0 || last->offset + last->bytes != next->offset ||
        !goes_on(last->first_block, last->block_count, next->first_block, next->block_count) ||
        !(inside || goes_on(last->first_extent, last->extent_count, next->first_extent,
                            next->extent_count))) {
        return false;
    }
    last->bytes += next->bytes;
    last->block_count += next->block_count;
    last->extent_count += inside ? 0 : next->extent_count;
    return true;
}

static void tell(struct verify *v, struct finding finding)
{
    if (v->has_last && join(&v->last, &finding)) {
        return;
    }
    tell_last(v);
    v->last = finding;
    v->has_last = true;
    v->result.findings++;
}

static struct finding at_file(const struct survey_file *file, enum finding_kind kind)
{
    return (struct finding){.kind = kind, .path = file->path, .writer = -1};
}

/* A finding about an extent, with all that its header says. */
static struct finding at_extent(const struct verify *v, const struct scan_extent *extent,
                                enum finding_kind kind)
{
    struct finding finding = at_file(v->file, kind);
    const struct extent_header *header = extent->header;
    finding.has_offset = true;
    finding.offset = extent->offset;
    finding.bytes = extent->bytes;
    finding.error = extent->error;
    if (header != NULL) {
        finding.first_extent = header->seq;
        finding.extent_count = 1;
        if (!(header->flags & EXTENT_CHECKPOINT)) {
            finding.writer = header->writer;
            finding.first_block = header->first_block;
            finding.block_count = header->block_count;
        }
    }
    return finding;
}

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
        tell(v, at_extent(v, extent,
                          was_missing ? FINDING_EXTENTS_REORDERED : FINDING_EXTENTS_DOUBLED));
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
            struct finding finding = at_extent(
                v, extent, was_missing ? FINDING_BLOCKS_REORDERED : FINDING_BLOCKS_DOUBLED);
            finding.block_count = stop - first;
            tell(v, finding);
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

static bool is_random(struct verify *v, unsigned writer, uint64_t number,
                      const struct block_header *block, const unsigned char *data)
{
    if (block->length != random_block_bytes(v->seed, writer, number, v->min_block, v->max_block)) {
        return false;
    }
    random_block_fill(v->seed, writer, number, v->block_room, block->length);
    return memcmp(v->block_room, data, block->length) == 0;
}

static void check_random(struct verify *v, const struct scan_extent *extent)
{
    const struct extent_header *header = extent->header;
    const struct block_header *block;
    const unsigned char *data;
    size_t position = 0;
    uint64_t number = header->first_block;

    bool known = v->random_known && v->random;
    while (known && scan_block(extent->data, header->used, &position, &block, &data) == 1) {
        if (!is_random(v, header->writer, number, block, data)) {
            if (v->random_unsure) {
                known = false;
                break;
            }
            struct finding finding = at_extent(v, extent, FINDING_RANDOM_WRONG);
            finding.offset = extent->offset + sizeof(*header) +
                             (uint64_t)((const unsigned char *)block - extent->data);
            finding.bytes = block_bytes(block->length);
            finding.first_block = number;
            finding.block_count = 1;
            tell(v, finding);
        }
        number++;
    }
    if (!known) {
        tell(v, at_extent(v, extent, FINDING_RANDOM_UNKNOWN));
    }
}

/* Counts an extent's blocks, which are whole. */
static void count_blocks(struct verify *v, const struct scan_extent *extent)
{
    const struct block_header *block;
    const unsigned char *data;
    size_t position = 0;
    uint64_t bytes = 0, blocks = 0;

    while (scan_block(extent->data, extent->header->used, &position, &block, &data) == 1) {
        bytes += block->length;
        blocks++;
        if (v->result.blocks + blocks == 1 || block->time_ns < v->result.first_ns) {
            v->result.first_ns = block->time_ns;
        }
        if (block->time_ns > v->result.last_ns) {
            v->result.last_ns = block->time_ns;
        }
    }
    v->bytes += bytes;
    v->result.bytes += bytes;
    v->result.blocks += blocks;
    struct writer *writer = &v->writers[extent->header->writer];
    if (!writer->seen) {
        writer->seen = true;
        v->result.writers++;
    }
    if (v->options->random) {
        check_random(v, extent);
    }
}

static void follow_blocks(struct verify *v, const struct scan_extent *extent, enum turn turn)
{
    const struct extent_header *header = extent->header;
    if (turn == THERE_ALREADY) {
        return;
    }
    enum turn blocks_turn = take_blocks(v, extent, turn != IN_ORDER);
    v->writers[header->writer].dropped += header->dropped;
    v->result.dropped += header->dropped;
    v->blocks += header->block_count;
    v->digest = crc32c(v->digest, &header->data_crc, sizeof(header->data_crc));
    if (extent->data == NULL) {
        v->uncertain = true;
    } else if (blocks_turn != THERE_ALREADY) {
        count_blocks(v, extent);
    }
}

/* ---- Checkpoints ------------------------------------------------------------------------------
 */

static void disagree(struct verify *v, const struct scan_extent *extent, const char *field,
                     int writer, uint64_t counted, uint64_t stated)
{
    if (counted != stated) {
        struct finding finding = at_extent(v, extent, FINDING_CHECKPOINT_WRONG);
        finding.field = field;
        finding.writer = writer;
        finding.counted = counted;
        finding.stated = stated;
        tell(v, finding);
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
    v->random = stated->random == 1;
    v->seed = stated->seed;
    v->min_block = stated->min_block;
    v->max_block = stated->max_block;
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

/* Whether the extent takes its place in the sequences, whatever else is wrong with it. */
static bool counts(const struct scan_extent *extent)
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

static void see_extent(struct verify *v, const struct scan_extent *extent)
{
    if (extent->fault != SCAN_OK) {
        tell(v, at_extent(v, extent, kind_of(extent->fault)));
    }
    if (!counts(extent)) {
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
            tell(v, at_extent(v, extent, FINDING_AFTER_END));
        }
        v->last_flags = header->flags;
    }
    if (!(header->flags & EXTENT_CHECKPOINT)) {
        follow_blocks(v, extent, turn);
    } else if (turn == IN_ORDER && extent->data != NULL) {
        follow_checkpoint(v, extent);
    } else {
        v->random_unsure = true;
    }
}

/* ---- Segments ---------------------------------------------------------------------------------
 */

static void hold_fault(struct verify *v, const struct scan_extent *extent)
{
    if (v->held_count == v->held_room) {
        size_t room = v->held_room * 2 + 8;
        struct held_fault *held = realloc(v->held, room * sizeof(*held));
        if (held == NULL) {
            v->error = -ENOMEM;
            return;
        }
        v->held = held;
        v->held_room = room;
    }
    struct held_fault *held = &v->held[v->held_count++];
    held->extent = *extent;
    held->extent.data = NULL; /* gone with the next call to scan_next */
    if (extent->header != NULL) {
        held->header = *extent->header;
    }
}

static void release_faults(struct verify *v)
{
    for (size_t i = 0; i < v->held_count; i++) {
        struct held_fault *held = &v->held[i];
        if (held->extent.header != NULL) {
            held->extent.header = &held->header;
        }
        see_extent(v, &held->extent);
    }
    v->held_count = 0;
}

static void show_progress(struct verify *v, const struct scan_extent *extent)
{
    v->done_bytes += extent->bytes;
    if (v->options->on_progress != NULL && v->done_bytes - v->shown_bytes >= (8 << 20)) {
        v->shown_bytes = v->done_bytes;
        v->options->on_progress(v->options->context, v->done_bytes, v->all_bytes);
    }
}

/* What the next segment holds again need not be whole here. */
static bool is_superseded(const struct verify *v, const struct scan_extent *extent,
                          const struct survey_file *next)
{
    if (next == NULL || next->state != SURVEY_GOOD ||
        (v->last_flags & (EXTENT_END | EXTENT_CLOSE))) {
        return false;
    }
    return v->next_seq >= next->first_seq ||
           (counts(extent) && extent->header->seq >= next->first_seq);
}

static void read_extents(struct verify *v, struct scan *scan, const struct survey_file *next)
{
    struct scan_extent extent;
    bool first = true;

    while (v->error == 0 && scan_next(scan, &extent) == 1) {
        show_progress(v, &extent);
        if (extent.fault == SCAN_EMPTY_TAIL) {
            continue;
        }
        if (is_superseded(v, &extent, next)) {
            v->result.superseded_bytes += extent.bytes;
            continue;
        }
        bool checkpoint = extent.fault == SCAN_OK && (extent.header->flags & EXTENT_CHECKPOINT);
        if (first && extent.fault == SCAN_OK && !checkpoint) {
            tell(v, at_extent(v, &extent, FINDING_CHECKPOINT_MISSING));
        }
        if (first && counts(&extent) && extent.header->seq < v->file->first_seq) {
            tell(v, at_extent(v, &extent, FINDING_SEGMENT_WRONG));
        }
        if (first && !checkpoint) {
            v->random_known = false; /* it may have come with another seed */
        }
        first = false;
        if (v->lenient && extent.fault != SCAN_OK) {
            hold_fault(v, &extent);
        } else {
            release_faults(v);
            see_extent(v, &extent);
        }
    }
}

/* What was before is not there: the first checkpoint, or each writer's first extent, says where it
 * starts. */
static void begin_stream(struct verify *v)
{
    const struct survey_file *file = v->file;
    v->next_seq = file->first_seq;
    v->started = file->first_seq == 0;
    v->random_known = false;
    v->result.first_seq = file->first_seq;
    v->result.first_segment = file->first_seq == 0 ? 0 : file->number;
    for (unsigned i = 0; i < FORMAT_WRITERS_MAX; i++) {
        v->writers[i].known = false;
    }
}

static void begin_segment(struct verify *v)
{
    const struct survey_file *file = v->file, *before = v->before;
    v->last_flags = 0;
    if (file->state == SURVEY_HEADER_CHANGED) {
        struct finding finding = at_file(file, FINDING_SEGMENT_HEADER);
        finding.has_offset = true;
        finding.bytes = FORMAT_ALIGN;
        tell(v, finding);
    }
    if (file->name_number > 0 && file->name_number != file->number) {
        struct finding finding = at_file(file, FINDING_SEGMENT_ORDER);
        finding.first_segment = file->number;
        finding.segment_count = 1;
        tell(v, finding);
    }
    if (before == NULL) {
        begin_stream(v);
    } else if (file->first_seq > v->next_seq && before->number > 0 &&
               file->number > before->number + 1) {
        struct finding finding = at_file(file, FINDING_SEGMENT_MISSING);
        finding.first_segment = before->number + 1;
        finding.segment_count = file->number - before->number - 1;
        tell(v, finding);
        v->damaged_bytes = UINT64_MAX; /* tells of the extents that were in them */
    }
}

static void read_segment(struct verify *v, size_t index)
{
    const struct survey *survey = v->survey;
    bool last = index + 1 == survey->readable;
    struct scan *scan;

    v->file = &survey->files[index];
    int rc = survey_open(v->file, &scan);
    if (rc == -ENOENT && survey->running) {
        v->before = NULL; /* retention has overtaken us: everything up to here is gone */
        return;
    }
    if (rc < 0) {
        struct finding finding = at_file(v->file, FINDING_UNREADABLE);
        finding.error = -rc;
        tell(v, finding);
        v->result.unreadable++;
        return;
    }
    v->lenient = last && survey->running;
    begin_segment(v);
    read_extents(v, scan, last ? NULL : &survey->files[index + 1]);
    v->before = v->file;
    v->result.segments++;
    v->result.file_bytes += scan_file_bytes(scan);
    scan_close(scan);
}

/* ---- The stream -------------------------------------------------------------------------------
 */

static void tell_of_files(struct verify *v)
{
    static const enum finding_kind kinds[] = {
        [SURVEY_DOUBLED] = FINDING_SEGMENT_DOUBLED, [SURVEY_FOREIGN] = FINDING_SEGMENT_FOREIGN,
        [SURVEY_EMPTY] = FINDING_SEGMENT_EMPTY,     [SURVEY_NO_SEGMENT] = FINDING_NO_SEGMENT,
        [SURVEY_UNREADABLE] = FINDING_UNREADABLE,
    };
    for (size_t i = v->survey->readable; i < v->survey->count; i++) {
        const struct survey_file *file = &v->survey->files[i];
        struct finding finding = at_file(file, kinds[file->state]);
        finding.error = file->error;
        finding.first_segment = file->number;
        finding.segment_count = file->number > 0 ? 1 : 0;
        bool damaged =
            file->state == SURVEY_NO_SEGMENT && (v->survey->count > 1 || file->has_magic);
        if (damaged) {
            finding.kind = FINDING_SEGMENT_HEADER;
        }
        tell(v, finding);
        if (file->state == SURVEY_UNREADABLE || (file->state == SURVEY_NO_SEGMENT && !damaged)) {
            v->result.unreadable++;
        }
    }
}

static void tell_missing(struct verify *v, const struct ranges *ranges, int writer)
{
    for (size_t i = 0; i < ranges->count; i++) {
        const struct range *range = &ranges->items[i];
        struct finding finding = {.kind = FINDING_EXTENTS_MISSING,
                                  .path = range->path,
                                  .has_offset = true,
                                  .offset = range->offset,
                                  .writer = writer};
        if (writer < 0) {
            finding.first_extent = range->first;
            finding.extent_count = range->end - range->first;
        } else {
            finding.kind = FINDING_BLOCKS_MISSING;
            finding.first_block = range->first;
            finding.block_count = range->end - range->first;
        }
        tell(v, finding);
    }
}

/* How the stream ends, after its last segment was read. */
static void see_end(struct verify *v)
{
    const struct survey *survey = v->survey;
    if (survey->readable == 0) {
        v->result.end = VERIFY_NOT_CLOSED;
    } else if (v->last_flags & EXTENT_CLOSE) {
        v->result.end = VERIFY_CLOSED;
    } else if (survey->running) {
        v->result.end = VERIFY_RUNNING;
    } else if ((v->last_flags & EXTENT_END) && !survey->whole) {
        v->result.end = VERIFY_GOES_ON;
    } else {
        v->result.end = VERIFY_NOT_CLOSED;
        tell(v, at_file(v->file,
                        v->last_flags & EXTENT_END ? FINDING_NOT_CONTINUED : FINDING_NOT_CLOSED));
    }
}

static void read_stream(struct verify *v)
{
    tell_of_files(v);
    for (size_t i = 0; i < v->survey->readable; i++) {
        v->all_bytes += v->survey->files[i].bytes;
    }
    for (size_t i = 0; v->error == 0 && i < v->survey->readable; i++) {
        read_segment(v, i);
    }
    tell_missing(v, &v->missing, -1);
    for (int i = 0; i < FORMAT_WRITERS_MAX; i++) {
        tell_missing(v, &v->writers[i].missing, i);
    }
    see_end(v);
    tell_last(v);
}

int verify(const struct survey *survey, const struct verify_options *options,
           struct verify_result *ret)
{
    struct verify *v = calloc(1, sizeof(*v)); /* it is large */
    if (v == NULL) {
        return -ENOMEM;
    }
    v->survey = survey;
    v->options = options;
    if (options->random) {
        v->block_room = malloc(FORMAT_BLOCK_MAX);
    }
    if (options->random && v->block_room == NULL) {
        v->error = -ENOMEM;
    } else {
        read_stream(v);
    }
    int rc = v->error;
    if (rc == 0) {
        *ret = v->result;
    }
    for (unsigned i = 0; i < FORMAT_WRITERS_MAX; i++) {
        ranges_free(&v->writers[i].missing);
    }
    ranges_free(&v->missing);
    free(v->held);
    free(v->block_room);
    free(v);
    return rc;
}
