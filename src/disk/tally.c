/* SPDX-License-Identifier: MIT
 *
 * tally: counts extents, makes checkpoints, completes headers.
 */
#include "tally.h"

#include <string.h>

#include "crc32c.h"

void tally_add(struct tally *tally, const struct extent_header *header, uint64_t data_bytes)
{
    assert(header->writer < FORMAT_WRITERS_MAX);
    struct checkpoint_writer *writer = &tally->writers[header->writer];

    if (header->writer >= tally->writer_count)
        tally->writer_count = header->writer + 1u;
    writer->next_block = header->first_block + header->block_count;
    writer->dropped += header->dropped;
    tally->next_seq++;
    tally->blocks += header->block_count;
    tally->bytes += data_bytes;
    tally->digest = crc32c(tally->digest, &header->data_crc, sizeof(header->data_crc));
}

uint64_t tally_data_bytes(const struct extent_header *header, const unsigned char *data)
{
    uint64_t data_bytes = 0;
    size_t position = 0;
    uint32_t count = 0;

    while (position < header->used) {
        const struct block_header *block = (const struct block_header *)(data + position);
        assert(block->length <= FORMAT_BLOCK_MAX);
        data_bytes += block->length;
        position += block_bytes(block->length);
        count++;
    }
    assert(position == header->used);
    assert(count == header->block_count);
    return data_bytes;
}

static size_t checkpoint_used(const struct tally *tally)
{
    return sizeof(struct checkpoint) + tally->writer_count * sizeof(struct checkpoint_writer);
}

size_t tally_checkpoint_bytes(const struct tally *tally)
{
    return extent_stored_bytes(checkpoint_used(tally));
}

void tally_checkpoint(const struct tally *tally, const struct random_parameters *random,
                      uint32_t flags, uint64_t time_ns, const uint8_t uuid[static 16],
                      uint64_t offset, void *room)
{
    struct extent_header *header = room;
    struct checkpoint *checkpoint = (struct checkpoint *)(header + 1);

    *header = (struct extent_header){
        .flags = EXTENT_CHECKPOINT | flags,
        .used = (uint32_t)checkpoint_used(tally),
        .time_ns = time_ns,
    };
    *checkpoint = (struct checkpoint){
        .writer_count = tally->writer_count,
        .random = random->random,
        .seed = random->seed,
        .min_block = random->min_block,
        .max_block = random->max_block,
        .blocks = tally->blocks,
        .bytes = tally->bytes,
        .digest = tally->digest,
    };
    memcpy(checkpoint + 1, tally->writers, tally->writer_count * sizeof(struct checkpoint_writer));
    extent_complete(header, tally->next_seq, uuid, offset);
}

void tally_restore(struct tally *tally, const struct extent_header *header,
                   const struct checkpoint *checkpoint, const struct checkpoint_writer *writers)
{
    assert(checkpoint->writer_count <= FORMAT_WRITERS_MAX);
    *tally = (struct tally){
        .next_seq = header->seq + 1,
        .blocks = checkpoint->blocks,
        .bytes = checkpoint->bytes,
        .digest = checkpoint->digest,
        .writer_count = checkpoint->writer_count,
    };
    memcpy(tally->writers, writers, checkpoint->writer_count * sizeof(struct checkpoint_writer));
}

void extent_complete(struct extent_header *header, uint64_t seq, const uint8_t uuid[static 16],
                     uint64_t offset)
{
    unsigned char *data = (unsigned char *)(header + 1);
    size_t stored_bytes = extent_stored_bytes(header->used);

    assert(offset % FORMAT_ALIGN == 0 && offset / FORMAT_ALIGN <= UINT32_MAX);
    memset(data + header->used, 0, stored_bytes - sizeof(*header) - header->used);
    header->magic = EXTENT_MAGIC;
    header->version = FORMAT_VERSION;
    header->seq = seq;
    header->place = (uint32_t)(offset / FORMAT_ALIGN);
    if (!(header->flags & EXTENT_CHECKPOINT)) /* its writer is spared this */
        header->time_ns = ((const struct block_header *)(const void *)data)->time_ns;
    header->data_crc = crc32c(0, data, header->used);
    header->header_crc =
        crc32c(crc32c(0, uuid, 16), header, offsetof(struct extent_header, header_crc));
}
