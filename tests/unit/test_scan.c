/* SPDX-License-Identifier: MIT
 *
 * scan: everything a segment can hold, and everything it should not.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "../../src/disk/scan.h"
#include "build_stream.h"

/* Stands before the C library's: bytes that the disk cannot read. */
static off_t bad_from, bad_to;

ssize_t pread(int fd, void *room, size_t bytes, off_t offset)
{
    if (offset >= bad_from && offset < bad_to) {
        errno = EIO;
        return -1;
    }
    if (offset < bad_from && offset + (off_t)bytes > bad_from && bad_from < bad_to) {
        bytes = (size_t)(bad_from - offset);
    }
    return syscall(SYS_pread64, fd, room, bytes, offset);
}

struct place {
    struct built built;
    char dir[64];
    char path[128];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    snprintf(place->dir, sizeof(place->dir), "/tmp/dbufd-scan.XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof(place->path), "%s/segment", place->dir);
    built_stream(&place->built, 7, 1, 6, 20);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    unlink(place->path);
    rmdir(place->dir);
    built_free(&place->built);
    free(place);
    return 0;
}

static struct built_segment *first(struct place *place)
{
    return &place->built.segments[0];
}

static struct scan *open_built(struct place *place)
{
    struct scan *scan = NULL;
    built_write_file(place->path, first(place)->bytes, first(place)->size);
    assert_int_equal(scan_open(&scan, place->path), 0);
    return scan;
}

/* Writes the segment and expects these faults, in this order, and then the end. */
static void expect(struct place *place, const enum scan_fault *faults, size_t count)
{
    struct scan *scan = open_built(place);
    struct scan_extent extent;
    uint64_t end = FORMAT_ALIGN;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(scan_next(scan, &extent), 1);
        if (extent.fault != faults[i]) {
            print_message("place %zu, offset %llu\n", i, (unsigned long long)extent.offset);
        }
        assert_int_equal(extent.fault, faults[i]);
        assert_int_equal(extent.offset, end); /* every byte belongs to one answer */
        assert_true(extent.bytes > 0);
        end += extent.bytes;
    }
    assert_int_equal(scan_next(scan, &extent), 0);
    assert_int_equal(end, scan_file_bytes(scan));
    scan_close(scan);
}
#define EXPECT(place, ...)                                                                         \
    do {                                                                                           \
        const enum scan_fault faults[] = {__VA_ARGS__};                                            \
        expect(place, faults, sizeof(faults) / sizeof(faults[0]));                                 \
    } while (0)

static unsigned char *extent_at(struct place *place, unsigned index)
{
    return first(place)->bytes + place->built.extents[index].offset;
}

/* Changes a header's field and makes its CRC right again. */
#define LIE(place, index, field, value)                                                            \
    do {                                                                                           \
        struct extent_header *lie = (struct extent_header *)extent_at(place, index);               \
        lie->field = (value);                                                                      \
        lie->header_crc = built_header_crc(&(place)->built, lie);                                  \
    } while (0)

static void whole_segment_comes_back(void **state)
{
    struct place *place = *state;
    struct scan *scan = open_built(place);
    struct scan_extent extent;
    assert_int_equal(scan_header(scan)->number, 1);
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        const struct built_extent *built = &place->built.extents[i];
        assert_int_equal(scan_next(scan, &extent), 1);
        assert_int_equal(extent.fault, SCAN_OK);
        assert_int_equal(extent.offset, built->offset);
        assert_int_equal(extent.bytes, built->bytes);
        assert_memory_equal(extent.header, &built->header, sizeof(built->header));
        assert_memory_equal(extent.data, extent_at(place, i) + sizeof(built->header),
                            built->header.used);
    }
    assert_int_equal(scan_next(scan, &extent), 0);
    assert_int_equal(scan_next(scan, &extent), 0);
    scan_close(scan);
}

static void find_begins_anywhere(void **state)
{
    struct place *place = *state;
    const struct built_extent *extents = place->built.extents;
    struct scan_extent extent;
    extent_at(place, 3)[100] ^= 1; /* in its blocks: it is whole no more */
    struct scan *scan = open_built(place);
    scan_seek(scan, extents[1].offset + FORMAT_ALIGN);
    assert_int_equal(scan_find(scan, extents[5].offset, &extent), 1);
    assert_int_equal(extent.offset, extents[2].offset);
    assert_int_equal(scan_find(scan, extents[5].offset, &extent), 1);
    assert_int_equal(extent.offset, extents[4].offset);
    assert_int_equal(extent.fault, SCAN_OK);
    assert_memory_equal(extent.data, extent_at(place, 4) + sizeof(struct extent_header),
                        extent.header->used);
    assert_int_equal(scan_find(scan, extents[5].offset, &extent), 0); /* it begins at the end */
    assert_int_equal(scan_find(scan, extents[5].offset + 1, &extent), 1);
    assert_int_equal(extent.offset, extents[5].offset);
    scan_close(scan);
}

