/* SPDX-License-Identifier: MIT
 *
 * Findings: their names and words from one table, and one line instead of many for what goes on.
 */
#include "verify_state.h"

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

void verify_tell_last(struct verify *v)
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

void verify_tell(struct verify *v, struct finding finding)
{
    if (v->has_last && join(&v->last, &finding)) {
        return;
    }
    verify_tell_last(v);
    v->last = finding;
    v->has_last = true;
    v->result.findings++;
}

struct finding finding_at_file(const struct survey_file *file, enum finding_kind kind)
{
    return (struct finding){.kind = kind, .path = file->path, .writer = -1};
}

struct finding finding_at_extent(const struct verify *v, const struct scan_extent *extent,
                                 enum finding_kind kind)
{
    struct finding finding = finding_at_file(v->file, kind);
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
