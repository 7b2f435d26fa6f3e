/* SPDX-License-Identifier: MIT
 *
 * A stream on disk, and seeded changes of it.
 *
 * Some are lies: a field of a header is another number, and the checksums are right.
 */
#ifndef DBUFD_TESTS_MUTATIONS_H
#define DBUFD_TESTS_MUTATIONS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build_stream.h"

enum { SEGMENTS = 3, EXTENTS = 6 };

struct file {
    unsigned char *bytes; /* twice BUILD_BYTES of room */
    size_t size;
};

struct place {
    struct built built, foreign;
    char dir[64], stream[128];
    struct file files[SEGMENTS]; /* as they are to be written */
    bool extra;                  /* a file more than there should be */
    uint64_t dice[16];
    unsigned next_die;
};

static inline uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* From 0 to below `most`. */
static inline size_t roll(struct place *place, size_t most)
{
    return most == 0 ? 0 : (size_t)(place->dice[place->next_die++ % 16] % most);
}

/* ---- The changes -------------------------------------------------------------------------------
 */

static inline struct file *any_file(struct place *place)
{
    return &place->files[roll(place, SEGMENTS)];
}

static inline struct built_extent *any_extent(struct place *place)
{
    return &place->built.extents[roll(place, place->built.extent_count)];
}

static inline void flip_bits(struct place *place)
{
    struct file *file = any_file(place);
    for (size_t i = roll(place, 4) + 1; i > 0; i--) {
        file->bytes[roll(place, file->size)] ^= (unsigned char)(1u << roll(place, 8));
    }
}

static inline void fill_bytes(struct place *place)
{
    struct file *file = any_file(place);
    size_t at = roll(place, file->size), count = roll(place, 1 + roll(place, file->size - at));
    if (roll(place, 2) == 0) {
        memset(file->bytes + at, 0, count);
    } else {
        random_block_fill(place->dice[0], 1, 1, file->bytes + at, count);
    }
}

/* Pages over others, of the same file or of another one. */
static inline void copy_pages(struct place *place)
{
    struct file *to = any_file(place);
    const struct built_segment *from = &place->built.segments[roll(place, SEGMENTS)];
    size_t a = roll(place, to->size / FORMAT_ALIGN), b = roll(place, from->size / FORMAT_ALIGN);
    size_t count = (1 + roll(place, 4)) * FORMAT_ALIGN;
    if (count > to->size - a * FORMAT_ALIGN) {
        count = to->size - a * FORMAT_ALIGN;
    }
    if (count > from->size - b * FORMAT_ALIGN) {
        count = from->size - b * FORMAT_ALIGN;
    }
    memcpy(to->bytes + a * FORMAT_ALIGN, from->bytes + b * FORMAT_ALIGN, count);
}

static inline void zero_extent(struct place *place)
{
    const struct built_extent *extent = any_extent(place);
    memset(place->files[extent->segment].bytes + extent->offset, 0, extent->bytes);
}

static inline void remove_extent(struct place *place)
{
    const struct built_extent *extent = any_extent(place);
    struct file *file = &place->files[extent->segment];
    file->size -= extent->bytes;
    memmove(file->bytes + extent->offset, file->bytes + extent->offset + extent->bytes,
            file->size - extent->offset);
}

/* The extent once more, at some place where one begins; with `sign` as if it had been written there. */
static inline void double_extent(struct place *place, bool sign)
{
    const struct built_extent *extent = any_extent(place), *to = any_extent(place);
    struct file *file = &place->files[to->segment];
    const unsigned char *original = place->built.segments[extent->segment].bytes + extent->offset;
    memmove(file->bytes + to->offset + extent->bytes, file->bytes + to->offset,
            file->size - to->offset);
    memcpy(file->bytes + to->offset, original, extent->bytes);
    file->size += extent->bytes;
    if (sign) {
        struct extent_header *header = (struct extent_header *)(file->bytes + to->offset);
        header->place = (uint32_t)(to->offset / FORMAT_ALIGN);
        header->header_crc = built_header_crc(&place->built, header);
    }
}

static inline void double_it(struct place *place)
{
    double_extent(place, false);
}

static inline void double_signed(struct place *place)
{
    double_extent(place, true);
}

