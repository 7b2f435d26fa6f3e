/* SPDX-License-Identifier: MIT
 *
 * Happy path: bytes are put behind those that are there, blocks are taken from the front. A count is
 * taken off the stage as soon as it is whole; from then on only `left` says where the frame ends.
 * Failure modes: a wrong count: nothing can be found behind it, so it is said again and again.
 */
#include "framing.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../disk/format.h"

enum { COUNT_DIGITS_MAX = 10, COUNT_BYTES_MAX = COUNT_DIGITS_MAX + 1 };

int framing_open(struct framing *f, enum source_framing kind, size_t max_block)
{
    assert(kind != FRAMING_NONE);
    *f = (struct framing){.kind = kind,
                          .stage_bytes = FRAMING_ROOM_MIN + COUNT_BYTES_MAX + max_block};
    f->stage = malloc(f->stage_bytes);
    return f->stage ? 0 : -ENOMEM;
}

void framing_close(struct framing *f)
{
    free(f->stage);
    *f = (struct framing){0};
}

/* There is nothing left in the stage but the begin of a frame no longer than a block, or of a count:
 * once that is moved to the front, FRAMING_ROOM_MIN are free. */
size_t framing_room(struct framing *f, unsigned char **ret)
{
    if (f->from == f->to || f->stage_bytes - f->to < FRAMING_ROOM_MIN) {
        memmove(f->stage, f->stage + f->from, f->to - f->from);
        f->to -= f->from;
        f->from = 0;
    }
    assert(f->stage_bytes - f->to >= FRAMING_ROOM_MIN);
    *ret = f->stage + f->to;
    return f->stage_bytes - f->to;
}

void framing_add(struct framing *f, size_t bytes)
{
    assert(bytes <= f->stage_bytes - f->to);
    f->to += bytes;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static int find_line(struct framing *f, size_t limit, bool ended, struct block_info *ret)
{
    const size_t staged = f->to - f->from;
    const size_t search_end =
        staged > limit ? limit + 1 : staged; /* a newline may stand behind limit bytes */
    const unsigned char *line = f->stage + f->from;

    if (f->searched < search_end) {
        const unsigned char *newline = memchr(line + f->searched, '\n', search_end - f->searched);
        if (newline) {
            *ret = (struct block_info){.bytes = (size_t)(newline - line), .flags = BLOCK_LINE};
            return 1;
        }
        f->searched = search_end;
    }
    if (staged > limit)
        *ret = (struct block_info){.bytes = limit, .flags = BLOCK_CUT};
    else if (ended && staged > 0)
        *ret = (struct block_info){.bytes = staged};
    else
        return 0;
    return 1;
}

/* ---- Counted frames -------------------------------------------------------------------------- */

/* Looks for a count at `at`: its value and how many bytes it takes; 1, 0 or -EBADMSG. */
static int read_octet_count(const unsigned char *at, size_t bytes, uint32_t *ret, size_t *ret_taken)
{
    uint64_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] == ' ' && i > 0) {
            *ret = (uint32_t)count;
            *ret_taken = i + 1;
            return 1;
        }
        if (at[i] < (i == 0 ? '1' : '0') || at[i] > '9')
            return -EBADMSG;
        count = count * 10 + (uint64_t)(at[i] - '0');
        if (count > FRAMING_FRAME_MAX)
            return -EBADMSG;
    }
    return 0;
}

static int read_u32_count(const unsigned char *at, size_t bytes, uint32_t *ret, size_t *ret_taken)
{
    if (bytes < 4)
        return 0;
    *ret = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    *ret_taken = 4;
    return *ret > FRAMING_FRAME_MAX ? -EBADMSG : 1;
}

static int find_counted(struct framing *f, size_t limit, bool ended, struct block_info *ret)
{
    if (!f->in_frame) {
        size_t taken;
        int rc = (f->kind == FRAMING_U32 ? read_u32_count : read_octet_count)(
            f->stage + f->from, f->to - f->from, &f->left, &taken);
        if (rc != 1)
            return rc;
        f->from += taken;
        f->in_frame = true;
    }
    const size_t staged = f->to - f->from;
    const size_t wanted = f->left < limit ? f->left : limit;
    if (staged >= wanted)
        *ret = (struct block_info){.bytes = wanted, .flags = f->left > limit ? BLOCK_CUT : 0};
    else if (ended && staged > 0)
        *ret = (struct block_info){.bytes = staged, .flags = BLOCK_CUT};
    else
        return 0;
    return 1;
}

/* ---- Either ---------------------------------------------------------------------------------- */

int framing_find(struct framing *f, size_t limit, bool ended, struct block_info *ret)
{
    assert(limit >= 1);
    return (f->kind == FRAMING_LINES ? find_line : find_counted)(f, limit, ended, ret);
}

int framing_take(struct framing *f, void *room, size_t limit, bool ended, struct block_info *ret)
{
    struct block_info info;
    int rc = framing_find(f, limit, ended, &info);
    if (rc != 1)
        return rc;
    memcpy(room, f->stage + f->from, info.bytes);
    f->from += info.bytes + (info.flags & BLOCK_LINE ? 1 : 0);
    f->searched = 0;
    f->in_pieces = (info.flags & BLOCK_CUT) != 0;
    if (f->kind != FRAMING_LINES) {
        f->left -= (uint32_t)info.bytes;
        f->in_frame = f->left > 0;
    }
    *ret = info;
    return 1;
}

bool framing_in_pieces(const struct framing *f)
{
    return f->in_pieces;
}

size_t framing_missing(const struct framing *f)
{
    const size_t staged = f->to - f->from;
    if (f->kind == FRAMING_LINES)
        return 0;
    if (f->in_frame)
        return f->left - staged;
    if (staged == 0)
        return 0;
    return f->kind == FRAMING_U32 ? 4 - staged : 1;
}