static void skim_sees_the_same_headers(void **state)
{
    struct place *place = *state;
    struct scan *scan = open_built(place);
    struct scan_extent extent;
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        assert_int_equal(scan_skim(scan, &extent), 1);
        assert_int_equal(extent.fault, SCAN_OK);
        assert_null(extent.data);
        assert_int_equal(extent.header->seq, i);
    }
    assert_int_equal(scan_skim(scan, &extent), 0);
    scan_seek(scan, place->built.extents[3].offset);
    assert_int_equal(scan_next(scan, &extent), 1);
    assert_int_equal(extent.header->seq, 3);
    scan_close(scan);
}

static void headers_that_are_refused(void **state)
{
    struct place *place = *state;
    struct scan *scan = NULL;
    struct segment_header *header = (struct segment_header *)first(place)->bytes;

    assert_int_equal(scan_open(&scan, place->path), -ENOENT);
    assert_int_equal(scan_open(&scan, place->dir), -EISDIR);
    assert_int_equal(scan_open(&scan, "/dev/null"), -EBADMSG);
    built_write_file(place->path, "", 0);
    assert_int_equal(scan_open(&scan, place->path), -ENODATA);
    built_write_file(place->path, header, 4095);
    assert_int_equal(scan_open(&scan, place->path), -EBADMSG);
    header->version = 2;
    built_write_file(place->path, header, 4096);
    assert_int_equal(scan_open(&scan, place->path), -EBADMSG); /* the CRC is wrong */
    built_seal_header(first(place)->bytes);
    built_write_file(place->path, header, 4096);
    assert_int_equal(scan_open(&scan, place->path), -ENOTSUP);
    assert_null(scan);
}

static void damaged_segment_header_is_got_around(void **state)
{
    struct place *place = *state;
    struct scan *scan = NULL;
    struct scan_extent extent;
    const uint8_t other[16] = {1};
    first(place)->bytes[100] ^= 1;
    built_write_file(place->path, first(place)->bytes, first(place)->size);
    assert_int_equal(scan_open(&scan, place->path), -EBADMSG);
    assert_int_equal(scan_open_damaged(&scan, place->path, other), -EBADMSG);
    assert_null(scan);
    assert_int_equal(scan_open_damaged(&scan, place->path, NULL), 0);
    assert_int_equal(scan_next(scan, &extent), 1);
    assert_int_equal(extent.fault, SCAN_OK);
    scan_close(scan);
    first(place)->bytes[20] ^= 1; /* in the UUID */
    built_write_file(place->path, first(place)->bytes, first(place)->size);
    assert_int_equal(scan_open_damaged(&scan, place->path, NULL), -EBADMSG);
    assert_int_equal(scan_open_damaged(&scan, place->path, place->built.uuid), 0);
    scan_close(scan);
}

static void changed_header_is_skipped(void **state)
{
    struct place *place = *state;
    extent_at(place, 2)[40] ^= 1;
    EXPECT(place, SCAN_OK, SCAN_OK, SCAN_HEADER_CHANGED, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK,
           SCAN_OK);
}

static void changed_data_and_padding(void **state)
{
    struct place *place = *state;
    struct extent_header *header = (struct extent_header *)extent_at(place, 1);
    extent_at(place, 1)[100] ^= 0x80;
    extent_at(place, 3)[sizeof(*header) + place->built.extents[3].header.used] = 1;
    EXPECT(place, SCAN_OK, SCAN_DATA_CHANGED, SCAN_OK, SCAN_PADDING_CHANGED, SCAN_OK, SCAN_OK,
           SCAN_OK, SCAN_OK);
}

static void lengths_that_lie(void **state)
{
    struct place *place = *state;
    LIE(place, 1, used, UINT32_MAX);
    LIE(place, 2, used, 1 << 20); /* over the end of the file, and over valid extents */
    LIE(place, 3, block_count, 21);
    LIE(place, 4, version, 2);
    LIE(place, 5, writer, FORMAT_WRITERS_MAX);
    LIE(place, 6, flags, EXTENT_END);
    LIE(place, 7, used, 8);
    EXPECT(place, SCAN_OK, SCAN_BAD_BLOCKS, SCAN_CUT, SCAN_BAD_BLOCKS, SCAN_BAD_BLOCKS,
           SCAN_BAD_BLOCKS, SCAN_BAD_BLOCKS, SCAN_DATA_CHANGED);
}