/* Two extents of one size in each other's place, with `sign` as if they had been written so. */
static inline void swap_extents(struct place *place)
{
    const struct built_extent *a = any_extent(place), *b = any_extent(place);
    const bool sign = roll(place, 2) == 0;
    if (a->bytes != b->bytes) {
        return;
    }
    const struct built_extent *pair[2][2] = {{a, b}, {b, a}};
    for (int i = 0; i < 2; i++) {
        const struct built_extent *from = pair[i][0], *to = pair[i][1];
        unsigned char *at = place->files[to->segment].bytes + to->offset;
        memcpy(at, place->built.segments[from->segment].bytes + from->offset, from->bytes);
        struct extent_header *header = (struct extent_header *)at;
        if (sign) {
            header->place = (uint32_t)(to->offset / FORMAT_ALIGN);
            header->header_crc = built_header_crc(&place->built, header);
        }
    }
}

static inline void cut_file(struct place *place)
{
    struct file *file = any_file(place);
    file->size = roll(place, file->size);
}

static inline void join_files(struct place *place)
{
    struct file *file = any_file(place);
    const struct built_segment *other = &place->built.segments[roll(place, SEGMENTS)];
    memcpy(file->bytes + file->size, other->bytes, other->size);
    file->size += other->size;
}

static inline void swap_files(struct place *place)
{
    size_t a = roll(place, SEGMENTS), b = roll(place, SEGMENTS);
    struct file kept = place->files[a];
    place->files[a] = place->files[b];
    place->files[b] = kept;
}

static inline void put_foreign(struct place *place)
{
    size_t index = roll(place, SEGMENTS);
    const struct built_segment *other = &place->foreign.segments[index];
    memcpy(place->files[index].bytes, other->bytes, other->size);
    place->files[index].size = other->size;
}

/* A file more: a second copy of a segment, or one of another stream. */
static inline void add_file(struct place *place)
{
    const struct built *from = roll(place, 2) == 0 ? &place->built : &place->foreign;
    const struct built_segment *segment = &from->segments[roll(place, SEGMENTS)];
    char path[128];
    snprintf(path, sizeof(path), "%s/s.%06u.dbuf", place->dir, SEGMENTS + 1);
    built_write_file(path, segment->bytes, segment->size);
    place->extra = true;
}

/* A number that could have stood there. */
static inline uint64_t lie_about(struct place *place, uint64_t truth)
{
    switch (roll(place, 4)) {
    case 0:
        return truth + 1;
    case 1:
        return truth == 0 ? 1 : truth - 1;
    case 2:
        return truth ^ (1u << roll(place, 8));
    default:
        return roll(place, 40);
    }
}

static inline void lie_in_extent(struct place *place)
{
    const struct built_extent *extent = any_extent(place);
    struct extent_header *header =
        (struct extent_header *)(place->files[extent->segment].bytes + extent->offset);
    const bool checkpoint = header->flags & EXTENT_CHECKPOINT;
    switch (roll(place, checkpoint ? 4 : 9)) {
    case 0:
        header->seq = lie_about(place, header->seq);
        break;
    case 1:
        header->place = (uint32_t)lie_about(place, header->place);
        break;
    case 2:
        header->used = (uint32_t)lie_about(place, header->used);
        break;
    case 3:
        header->flags ^= EXTENT_CHECKPOINT;
        break;
    case 4:
        header->first_block = lie_about(place, header->first_block);
        break;
    case 5:
        header->block_count = (uint32_t)lie_about(place, header->block_count);
        break;
    case 6:
        header->writer = (uint16_t)lie_about(place, header->writer);
        break;
    case 7:
        header->dropped = (uint32_t)lie_about(place, header->dropped);
        break;
    default:
        header->data_crc = (uint32_t)lie_about(place, header->data_crc);
    }
    header->header_crc = built_header_crc(&place->built, header);
}

static inline void lie_in_checkpoint(struct place *place)
{
    const struct built_extent *extent = any_extent(place);
    struct extent_header *header =
        (struct extent_header *)(place->files[extent->segment].bytes + extent->offset);
    struct checkpoint *stated = (struct checkpoint *)(header + 1);
    struct checkpoint_writer *writer =
        (struct checkpoint_writer *)(stated + 1) + roll(place, BUILD_WRITERS);
    if (!(header->flags & EXTENT_CHECKPOINT)) {
        return;
    }
    switch (roll(place, 5)) {
    case 0:
        stated->blocks = lie_about(place, stated->blocks);
        break;
    case 1:
        stated->bytes = lie_about(place, stated->bytes);
        break;
    case 2:
        stated->digest = (uint32_t)lie_about(place, stated->digest);
        break;
    case 3:
        writer->next_block = lie_about(place, writer->next_block);
        break;
    default:
        writer->dropped = lie_about(place, writer->dropped);
    }
    header->data_crc = crc32c(0, stated, header->used);
    header->header_crc = built_header_crc(&place->built, header);
}

