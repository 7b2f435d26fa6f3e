/* SPDX-License-Identifier: MIT
 *
 * Happy path: the segments are read in order, extent by extent; the last one closes the stream.
 *
 * Failure modes:
 *   - the first segments are not there (retention): the first checkpoint says where to start;
 *   - retention overtakes us: the same again, at the first segment that is still there;
 *   - a segment was given up (failing disk) and the next one starts before its end: what the next
 *     one repeats is superseded here;
 *   - a daemon is writing: faults behind the last whole extent are writes on their way.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "verify_state.h"

enum { PIECE_BYTES = 16 << 20, WORKERS_MAX = 16 };

/* ---- Segments ---------------------------------------------------------------------------------
 */

static void hold_fault(struct verify *v, const struct seen_extent *seen)
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
    held->extent = (struct seen_extent){.at = seen->at};
    held->extent.at.data = NULL; /* gone with the next call to scan_next */
    if (seen->at.header != NULL) {
        held->header = *seen->at.header;
    }
}

static void release_faults(struct verify *v)
{
    for (size_t i = 0; i < v->held_count; i++) {
        struct held_fault *held = &v->held[i];
        if (held->extent.at.header != NULL) {
            held->extent.at.header = &held->header;
        }
        verify_extent(v, &held->extent);
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
           (verify_counts(extent) && extent->header->seq >= next->first_seq);
}

/* What follows a held fault is whole: then the fault may be one of the moment, as it was read before it was
 * written and what is behind it after that. Goes back to it, once. */
static bool looks_again(struct verify *v, struct scan *scan)
{
    if (v->held_count == 0 || v->looked_again >= v->held[0].extent.at.offset ||
        scan_refresh(scan) < 0) {
        return false;
    }
    v->looked_again = v->held[0].extent.at.offset;
    v->held_count = 0;
    scan_seek(scan, v->looked_again);
    return true;
}

/* Whether a worker has seen the whole extent that comes next, and all that is asked of it. */
static bool take_ahead(struct verify *v, struct scan *scan, struct seen_extent *ret)
{
    const uint64_t offset = scan_offset(scan);
    const struct ahead_extent *ahead;
    if (v->ahead == NULL || v->lenient || offset >= scan_file_bytes(scan) ||
        ahead_take(v->ahead, (size_t)(v->file - v->survey->files), offset, &ahead) == 0 ||
        offset + ahead->bytes > scan_file_bytes(scan)) {
        return false;
    }
    bool compare = v->options->random && v->random.random == 1;
    bool checkpoint = ahead->header.flags & EXTENT_CHECKPOINT;
    if (compare && !checkpoint && !random_is_same(&ahead->random, &v->random)) {
        return false; /* which block it is shows its data alone */
    }
    *ret = (struct seen_extent){.at = {.fault = SCAN_OK,
                                       .offset = offset,
                                       .bytes = ahead->bytes,
                                       .header = &ahead->header,
                                       .data = ahead->data},
                                .sums = ahead->sums,
                                .blocks_are_whole = true,
                                .blocks_are_random = compare};
    scan_seek(scan, offset + ahead->bytes);
    return true;
}

static bool next_extent(struct verify *v, struct scan *scan, struct seen_extent *ret)
{
    if (take_ahead(v, scan, ret)) {
        return true;
    }
    *ret = (struct seen_extent){.blocks_are_whole = false};
    if (scan_next(scan, &ret->at) == 0) {
        return false;
    }
    if (ret->at.data != NULL) {
        ret->sums = block_sums(&ret->at);
        ret->blocks_are_whole = true;
    }
    return true;
}

static void read_extents(struct verify *v, struct scan *scan, const struct survey_file *next)
{
    struct seen_extent seen;
    const struct scan_extent *extent = &seen.at;
    bool first = true, empty = true;

    while (v->error == 0 && next_extent(v, scan, &seen)) {
        if (extent->fault == SCAN_OK && looks_again(v, scan)) {
            continue;
        }
        show_progress(v, extent);
        if (extent->fault == SCAN_EMPTY_TAIL) {
            continue;
        }
        empty = false;
        if (is_superseded(v, extent, next)) {
            v->result.superseded_bytes += extent->bytes;
            continue;
        }
        bool checkpoint = extent->fault == SCAN_OK && (extent->header->flags & EXTENT_CHECKPOINT);
        if (first && extent->fault == SCAN_OK && !checkpoint) {
            verify_tell(v, finding_at_extent(v, extent, FINDING_CHECKPOINT_MISSING));
        }
        if (first && verify_counts(extent) && extent->header->seq < v->file->first_seq) {
            verify_tell(v, finding_at_extent(v, extent, FINDING_SEGMENT_WRONG));
        }
        if (first && !checkpoint) {
            v->random_known = false; /* it may have come with another seed */
        }
        first = false;
        if (v->lenient && extent->fault != SCAN_OK) {
            hold_fault(v, &seen);
        } else {
            release_faults(v);
            verify_extent(v, &seen);
        }
    }
    /* A segment gets its name when its first checkpoint is in it. If all that is there is older than
     * the header says, it is the header that is wrong. */
    if (empty && v->file->state == SURVEY_GOOD) {
        verify_tell(v, finding_at_file(v->file, FINDING_CHECKPOINT_MISSING));
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
        struct finding finding = finding_at_file(file, FINDING_SEGMENT_HEADER);
        finding.has_offset = true;
        finding.bytes = FORMAT_ALIGN;
        verify_tell(v, finding);
    }
    if (file->name_number > 0 && file->name_number != file->number) {
        struct finding finding = finding_at_file(file, FINDING_SEGMENT_ORDER);
        finding.first_segment = file->number;
        finding.segment_count = 1;
        verify_tell(v, finding);
    }
    if (before == NULL) {
        begin_stream(v);
    } else if (file->first_seq > v->next_seq && before->number > 0 &&
               file->number > before->number + 1) {
        struct finding finding = finding_at_file(file, FINDING_SEGMENT_MISSING);
        finding.first_segment = before->number + 1;
        finding.segment_count = file->number - before->number - 1;
        verify_tell(v, finding);
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
        struct finding finding = finding_at_file(v->file, FINDING_UNREADABLE);
        finding.error = -rc;
        verify_tell(v, finding);
        v->result.unreadable++;
        return;
    }
    v->lenient = last && survey->running;
    v->looked_again = 0;
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
        struct finding finding = finding_at_file(file, kinds[file->state]);
        finding.error = file->error;
        finding.first_segment = file->number;
        finding.segment_count = file->number > 0 ? 1 : 0;
        bool damaged =
            file->state == SURVEY_NO_SEGMENT && (v->survey->count > 1 || file->has_magic);
        if (damaged) {
            finding.kind = FINDING_SEGMENT_HEADER;
        }
        verify_tell(v, finding);
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
        verify_tell(v, finding);
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
    } else if ((v->last_flags & EXTENT_END) && !survey->whole) {
        v->result.end = VERIFY_GOES_ON;
    } else if (survey->running) {
        v->result.end = VERIFY_RUNNING;
    } else {
        v->result.end = VERIFY_NOT_CLOSED;
        verify_tell(v, finding_at_file(v->file, v->last_flags & EXTENT_END ? FINDING_NOT_CONTINUED
                                                                           : FINDING_NOT_CLOSED));
    }
}