static void block_lengths_that_lie(void **state)
{
    struct place *place = *state;
    const uint32_t lies[] = {0, 1, 9000, FORMAT_BLOCK_MAX, UINT32_MAX, UINT32_MAX - 7};
    struct block_header *block =
        (struct block_header *)(extent_at(place, 2) + sizeof(struct extent_header));
    const unsigned char *data = (const unsigned char *)block;
    uint32_t used = place->built.extents[2].header.used;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        block->length = lies[i];
        LIE(place, 2, data_crc, crc32c(0, data, used));
        EXPECT(place, SCAN_OK, SCAN_OK, SCAN_BAD_BLOCKS, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK,
               SCAN_OK);
    }
}

static void block_padding_that_is_not_zero(void **state)
{
    struct place *place = *state;
    unsigned char *data = extent_at(place, 2) + sizeof(struct extent_header);
    const unsigned char *block_data;
    const struct block_header *block;
    size_t position = 0;
    do {
        assert_int_equal(
            scan_block(data, place->built.extents[2].header.used, &position, &block, &block_data),
            1);
    } while (block->length % 8 == 0);
    data[position - 1] = 1;
    LIE(place, 2, data_crc, crc32c(0, data, place->built.extents[2].header.used));
    EXPECT(place, SCAN_OK, SCAN_OK, SCAN_BAD_BLOCKS, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK);
}

static void swapped_extents_are_misplaced(void **state)
{
    struct place *place = *state;
    const struct built_extent *a = &place->built.extents[1], *b = &place->built.extents[2];
    unsigned char *both = malloc(a->bytes + b->bytes);
    memcpy(both, extent_at(place, 2), b->bytes);
    memcpy(both + b->bytes, extent_at(place, 1), a->bytes);
    memcpy(extent_at(place, 1), both, a->bytes + b->bytes);
    free(both);
    EXPECT(place, SCAN_OK, SCAN_MISPLACED, SCAN_MISPLACED, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK,
           SCAN_OK);
}

static void zeroed_extent_in_the_middle(void **state)
{
    struct place *place = *state;
    memset(extent_at(place, 2), 0, place->built.extents[2].bytes);
    EXPECT(place, SCAN_OK, SCAN_OK, SCAN_NO_EXTENT, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK);
}

static void zeros_behind_are_an_empty_tail(void **state)
{
    struct place *place = *state;
    first(place)->size = 3 << 20;
    EXPECT(place, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK,
           SCAN_EMPTY_TAIL);
    struct scan *scan = open_built(place);
    int fd = open(place->path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0); /* a hole, which must not be read */
    close(fd);
    scan_close(scan);
    assert_int_equal(scan_open(&scan, place->path), 0);
    struct scan_extent extent;
    while (scan_next(scan, &extent) == 1 && extent.fault == SCAN_OK) {
    }
    assert_int_equal(extent.fault, SCAN_EMPTY_TAIL);
    assert_int_equal(extent.offset + extent.bytes, (uint64_t)1 << 40);
    scan_close(scan);
}

static void rubbish_behind_is_damage_up_to_its_end(void **state)
{
    struct place *place = *state;
    size_t end = first(place)->size;
    first(place)->bytes[end + 8192] = 1;
    first(place)->size = 1 << 20;
    EXPECT(place, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK, SCAN_OK,
           SCAN_NO_EXTENT, SCAN_EMPTY_TAIL);
}

/* The file of an older segment, overwritten from its beginning. */
static void older_extents_behind_are_an_empty_tail(void **state)
{
    struct place *place = *state;
    struct built newer;
    built_begin(&newer, 7);
    newer.seq = place->built.seq;
    built_segment(&newer);
    built_checkpoint(&newer, 0);
    built_blocks(&newer, 1, 9, 0); /* ends within an older extent */
    memcpy(first(place)->bytes, newer.segments[0].bytes, newer.segments[0].size);
    EXPECT(place, SCAN_OK, SCAN_OK, SCAN_EMPTY_TAIL);
    /* The same with an older extent right behind. */
    size_t end = place->built.extents[1].offset;
    assert_int_equal(end, newer.extents[1].offset);
    memcpy(first(place)->bytes, newer.segments[0].bytes, end);
    memcpy(first(place)->bytes + end,
           place->built.segments[0].bytes + place->built.extents[3].offset,
           place->built.extents[3].bytes);
    struct extent_header *older = (struct extent_header *)(first(place)->bytes + end);
    older->place = (uint32_t)(end / FORMAT_ALIGN);
    older->header_crc = built_header_crc(&place->built, older);
    EXPECT(place, SCAN_OK, SCAN_EMPTY_TAIL);
    built_free(&newer);
}