static inline void lie_in_segment(struct place *place)
{
    struct file *file = any_file(place);
    struct segment_header *header = (struct segment_header *)file->bytes;
    switch (roll(place, 4)) {
    case 0:
        header->number = lie_about(place, header->number);
        break;
    case 1:
        header->first_seq = lie_about(place, header->first_seq);
        break;
    case 2:
        header->stream_uuid[roll(place, 16)] ^= 1;
        break;
    default:
        header->version = (uint32_t)lie_about(place, header->version);
    }
    built_seal_header(file->bytes);
}

/* A block's data or length is another one, and the checksum right: only the source itself knows. */
static inline void lie_in_block(struct place *place)
{
    const struct built_extent *extent = any_extent(place);
    struct extent_header *header =
        (struct extent_header *)(place->files[extent->segment].bytes + extent->offset);
    struct block_header *block = (struct block_header *)(header + 1);
    if (header->flags & EXTENT_CHECKPOINT) {
        return;
    }
    if (roll(place, 2) == 0) {
        ((unsigned char *)(block + 1))[roll(place, block->length)] ^= 4;
    } else {
        block->length = (uint32_t)lie_about(place, block->length);
    }
    header->data_crc = crc32c(0, header + 1, header->used);
    header->header_crc = built_header_crc(&place->built, header);
}

static void (*const changes[])(struct place *place) = {
    flip_bits,     fill_bytes,    copy_pages,    zero_extent,       remove_extent,  double_it,
    double_signed, swap_extents,  cut_file,      join_files,        swap_files,     put_foreign,
    add_file,      lie_in_extent, lie_in_extent, lie_in_checkpoint, lie_in_segment, lie_in_block};

static inline void restore(struct place *place)
{
    char path[128];
    for (unsigned s = 0; s < SEGMENTS; s++) {
        const struct built_segment *segment = &place->built.segments[s];
        memcpy(place->files[s].bytes, segment->bytes, segment->size);
        place->files[s].size = segment->size;
    }
    snprintf(path, sizeof(path), "%s/s.%06u.dbuf", place->dir, SEGMENTS + 1);
    unlink(path);
    place->extra = false;
}

/* Writes what differs from what is there. Whether anything is not as it was made. */
static inline bool write_files(struct place *place)
{
    bool changed = place->extra;
    for (unsigned s = 0; s < SEGMENTS; s++) {
        const struct built_segment *segment = &place->built.segments[s];
        const struct file *file = &place->files[s];
        if (file->size != segment->size || memcmp(file->bytes, segment->bytes, file->size) != 0) {
            changed = true;
            built_write_file(segment->path, file->bytes, file->size);
        }
    }
    return changed;
}

/* ---- The place ---------------------------------------------------------------------------------
 */

/* The stream, with so many blocks in an extent, and one that it is not. */
static inline void begin(struct place *place, unsigned blocks)
{
    snprintf(place->dir, sizeof(place->dir), "%s/dbufd-mutations.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->stream, sizeof(place->stream), "%s/s.dbuf", place->dir);
    built_stream(&place->built, 11, SEGMENTS, EXTENTS, blocks);
    built_stream(&place->foreign, 12, SEGMENTS, EXTENTS, blocks);
    built_write(&place->built, place->dir);
    for (unsigned s = 0; s < SEGMENTS; s++) {
        place->files[s].bytes = malloc(2 * BUILD_BYTES);
        assert_non_null(place->files[s].bytes);
    }
}

static inline void end(struct place *place)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", place->dir);
    assert_int_equal(system(command), 0);
    for (unsigned s = 0; s < SEGMENTS; s++) {
        free(place->files[s].bytes);
    }
    built_free(&place->built);
    built_free(&place->foreign);
    free(place);
}

/* Another change for each seed; write_files puts it on disk. Returns its kind. */
static inline size_t make_change(struct place *place, uint64_t seed)
{
    random_block_fill(seed, 0, 0, place->dice, sizeof(place->dice));
    place->next_die = 0;
    restore(place);
    const size_t which = roll(place, sizeof(changes) / sizeof(changes[0]));
    changes[which](place);
    return which;
}

#endif
