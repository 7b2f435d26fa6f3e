/* SPDX-License-Identifier: MIT
 *
 * cat --damaged: what a damaged place still has.
 *
 * Where an extent's header can still be made out, its blocks are walked by their lengths, and given out
 * as far as these make sense. No checksum proves them: a changed byte of data is given out as it is, and
 * if the extent's own header is damaged, so may be the writer and the sequence that it names. Whoever
 * asks for this wants it so, and is told.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cat.h"

/* What still looks like an extent that was written for this place. */
static bool looks_like_extent(const struct extent_header *header, uint64_t offset)
{
    int signs = (header->magic == EXTENT_MAGIC) + (header->version == FORMAT_VERSION) +
                (header->place == offset / FORMAT_ALIGN);
    return signs >= 2 && header->writer < FORMAT_WRITERS_MAX &&
           header->used <= SCAN_PIECE_MAX - sizeof(*header) && !(header->flags & EXTENT_CHECKPOINT);
}

static bool makes_sense(const struct block_header *block)
{
    return (block->flags & ~(uint32_t)(BLOCK_LINE | BLOCK_CUT)) == 0;
}

/* The blocks that begin in `bytes` bytes from the extent's header on. Returns how many were given out,
 * and in *ret_used up to where they reach. */
static uint64_t give_blocks(struct cat *cat, const unsigned char *at, size_t bytes,
                            size_t *ret_used)
{
    const struct extent_header *header = (const struct extent_header *)at;
    struct cat_item item = {
        .writer = header->writer, .number = header->first_block, .unproven = true};
    size_t room = bytes - sizeof(*header), position = 0;
    uint64_t count = 0;
    if (header->used < room) {
        room = header->used;
    }
    *ret_used = 0;
    while (cat->print->error == 0 && count < header->block_count &&
           scan_block(at + sizeof(*header), room, &position, &item.block, &item.data) == 1 &&
           makes_sense(item.block)) {
        cat_put_item(cat, &item);
        item.number++;
        count++;
        *ret_used = position;
    }
    return count;
}

void cat_salvage(struct cat *cat, struct scan *scan, uint64_t offset, uint64_t bytes)
{
    const uint64_t begin = offset, end = offset + bytes;
    uint64_t blocks = 0, given_bytes = 0;
    while (cat->print->error == 0 && offset < end) {
        const unsigned char *at;
        size_t got, used = 0;
        size_t want = end - offset < SCAN_PIECE_MAX ? (size_t)(end - offset) : SCAN_PIECE_MAX;
        int rc = scan_bytes(scan, offset, want, &at, &got);
        if (rc == 0 && got < sizeof(struct extent_header)) {
            break; /* the end of the file */
        }
        if (rc == 0 && looks_like_extent((const struct extent_header *)at, offset)) {
            blocks += give_blocks(cat, at, got, &used);
        }
        given_bytes += used;
        offset += extent_stored_bytes(used);
    }
    fprintf(stderr,
            "dbufctl: %s: offset %" PRIu64 ": %" PRIu64
            " blocks in there are given out unproven, %" PRIu64 " bytes are left out\n",
            cat->path, begin, blocks, bytes - (given_bytes < bytes ? given_bytes : bytes));
}
