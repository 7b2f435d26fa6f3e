/* SPDX-License-Identifier: MIT
 *
 * Builds valid streams in memory for tests, written from the format's description alone: nothing of
 * the store is used, so that the two check each other.
 */
#ifndef DBUFD_TESTS_BUILD_STREAM_H
#define DBUFD_TESTS_BUILD_STREAM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/disk/crc32c.h"
#include "../../src/disk/format.h"
#include "../../src/source/random.h"

enum { BUILD_SEGMENTS = 8, BUILD_EXTENTS = 256, BUILD_WRITERS = 4, BUILD_BYTES = 4 << 20 };

struct built_extent {
    unsigned segment;
    size_t offset, bytes; /* stored */
    struct extent_header header;
};

struct built_segment {
    unsigned char *bytes; /* BUILD_BYTES of room */
    size_t size;
    uint64_t number;
    char path[256];
};

struct built {
    uint8_t uuid[16];
    uint64_t seed, seq, blocks, data_bytes, time_ns;
    uint32_t min_block, max_block, digest, random;
    uint64_t next_block[BUILD_WRITERS], dropped[BUILD_WRITERS];
    struct built_segment segments[BUILD_SEGMENTS];
    unsigned segment_count;
    struct built_extent extents[BUILD_EXTENTS];
    unsigned extent_count;
};

static inline uint32_t built_header_crc(const struct built *b, const struct extent_header *header)
{
    return crc32c(crc32c(0, b->uuid, sizeof(b->uuid)), header,
                  offsetof(struct extent_header, header_crc));
}

static inline void built_begin(struct built *b, uint64_t seed)
{
    memset(b, 0, sizeof(*b));
    random_block_fill(seed, 0, 0, b->uuid, sizeof(b->uuid));
    b->seed = seed;
    b->min_block = 10;
    b->max_block = 700;
    b->random = 1;
    b->time_ns = 1700000000000000000u;
}

/* Makes the checksums of a segment's header right again, whatever it says. */
static inline void built_seal_header(unsigned char *bytes)
{
    struct segment_header *header = (struct segment_header *)bytes;
    header->crc = crc32c(0, bytes, offsetof(struct segment_header, crc));
}

static inline struct built_segment *built_segment(struct built *b)
{
    struct built_segment *segment = &b->segments[b->segment_count++];
    segment->bytes = calloc(1, BUILD_BYTES);
    segment->number = b->segment_count;
    struct segment_header header = {.magic = SEGMENT_MAGIC,
                                    .version = FORMAT_VERSION,
                                    .align = FORMAT_ALIGN,
                                    .number = segment->number,
                                    .first_seq = b->seq,
                                    .created_ns = b->time_ns};
    memcpy(header.stream_uuid, b->uuid, sizeof(b->uuid));
    memcpy(segment->bytes, &header, sizeof(header));
    built_seal_header(segment->bytes);
    segment->size = FORMAT_ALIGN;
    return segment;
}

/* Completes and adds an extent whose `used` bytes were put behind the room for its header. */
static inline void built_add(struct built *b, struct extent_header header)
{
    struct built_segment *segment = &b->segments[b->segment_count - 1];
    unsigned char *at = segment->bytes + segment->size;
    header.magic = EXTENT_MAGIC;
    header.version = FORMAT_VERSION;
    header.seq = b->seq++;
    header.time_ns = b->time_ns;
    header.place = (uint32_t)(segment->size / FORMAT_ALIGN);
    header.data_crc = crc32c(0, at + sizeof(header), header.used);
    header.header_crc = built_header_crc(b, &header);
    memcpy(at, &header, sizeof(header));
    struct built_extent *extent = &b->extents[b->extent_count++];
    extent->segment = b->segment_count - 1;
    extent->offset = segment->size;
    extent->bytes = extent_stored_bytes(header.used);
    extent->header = header;
    segment->size += extent->bytes;
    if (!(header.flags & EXTENT_CHECKPOINT)) {
        b->digest = crc32c(b->digest, &header.data_crc, sizeof(header.data_crc));
    }
}

static inline void built_blocks(struct built *b, unsigned writer, unsigned count, uint32_t dropped)
{
    struct built_segment *segment = &b->segments[b->segment_count - 1];
    unsigned char *data = segment->bytes + segment->size + sizeof(struct extent_header);
    struct extent_header header = {.writer = (uint16_t)writer,
                                   .first_block = b->next_block[writer],
                                   .block_count = count,
                                   .dropped = dropped};
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = b->next_block[writer]++;
        size_t length = random_block_bytes(b->seed, writer, number, b->min_block, b->max_block);
        struct block_header block = {.length = (uint32_t)length, .time_ns = b->time_ns++};
        memcpy(data + header.used, &block, sizeof(block));
        random_block_fill(b->seed, writer, number, data + header.used + sizeof(block), length);
        header.used += (uint32_t)block_bytes(length);
        b->blocks++;
        b->data_bytes += length;
    }
    b->dropped[writer] += dropped;
    built_add(b, header);
}

static inline void built_checkpoint(struct built *b, uint32_t flags)
{
    struct built_segment *segment = &b->segments[b->segment_count - 1];
    unsigned char *data = segment->bytes + segment->size + sizeof(struct extent_header);
    struct checkpoint checkpoint = {.writer_count = BUILD_WRITERS,
                                    .random = b->random,
                                    .seed = b->seed,
                                    .min_block = b->min_block,
                                    .max_block = b->max_block,
                                    .blocks = b->blocks,
                                    .bytes = b->data_bytes,
                                    .digest = b->digest};
    memcpy(data, &checkpoint, sizeof(checkpoint));
    for (unsigned w = 0; w < BUILD_WRITERS; w++) {
        struct checkpoint_writer entry = {b->next_block[w], b->dropped[w]};
        memcpy(data + sizeof(checkpoint) + w * sizeof(entry), &entry, sizeof(entry));
    }
    built_add(b, (struct extent_header){
                     .flags = EXTENT_CHECKPOINT | flags,
                     .used = (uint32_t)(sizeof(checkpoint) +
                                        BUILD_WRITERS * sizeof(struct checkpoint_writer))});
}

/* A stream of `segments` closed segments with so many extents of blocks in each. */
static inline void built_stream(struct built *b, uint64_t seed, unsigned segments, unsigned extents,
                                unsigned blocks)
{
    built_begin(b, seed);
    for (unsigned s = 0; s < segments; s++) {
        built_segment(b);
        built_checkpoint(b, 0);
        for (unsigned e = 0; e < extents; e++) {
            built_blocks(b, (s + e) % BUILD_WRITERS, blocks, e == 1 ? 3 : 0);
        }
        built_checkpoint(b, s + 1 < segments ? EXTENT_END : EXTENT_CLOSE);
    }
}

static inline void built_write_file(const char *path, const void *bytes, size_t size)
{
    unlink(path); /* truncating a file that has content makes some file systems flush it */
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        abort();
    }
}

/* Writes the segments as DIR/s.000001.dbuf and so on. */
static inline void built_write(struct built *b, const char *dir)
{
    for (unsigned s = 0; s < b->segment_count; s++) {
        struct built_segment *segment = &b->segments[s];
        snprintf(segment->path, sizeof(segment->path), "%s/s.%06llu.dbuf", dir,
                 (unsigned long long)segment->number);
        built_write_file(segment->path, segment->bytes, segment->size);
    }
}

static inline void built_free(struct built *b)
{
    for (unsigned s = 0; s < b->segment_count; s++) {
        free(b->segments[s].bytes);
    }
}

#endif