/* Cut anywhere: no answer but whole extents before, and never a byte beyond. */
static void cut_anywhere(void **state)
{
    struct place *place = *state;
    size_t size = first(place)->size;
    for (size_t cut = FORMAT_ALIGN; cut < size; cut += 8) {
        first(place)->size = cut;
        struct scan *scan = open_built(place);
        struct scan_extent extent;
        unsigned good = 0;
        uint64_t end = FORMAT_ALIGN;
        while (scan_next(scan, &extent) == 1) {
            assert_int_equal(extent.offset, end);
            end += extent.bytes;
            if (extent.fault == SCAN_OK) {
                good++;
            } else {
                assert_true(extent.fault == SCAN_CUT);
                assert_true(cut - extent.offset < place->built.extents[good].bytes);
            }
        }
        assert_int_equal(end, cut);
        assert_true(good < place->built.extent_count);
        assert_int_equal(place->built.extents[good].offset + place->built.extents[good].bytes > cut,
                         1);
        scan_close(scan);
    }
}

/* Large extents, over the borders of what is read at a time. */
static void large_extents(void **state)
{
    struct place *place = *state;
    struct built built;
    built_begin(&built, 3);
    built.min_block = built.max_block = 1000000;
    built_segment(&built);
    built_blocks(&built, 0, 2, 0);
    built_blocks(&built, 1, 1, 0);
    struct built_segment small = *first(place);
    *first(place) = built.segments[0];
    EXPECT(place, SCAN_OK, SCAN_OK);
    first(place)->bytes[FORMAT_ALIGN + 1500000] ^= 4;
    EXPECT(place, SCAN_DATA_CHANGED, SCAN_OK);
    first(place)->bytes[FORMAT_ALIGN] ^= 4;
    EXPECT(place, SCAN_HEADER_CHANGED, SCAN_OK);
    *first(place) = small;
    built_free(&built);
}

/* A page that cannot be read costs the extent that it is in, and no other. */
static void unreadable_pages(void **state)
{
    struct place *place = *state;
    const struct built_extent *extents = place->built.extents;
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        enum scan_fault faults[8];
        for (unsigned k = 0; k < 8; k++) {
            faults[k] = k == i ? SCAN_IO_ERROR : SCAN_OK;
        }
        bad_from = (off_t)(extents[i].offset + extents[i].bytes - FORMAT_ALIGN);
        bad_to = bad_from + 512;
        expect(place, faults, 8);
        bad_from = (off_t)extents[i].offset;
        expect(place, faults, 8);
    }
    bad_from = 0;
    bad_to = 512;
    struct scan *scan = NULL;
    assert_int_equal(scan_open(&scan, place->path), -EIO);
    bad_to = 0;
}

/* Rubbish in every shape: no crash, every byte in one answer. */
static void random_damage(void **state)
{
    struct place *place = *state;
    unsigned char *whole = malloc(first(place)->size);
    size_t size = first(place)->size;
    memcpy(whole, first(place)->bytes, size);
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t dice[64];
        random_block_fill(seed, 0, 0, dice, sizeof(dice));
        memcpy(first(place)->bytes, whole, size);
        for (unsigned i = 0; i < 1 + dice[0] % 20; i++) {
            size_t at = FORMAT_ALIGN + dice[1 + i] % (size - FORMAT_ALIGN);
            size_t bytes = dice[21 + i] % 3 == 0 ? dice[41 + i] % 9000 : 1 + dice[41 + i] % 8;
            bytes = bytes < size - at ? bytes : size - at;
            random_block_fill(seed, i, 1, first(place)->bytes + at, bytes);
        }
        struct scan *scan = open_built(place);
        struct scan_extent extent;
        uint64_t end = FORMAT_ALIGN;
        while (scan_next(scan, &extent) == 1) {
            assert_int_equal(extent.offset, end);
            assert_true(extent.bytes > 0);
            end += extent.bytes;
        }
        assert_int_equal(end, size);
        scan_close(scan);
    }
    free(whole);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(whole_segment_comes_back),
        TEST(find_begins_anywhere),
        TEST(skim_sees_the_same_headers),
        TEST(headers_that_are_refused),
        TEST(damaged_segment_header_is_got_around),
        TEST(changed_header_is_skipped),
        TEST(changed_data_and_padding),
        TEST(lengths_that_lie),
        TEST(block_lengths_that_lie),
        TEST(block_padding_that_is_not_zero),
        TEST(swapped_extents_are_misplaced),
        TEST(zeroed_extent_in_the_middle),
        TEST(zeros_behind_are_an_empty_tail),
        TEST(rubbish_behind_is_damage_up_to_its_end),
        TEST(older_extents_behind_are_an_empty_tail),
        TEST(cut_anywhere),
        TEST(large_extents),
        TEST(unreadable_pages),
        TEST(random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