/* Without workers it is slower, not wrong; what one of them alone would read is not worth them. */
static void start_ahead(struct verify *v)
{
    const size_t piece_bytes =
        v->options->piece_bytes > 0 ? v->options->piece_bytes : (size_t)PIECE_BYTES;
    const struct ahead_options options = {
        .workers = v->options->workers, .piece_bytes = piece_bytes, .random = v->options->random};
    if (options.workers == 0 || v->all_bytes <= piece_bytes ||
        ahead_start(&v->ahead, v->survey, &options) < 0) {
        v->ahead = NULL;
    }
}

static void read_stream(struct verify *v)
{
    tell_of_files(v);
    for (size_t i = 0; i < v->survey->readable; i++) {
        v->all_bytes += v->survey->files[i].bytes;
    }
    start_ahead(v);
    for (size_t i = 0; v->error == 0 && i < v->survey->readable; i++) {
        read_segment(v, i);
    }
    tell_missing(v, &v->missing, -1);
    for (int i = 0; i < FORMAT_WRITERS_MAX; i++) {
        tell_missing(v, &v->writers[i].missing, i);
    }
    see_end(v);
    verify_tell_last(v);
    ahead_stop(v->ahead);
}

unsigned verify_workers(void)
{
    cpu_set_t set;
    /* More processors than the set has room for are more than are needed. */
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : WORKERS_MAX;
    return count < 2 ? 0 : count < WORKERS_MAX ? (unsigned)count : (unsigned)WORKERS_MAX;
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
