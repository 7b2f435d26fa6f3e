/* SPDX-License-Identifier: MIT
 *
 * raw: an extent as its bare bytes, where they lie.
 */
#include "raw.h"

size_t raw_bytes(const struct extent_header *header)
{
    const unsigned char *data = (const unsigned char *)(header + 1);
    size_t bytes = 0;

    for (size_t position = 0; position < header->used;) {
        const struct block_header *block = (const struct block_header *)(data + position);
        bytes += block->length + (block->flags & BLOCK_LINE ? 1 : 0);
        position += block_bytes(block->length);
    }
    return bytes;
}

/* Adds what is left of `bytes` bytes at `from` behind *skip. Returns the pieces it took, 0 or 1. */
static int add_piece(struct iovec *piece, const void *from, size_t bytes, size_t *skip)
{
    if (*skip >= bytes) {
        *skip -= bytes;
        return 0;
    }
    /* An iovec has no const; nobody writes through it. */
    *piece = (struct iovec){(char *)(uintptr_t)from + *skip, bytes - *skip};
    *skip = 0;
    return 1;
}

int raw_pieces(const struct extent_header *header, size_t skip, struct iovec *pieces, int room)
{
    const unsigned char *data = (const unsigned char *)(header + 1);
    int count = 0;

    for (size_t position = 0; position < header->used && count < room;) {
        const struct block_header *block = (const struct block_header *)(data + position);
        count += add_piece(&pieces[count], block + 1, block->length, &skip);
        if (block->flags & BLOCK_LINE && count < room)
            count += add_piece(&pieces[count], "\n", 1, &skip);
        position += block_bytes(block->length);
    }
    return count;
}
