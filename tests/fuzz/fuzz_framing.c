/* SPDX-License-Identifier: MIT
 *
 * A stream of bytes that somebody else cuts into frames: any bytes, read in pieces of any size, with a limit
 * that changes from block to block. The first byte is the framing, the second the longest block, the third
 * begins the draws of sizes.
 *
 * What comes out, piece by piece, must be what reading the whole stream at once says the frames are: nothing
 * lost, nothing twice, nothing longer than the limit; a wrong count just where it is; and an end.
 */
#include <errno.h>
#include <stdbool.h>

#include "../../src/source/framing.h"
#include "fuzz.h"

struct stream {
    enum source_framing kind;
    const uint8_t *bytes;
    size_t at, size;  /* in the oracle's hands */
    size_t read;      /* in the framing's */
    size_t frame_end; /* of the frame that is coming out; no more than `size` */
    bool in_frame;    /* one is: its count, if it has one, has been read */
    bool promised;    /* and more of it than the stream has */
    bool closed;      /* lines: a newline ends it */
};

static void must(bool right)
{
    if (!right)
        abort();
}

/* The count at bytes[at], and where it ends: 1; 0: the stream ends in it; -1: it is none. */
static int read_count(const struct stream *s, uint64_t *ret, size_t *ret_end)
{
    const size_t digits_max = 11; /* of what is too much */
    const size_t left = s->size - s->at;
    size_t n = 0;
    *ret = 0;
    if (s->kind == FRAMING_U32) {
        for (; n < 4 && n < left; n++)
            *ret += (uint64_t)s->bytes[s->at + n] << 8 * n;
        *ret_end = s->at + n;
        return n < 4 ? 0 : *ret <= FRAMING_FRAME_MAX ? 1 : -1;
    }
    while (n < left && n < digits_max && s->bytes[s->at + n] >= '0' && s->bytes[s->at + n] <= '9')
        *ret = *ret * 10 + s->bytes[s->at + n++] - '0';
    *ret_end = s->at + n + 1;
    if ((n > 0 && s->bytes[s->at] == '0') || *ret > FRAMING_FRAME_MAX)
        return -1;
    if (n == left)
        return 0;
    return n > 0 && s->bytes[s->at + n] == ' ' ? 1 : -1;
}

/* Goes on to the next frame. As read_count; 0: the stream has none any more. */
static int next_frame(struct stream *s)
{
    uint64_t count;
    if (s->at == s->size)
        return 0;
    if (s->kind == FRAMING_LINES) {
        const uint8_t *newline = memchr(s->bytes + s->at, '\n', s->size - s->at);
        s->closed = newline != NULL;
        s->frame_end = newline != NULL ? (size_t)(newline - s->bytes) : s->size;
    } else {
        size_t end;
        const int rc = read_count(s, &count, &end);
        if (rc != 1)
            return rc;
        s->at = end;
        s->promised = count > s->size - end;
        s->frame_end = s->promised ? s->size : end + (size_t)count;
    }
    s->in_frame = true;
    return 1;
}

/* This block came out: it must be the next one. */
static void compare(struct stream *s, const uint8_t *block, const struct block_info *info,
                    size_t limit, bool ended)
{
    if (!s->in_frame)
        must(next_frame(s) == 1);
    const size_t left = s->frame_end - s->at;
    const bool last = info->bytes == left && !s->promised;
    must(info->bytes <= limit && info->bytes <= left);
    must(memcmp(s->bytes + s->at, block, info->bytes) == 0);
    must(((info->flags & BLOCK_CUT) != 0) == !last);
    must(((info->flags & BLOCK_LINE) != 0) == (s->kind == FRAMING_LINES && last && s->closed));
    must(last || info->bytes == limit || ended); /* no smaller piece than it has to be */
    s->at += info->bytes + (info->flags & BLOCK_LINE ? 1 : 0);
    s->in_frame = !last;
    must(s->at <= s->read);
}

/* No block is to be had: is that so, and is not more said to be missing than there is? */
static void compare_none(struct stream *s, const struct framing *framing, int rc, bool ended)
{
    const size_t missing = framing_missing(framing);
    const int next = s->in_frame ? 1 : next_frame(s);
    if (rc == -EBADMSG)
        must(next == -1);
    else if (!ended)
        must(rc == 0 && (next != 1 || s->promised || missing <= s->size - s->read));
    else if (next == 1)
        must(rc == 0 && s->promised && s->at == s->size && missing > 0);
    else
        must(rc == 0 && next == 0 && (s->at == s->size || missing > 0));
}

static void give(struct stream *s, struct framing *framing, size_t bytes)
{
    unsigned char *room;
    const size_t room_bytes = framing_room(framing, &room);
    const size_t left = s->size - s->read;
    must(room_bytes >= FRAMING_ROOM_MIN);
    bytes = bytes < left ? bytes : left;
    bytes = bytes < room_bytes ? bytes : room_bytes;
    memcpy(room, s->bytes + s->read, bytes);
    framing_add(framing, bytes);
    s->read += bytes;
}

static size_t draw(uint32_t *seed, size_t most)
{
    *seed = *seed * 1664525 + 1013904223;
    return 1 + (*seed >> 8) % most;
}

static void run(struct stream *s, size_t max_block, uint32_t seed)
{
    struct framing framing;
    uint8_t *room = malloc(max_block); /* one byte too many is seen */
    if (room == NULL || framing_open(&framing, s->kind, max_block) < 0)
        abort();
    /* Reads of a few bytes, of a few blocks, or of as much as there is room for. */
    const size_t most = seed % 3 == 0 ? 4 : seed % 3 == 1 ? 3 * max_block : 2 * FRAMING_ROOM_MIN;
    for (int rc = 0; rc >= 0;) {
        const bool ended = s->read == s->size;
        /* Each block takes a byte at least, but for an empty frame, which has a count or a newline. */
        for (size_t blocks = 0; rc >= 0; blocks++) {
            struct block_info info, found;
            const size_t limit = draw(&seed, max_block);
            rc = framing_find(&framing, limit, ended, &found);
            must(rc == framing_take(&framing, room, limit, ended, &info));
            must(blocks <= s->size);
            if (rc != 1)
                break;
            must(found.bytes == info.bytes && found.flags == info.flags);
            compare(s, room, &info, limit, ended);
            must(framing_in_pieces(&framing) == s->in_frame);
        }
        compare_none(s, &framing, rc, ended);
        if (ended)
            break;
        if (rc == 0)
            give(s, &framing, draw(&seed, most));
    }
    framing_close(&framing);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const enum source_framing kinds[] = {FRAMING_LINES, FRAMING_OCTET_COUNTED, FRAMING_U32};
    if (bytes < 3)
        return 0;
    struct stream stream = {.kind = kinds[data[0] % 3], .bytes = data + 3, .size = bytes - 3};
    run(&stream, 1 + data[1] % 64, data[2]);
    return 0;
}
