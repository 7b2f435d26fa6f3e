/* SPDX-License-Identifier: MIT
 *
 * What is right and wrong with an extent that lies in memory.
 */
#include <errno.h>
#include <string.h>

#include "crc32c.h"
#include "scan_check.h"

bool scan_all_zero(const unsigned char *data, size_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

int scan_block(const unsigned char *data, size_t used, size_t *position,
               const struct block_header **ret_block, const unsigned char **ret_data)
{
    size_t at = *position;
    if (at == used) {
        return 0;
    }
    if (at > used || used - at < sizeof(struct block_header)) {
        return -EBADMSG;
    }
    const struct block_header *block = (const struct block_header *)(data + at);
    if (block->length > FORMAT_BLOCK_MAX || block_bytes(block->length) > used - at) {
        return -EBADMSG;
    }
    *position = at + block_bytes(block->length);
    *ret_block = block;
    *ret_data = data + at + sizeof(*block);
    return 1;
}

const struct checkpoint *scan_checkpoint(const unsigned char *data, size_t used,
                                         const struct checkpoint_writer **ret_writers)
{
    const struct checkpoint *checkpoint = (const struct checkpoint *)data;
    if (used < sizeof(*checkpoint) || checkpoint->writer_count > FORMAT_WRITERS_MAX ||
        used != sizeof(*checkpoint) + checkpoint->writer_count * sizeof(**ret_writers) ||
        checkpoint->random > 1) {
        return NULL;
    }
    if (checkpoint->random == 1 && (checkpoint->min_block > checkpoint->max_block ||
                                    checkpoint->max_block > FORMAT_BLOCK_MAX)) {
        return NULL;
    }
    *ret_writers = (const struct checkpoint_writer *)(data + sizeof(*checkpoint));
    return checkpoint;
}

static bool blocks_add_up(const struct extent_header *header, const unsigned char *data)
{
    if (header->flags & EXTENT_CHECKPOINT) {
        const struct checkpoint_writer *writers;
        return scan_checkpoint(data, header->used, &writers) != NULL;
    }
    const struct block_header *block;
    const unsigned char *block_data;
    size_t position = 0;
    uint64_t count = 0;
    int rc;
    while ((rc = scan_block(data, header->used, &position, &block, &block_data)) == 1) {
        size_t padding = (8 - block->length % 8) % 8;
        if (!scan_all_zero(block_data + block->length, padding)) {
            return false;
        }
        count++;
    }
    return rc == 0 && count == header->block_count && count > 0;
}

bool scan_fields_are_valid(const struct extent_header *header)
{
    const uint32_t ends = EXTENT_END | EXTENT_CLOSE;
    return header->version == FORMAT_VERSION && header->writer < FORMAT_WRITERS_MAX &&
           header->used <= SCAN_PIECE_MAX - FORMAT_ALIGN &&
           (header->flags & ~(EXTENT_CHECKPOINT | ends)) == 0 &&
           ((header->flags & ends) == 0 || (header->flags & EXTENT_CHECKPOINT));
}

enum scan_fault scan_check(const struct extent_header *header, uint64_t offset,
                           const unsigned char *data, size_t bytes, bool *ret_data_is_whole)
{
    size_t behind_header = bytes - sizeof(*header);
    *ret_data_is_whole =
        header->used <= behind_header && crc32c(0, data, header->used) == header->data_crc;
    if (header->used > behind_header) {
        return SCAN_CUT;
    }
    if (header->place != offset / FORMAT_ALIGN) {
        return SCAN_MISPLACED;
    }
    if (!*ret_data_is_whole) {
        return SCAN_DATA_CHANGED;
    }
    if (!blocks_add_up(header, data)) {
        return SCAN_BAD_BLOCKS;
    }
    if (bytes < extent_stored_bytes(header->used)) {
        return SCAN_CUT;
    }
    if (!scan_all_zero(data + header->used, behind_header - header->used)) {
        return SCAN_PADDING_CHANGED;
    }
    return SCAN_OK;
}
