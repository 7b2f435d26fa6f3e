/* SPDX-License-Identifier: MIT
 *
 * verify: the verdict on whole streams, and on every way in which they are not.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../../src/ctl/verify.h"
#include "build_stream.h"

enum { SEGMENTS = 3, EXTENTS = 4, BLOCKS = 3, FINDINGS_MAX = 64 };

struct place {
    struct built built;
    char dir[64];
    char stream[128];
    /* of the last verify: */
    struct finding findings[FINDINGS_MAX];
    char paths[FINDINGS_MAX][256];
    size_t count;
    struct verify_result result;
    bool random;
    void (*on_progress)(void *context, uint64_t bytes, uint64_t all_bytes);
    uint64_t shown_bytes;      /* by the first progress; 0: none yet */
    struct built_extent *hole; /* that is written when verify has just read it */
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    snprintf(place->dir, sizeof(place->dir), "/tmp/dbufd-verify.XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->stream, sizeof(place->stream), "%s/s.dbuf", place->dir);
    built_stream(&place->built, 11, SEGMENTS, EXTENTS, BLOCKS);
    built_write(&place->built, place->dir);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", place->dir);
    assert_int_equal(system(command), 0);
    built_free(&place->built);
    free(place);
    return 0;
}

static void on_finding(void *context, const struct finding *finding)
{
    struct place *place = context;
    if (place->count < FINDINGS_MAX) {
        place->findings[place->count] = *finding;
        snprintf(place->paths[place->count], sizeof(place->paths[0]), "%s", finding->path);
        place->findings[place->count].path = place->paths[place->count];
    }
    place->count++;
}

static void look_at(struct place *place, char *const arguments[], size_t count)
{
    const struct verify_options options = {
        .random = place->random,
        .on_finding = on_finding,
        .on_progress = place->on_progress,
        .context = place,
    };
    struct survey survey;
    place->count = 0;
    place->shown_bytes = 0;
    assert_int_equal(survey_arguments(&survey, arguments, count), 0);
    assert_int_equal(verify(&survey, &options, &place->result), 0);
    assert_int_equal(place->result.findings, place->count);
    survey_free(&survey);
}

static void look(struct place *place)
{
    look_at(place, (char *const[]){place->stream}, 1);
}

static void show(const struct place *place)
{
    for (size_t i = 0; i < place->count && i < FINDINGS_MAX; i++) {
        const struct finding *f = &place->findings[i];
        print_message("#   %s: %llu+%llu writer %d blocks %llu+%llu extents %llu+%llu segments "
                      "%llu+%llu: %s\n",
                      f->path, (unsigned long long)f->offset, (unsigned long long)f->bytes,
                      f->writer, (unsigned long long)f->first_block,
                      (unsigned long long)f->block_count, (unsigned long long)f->first_extent,
                      (unsigned long long)f->extent_count, (unsigned long long)f->first_segment,
                      (unsigned long long)f->segment_count, finding_name(f->kind));
    }
}

static const struct finding *find(const struct place *place, enum finding_kind kind)
{
    for (size_t i = 0; i < place->count && i < FINDINGS_MAX; i++) {
        if (place->findings[i].kind == kind) {
            return &place->findings[i];
        }
    }
    return NULL;
}

static void expect_whole(struct place *place)
{
    look(place);
    if (place->count != 0) {
        show(place);
    }
    assert_int_equal(place->count, 0);
}

/* Exactly these kinds of findings, no others. */
static void expect_kinds(struct place *place, const enum finding_kind *kinds, size_t count)
{
    look(place);
    bool right = place->count > 0;
    for (size_t i = 0; i < count; i++) {
        right = right && find(place, kinds[i]) != NULL;
    }
    for (size_t i = 0; i < place->count && i < FINDINGS_MAX; i++) {
        bool expected = false;
        for (size_t k = 0; k < count; k++) {
            expected = expected || kinds[k] == place->findings[i].kind;
        }
        right = right && expected;
    }
    if (!right) {
        show(place);
    }
    assert_true(right);
}
#define EXPECT(place, ...)                                                                         \
    do {                                                                                           \
        const enum finding_kind kinds[] = {__VA_ARGS__};                                           \
        expect_kinds(place, kinds, sizeof(kinds) / sizeof(kinds[0]));                              \
    } while (0)

static struct built_extent *extent(struct place *place, unsigned segment, unsigned index)
{
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        struct built_extent *built = &place->built.extents[i];
        if (built->segment == segment && index-- == 0) {
            return built;
        }
    }
    fail();
    return NULL;
}

static unsigned char *bytes_of(struct place *place, const struct built_extent *built)
{
    return place->built.segments[built->segment].bytes + built->offset;
}

static void rewrite(struct place *place)
{
    built_write(&place->built, place->dir);
}

static void poke(const char *path, uint64_t offset, unsigned char value)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &value, 1, (off_t)offset), 1);
    close(fd);
}

/* Makes header and CRCs right again after a change of the header's fields or the data. */
static void seal(struct place *place, const struct built_extent *built)
{
    struct extent_header *header = (struct extent_header *)bytes_of(place, built);
    header->data_crc = crc32c(0, header + 1, header->used);
    header->header_crc = built_header_crc(&place->built, header);
}
#define LIE(place, built, field, value)                                                            \
    do {                                                                                           \
        struct extent_header *lie = (struct extent_header *)bytes_of(place, built);                \
        lie->field = (value);                                                                      \
        seal(place, built);                                                                        \
        rewrite(place);                                                                            \
    } while (0)

/* Writes the extents of a segment in another order, each told that this is its place. */
static void rearrange(struct place *place, unsigned segment, const unsigned *order, size_t count)
{
    struct built_segment *built = &place->built.segments[segment];
    unsigned char *bytes = calloc(1, BUILD_BYTES);
    size_t size = FORMAT_ALIGN;
    memcpy(bytes, built->bytes, FORMAT_ALIGN);
    for (size_t i = 0; i < count; i++) {
        const struct built_extent *moved = extent(place, segment, order[i]);
        memcpy(bytes + size, built->bytes + moved->offset, moved->bytes);
        struct extent_header *header = (struct extent_header *)(bytes + size);
        header->place = (uint32_t)(size / FORMAT_ALIGN);
        header->header_crc = built_header_crc(&place->built, header);
        size += moved->bytes;
    }
    built_write_file(built->path, bytes, size);
    free(bytes);
}
#define REARRANGE(place, segment, ...)                                                             \
    do {                                                                                           \
        const unsigned order[] = {__VA_ARGS__};                                                    \
        rearrange(place, segment, order, sizeof(order) / sizeof(order[0]));                        \
    } while (0)

/* ---- Whole ------------------------------------------------------------------------------------
 */

static void whole_stream(void **state)
{
    struct place *place = *state;
    place->random = true;
    expect_whole(place);
    const struct verify_result *result = &place->result;
    assert_int_equal(result->end, VERIFY_CLOSED);
    assert_int_equal(result->segments, SEGMENTS);
    assert_int_equal(result->extents, place->built.seq);
    assert_int_equal(result->blocks, place->built.blocks);
    assert_int_equal(result->bytes, place->built.data_bytes);
    assert_int_equal(result->writers, BUILD_WRITERS);
    assert_int_equal(result->dropped, 3 * SEGMENTS);
    assert_int_equal(result->first_ns, 1700000000000000000u);
    assert_int_equal(result->last_ns, place->built.time_ns - 1);
    assert_int_equal(result->first_segment, 0);
}

static void each_segment_alone(void **state)
{
    struct place *place = *state;
    place->random = true;
    for (unsigned s = 0; s < SEGMENTS; s++) {
        look_at(place, (char *const[]){place->built.segments[s].path}, 1);
        assert_int_equal(place->count, 0);
        assert_int_equal(place->result.end, s + 1 < SEGMENTS ? VERIFY_GOES_ON : VERIFY_CLOSED);
        assert_int_equal(place->result.first_segment, s == 0 ? 0 : s + 1);
    }
    /* Files in any order: it is theirs that counts. */
    look_at(place,
            (char *const[]){place->built.segments[2].path, place->built.segments[0].path,
                            place->built.segments[1].path},
            3);
    assert_int_equal(place->count, 0);
    assert_int_equal(place->result.end, VERIFY_CLOSED);
}

static void first_segments_gone_by_retention(void **state)
{
    struct place *place = *state;
    unlink(place->built.segments[0].path);
    place->random = true;
    expect_whole(place);
    assert_int_equal(place->result.first_segment, 2);
    assert_int_equal(place->result.end, VERIFY_CLOSED);
}

static void stream_that_was_gone_on_with_in_its_file(void **state)
{
    struct place *place = *state;
    struct built *built = &place->built;
    built->seed = 12; /* the second run has another seed */
    built->min_block = 100;
    built_checkpoint(built, 0);
    uint64_t next = built->next_block[1];
    built_blocks(built, 1, 5, 0);
    built_blocks(built, 0, 5, 1);
    built_checkpoint(built, EXTENT_END | EXTENT_CLOSE);
    rewrite(place);
    place->random = true;
    expect_whole(place);
    assert_int_equal(place->result.blocks, built->blocks);
    /* Without that checkpoint it is not known what made the blocks; that is no wrong block. */
    bytes_of(place, extent(place, 2, 6))[70] ^= 1;
    rewrite(place);
    EXPECT(place, FINDING_DATA_CHANGED, FINDING_RANDOM_UNKNOWN);
    assert_int_equal(find(place, FINDING_RANDOM_UNKNOWN)->first_block, next);
}

static void numbers_may_skip(void **state)
{
    struct place *place = *state;
    struct built_segment *last = &place->built.segments[2];
    unlink(last->path);
    last->number = 9;
    ((struct segment_header *)last->bytes)->number = 9;
    built_seal_header(last->bytes);
    rewrite(place);
    expect_whole(place);
}

/* The disk failed: what was written last is void, and comes again in the next segment. */
static void segment_that_was_given_up(void **state)
{
    struct place *place = *state;
    struct built again;
    built_begin(&again, 11);
    built_segment(&again);
    built_checkpoint(&again, 0);
    built_blocks(&again, 0, 4, 0);
    struct built before = again;
    built_blocks(&again, 1, 4, 0);
    built_blocks(&again, 1, 4, 0);
    before.extent_count = again.extent_count;
    memcpy(before.extents, again.extents, sizeof(again.extents));
    before.segments[0].size = again.segments[0].size;
    again = before; /* the counts of before, the file of after */
    built_segment(&again);
    built_checkpoint(&again, 0);
    built_blocks(&again, 1, 4, 0);
    built_blocks(&again, 1, 4, 0);
    built_checkpoint(&again, EXTENT_END | EXTENT_CLOSE);
    unlink(place->built.segments[2].path);
    built_free(&place->built);
    place->built = again;
    rewrite(place);
    place->random = true;
    expect_whole(place);
    assert_true(place->result.superseded_bytes > 0);
    assert_int_equal(place->result.blocks, again.blocks);
    /* ... which nobody promised to be whole. */
    bytes_of(place, extent(place, 0, 2))[20] ^= 1;
    rewrite(place);
    expect_whole(place);
    bytes_of(place, extent(place, 0, 1))[20] ^= 1;
    rewrite(place);
    EXPECT(place, FINDING_HEADER_CHANGED, FINDING_BLOCKS_MISSING);
}

static int take_lock(const struct place *place)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/.s.dbuf.lock", place->dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void stream_that_is_being_written(void **state)
{
    struct place *place = *state;
    struct built_extent *end = extent(place, 2, EXTENTS + 1);
    struct built_segment *last = &place->built.segments[2];
    memset(last->bytes + end->offset, 0, end->bytes);
    last->size = 1 << 20;
    rewrite(place);
    EXPECT(place, FINDING_NOT_CLOSED);
    assert_int_equal(place->result.end, VERIFY_NOT_CLOSED);
    int lock = take_lock(place);
    expect_whole(place);
    assert_int_equal(place->result.end, VERIFY_RUNNING);
    /* An extent that is half there, at the end: on its way. */
    struct built_extent *on_its_way = extent(place, 2, EXTENTS);
    bytes_of(place, on_its_way)[on_its_way->header.used - 1] ^= 1;
    rewrite(place);
    expect_whole(place);
    /* Before whole ones: damage. */
    bytes_of(place, extent(place, 2, 2))[100] ^= 1;
    rewrite(place);
    EXPECT(place, FINDING_DATA_CHANGED);
    bytes_of(place, extent(place, 2, 2))[100] ^= 1;
    rewrite(place);
    expect_whole(place);
    close(lock);
    EXPECT(place, FINDING_DATA_CHANGED, FINDING_NOT_CLOSED);
}

static void note_progress(void *context, uint64_t bytes, uint64_t all_bytes)
{
    struct place *place = context;
    (void)all_bytes;
    if (place->shown_bytes == 0) {
        place->shown_bytes = bytes;
    }
}

static void write_hole(void *context, uint64_t bytes, uint64_t all_bytes)
{
    struct place *place = context;
    const struct built_segment *last = &place->built.segments[2];
    const struct built_extent *hole = place->hole;
    note_progress(context, bytes, all_bytes);
    int fd = open(last->path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, last->bytes + hole->offset, hole->bytes, (off_t)hole->offset),
                     (ssize_t)hole->bytes);
    close(fd);
}

/* The extent of the last segment at whose end verify first shows how far it is. The files before are so
 * long that there is one: behind their extents is room that was never used. */
static struct built_extent *extent_shown_first(struct place *place)
{
    uint64_t before = 0;
    for (unsigned s = 0; s < 2; s++) {
        place->built.segments[s].size = BUILD_BYTES;
        before += BUILD_BYTES - FORMAT_ALIGN;
    }
    rewrite(place);
    place->on_progress = note_progress;
    expect_whole(place);
    for (unsigned i = 1; i <= EXTENTS; i++) {
        struct built_extent *built = extent(place, 2, i);
        if (before + built->offset + built->bytes - FORMAT_ALIGN == place->shown_bytes) {
            return built;
        }
    }
    fail();
    return NULL;
}

static void put_hole(struct place *place)
{
    static const unsigned char zeros[BUILD_BYTES];
    const struct built_extent *hole = place->hole;
    rewrite(place);
    int fd = open(place->built.segments[2].path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, zeros, hole->bytes, (off_t)hole->offset), (ssize_t)hole->bytes);
    close(fd);
}

/* What is read before it is written, with whole extents behind it that are read after that, is looked at
 * once more: then it is there, or it is damage. */
static void what_is_written_meanwhile_is_no_damage(void **state)
{
    struct place *place = *state;
    int lock = take_lock(place);
    place->hole = extent_shown_first(place);
    put_hole(place);
    place->on_progress = write_hole;
    expect_whole(place);
    assert_true(place->shown_bytes > 0);
    put_hole(place);
    place->on_progress = NULL;
    EXPECT(place, FINDING_NO_EXTENT, FINDING_BLOCKS_MISSING);
    close(lock);
}

/* ---- Changed bytes ----------------------------------------------------------------------------
 */

static bool is_padding(struct place *place, unsigned segment, uint64_t offset)
{
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        const struct built_extent *built = &place->built.extents[i];
        if (built->segment == segment && offset >= built->offset &&
            offset < built->offset + built->bytes) {
            return offset - built->offset >= sizeof(built->header) + built->header.used;
        }
    }
    return false;
}

/* Every byte of every segment, padding or not, is caught and located. */
static void every_byte_counts(void **state)
{
    struct place *place = *state;
    uint64_t bits;
    for (unsigned s = 0; s < SEGMENTS; s++) {
        const struct built_segment *built = &place->built.segments[s];
        for (size_t at = s; at < built->size; at += s == 1 ? 1 : 7) {
            random_block_fill(5, s, at, &bits, sizeof(bits));
            unsigned char flip = (unsigned char)(1 << bits % 8);
            poke(built->path, at, built->bytes[at] ^ flip);
            look(place);
            bool located = false;
            for (size_t i = 0; i < place->count && i < FINDINGS_MAX; i++) {
                const struct finding *f = &place->findings[i];
                located = located || (strcmp(f->path, built->path) == 0 && f->has_offset &&
                                      f->offset <= at && at - f->offset < f->bytes);
            }
            bool padding = is_padding(place, s, at);
            if (!located || padding != (find(place, FINDING_PADDING_CHANGED) != NULL)) {
                print_message("# segment %u, byte %zu, flip %x\n", s, at, flip);
                show(place);
                fail();
            }
            assert_true(!padding || place->count == 1);
            poke(built->path, at, built->bytes[at]);
        }
    }
    expect_whole(place);
}

static void changed_blocks_are_named(void **state)
{
    struct place *place = *state;
    const struct built_extent *built = extent(place, 1, 2);
    bytes_of(place, built)[80] ^= 1;
    rewrite(place);
    EXPECT(place, FINDING_DATA_CHANGED);
    const struct finding *f = find(place, FINDING_DATA_CHANGED);
    assert_int_equal(f->writer, built->header.writer);
    assert_int_equal(f->first_block, built->header.first_block);
    assert_int_equal(f->block_count, BLOCKS);
    assert_int_equal(f->offset, built->offset);
}

static void cut_anywhere(void **state)
{
    struct place *place = *state;
    for (unsigned s = 0; s < SEGMENTS; s++) {
        const struct built_segment *built = &place->built.segments[s];
        for (size_t cut = 0; cut < built->size; cut += 512) {
            assert_int_equal(truncate(built->path, (off_t)cut), 0);
            look(place);
            bool inside = false;
            for (unsigned i = 0; i < place->built.extent_count; i++) {
                const struct built_extent *e = &place->built.extents[i];
                inside =
                    inside || (e->segment == s && cut > e->offset && cut < e->offset + e->bytes);
            }
            bool named = inside               ? find(place, FINDING_CUT) != NULL
                         : cut == 0           ? find(place, FINDING_SEGMENT_EMPTY) != NULL
                         : cut < FORMAT_ALIGN ? find(place, FINDING_SEGMENT_HEADER) != NULL
                         : s == SEGMENTS - 1  ? find(place, FINDING_NOT_CLOSED) != NULL
                                              : find(place, FINDING_EXTENTS_MISSING) != NULL;
            if (!named) {
                print_message("# segment %u cut at %zu\n", s, cut);
                show(place);
                fail();
            }
            built_write_file(built->path, built->bytes, built->size);
        }
    }
}

/* ---- Extents ----------------------------------------------------------------------------------
 */

static void zeroed_extents(void **state)
{
    struct place *place = *state;
    const struct built_extent *built = extent(place, 1, 2);
    memset(bytes_of(place, built), 0, built->bytes);
    rewrite(place);
    EXPECT(place, FINDING_NO_EXTENT, FINDING_BLOCKS_MISSING);
    const struct finding *f = find(place, FINDING_BLOCKS_MISSING);
    assert_int_equal(f->writer, built->header.writer);
    assert_int_equal(f->first_block, built->header.first_block);
    assert_int_equal(f->block_count, BLOCKS);
    /* The end of a stream. */
    built = extent(place, 2, EXTENTS);
    memset(bytes_of(place, built), 0, place->built.segments[2].size - built->offset);
    rewrite(place);
    EXPECT(place, FINDING_NO_EXTENT, FINDING_BLOCKS_MISSING, FINDING_NOT_CLOSED);
}

static void swapped_extents(void **state)
{
    struct place *place = *state;
    struct built_segment *segment = &place->built.segments[1];
    const struct built_extent *a = extent(place, 1, 1), *b = extent(place, 1, 2);
    unsigned char *saved = malloc(a->bytes + b->bytes);
    memcpy(saved, segment->bytes + a->offset, a->bytes + b->bytes);
    memcpy(segment->bytes + a->offset, saved + a->bytes, b->bytes);
    memcpy(segment->bytes + a->offset + b->bytes, saved, a->bytes);
    rewrite(place);
    EXPECT(place, FINDING_MISPLACED, FINDING_EXTENTS_REORDERED);
    memcpy(segment->bytes + a->offset, saved, a->bytes + b->bytes);
    free(saved);
    /* Each says that it is in place: the sequence shows it. */
    REARRANGE(place, 1, 0, 2, 1, 3, 4, 5);
    EXPECT(place, FINDING_EXTENTS_REORDERED);
    assert_int_equal(find(place, FINDING_EXTENTS_REORDERED)->first_extent, a->header.seq);
    REARRANGE(place, 1, 0, 1, 2, 3, 5, 4);
    EXPECT(place, FINDING_EXTENTS_REORDERED, FINDING_AFTER_END);
    REARRANGE(place, 1, 1, 0, 2, 3, 4, 5);
    EXPECT(place, FINDING_CHECKPOINT_MISSING, FINDING_EXTENTS_REORDERED);
}

static void doubled_extents(void **state)
{
    struct place *place = *state;
    REARRANGE(place, 1, 0, 1, 1, 2, 3, 4, 5);
    EXPECT(place, FINDING_EXTENTS_DOUBLED);
    const struct finding *f = find(place, FINDING_EXTENTS_DOUBLED);
    assert_int_equal(f->first_extent, extent(place, 1, 1)->header.seq);
    assert_int_equal(f->writer, extent(place, 1, 1)->header.writer);
    assert_int_equal(f->block_count, BLOCKS);
    assert_int_equal(place->result.blocks, place->built.blocks);
    REARRANGE(place, 1, 0, 1, 2, 3, 4, 5, 3); /* behind the end */
    EXPECT(place, FINDING_EXTENTS_DOUBLED);
    /* One over another, as a misdirected write does it. */
    const struct built_extent *a = extent(place, 1, 1), *b = extent(place, 1, 2);
    memcpy(bytes_of(place, b), bytes_of(place, a), a->bytes < b->bytes ? a->bytes : b->bytes);
    rewrite(place);
    look(place);
    assert_non_null(find(place, FINDING_MISPLACED));
    assert_non_null(find(place, FINDING_BLOCKS_MISSING));
}

static void removed_extents(void **state)
{
    struct place *place = *state;
    for (unsigned gone = 1; gone <= EXTENTS; gone++) {
        unsigned order[EXTENTS + 1], count = 0;
        for (unsigned i = 0; i < EXTENTS + 2; i++) {
            if (i != gone) {
                order[count++] = i;
            }
        }
        rearrange(place, 1, order, count);
        EXPECT(place, FINDING_EXTENTS_MISSING, FINDING_BLOCKS_MISSING);
        const struct finding *f = find(place, FINDING_EXTENTS_MISSING);
        assert_int_equal(f->first_extent, extent(place, 1, gone)->header.seq);
        assert_int_equal(f->extent_count, 1);
        f = find(place, FINDING_BLOCKS_MISSING);
        assert_int_equal(f->writer, extent(place, 1, gone)->header.writer);
        assert_int_equal(f->first_block, extent(place, 1, gone)->header.first_block);
        assert_int_equal(f->block_count, BLOCKS);
    }
    REARRANGE(place, 1, 0, 1, 2, 3, 4); /* without its end */
    EXPECT(place, FINDING_EXTENTS_MISSING);
    REARRANGE(place, 1, 1, 2, 3, 4, 5); /* without its first checkpoint */
    EXPECT(place, FINDING_EXTENTS_MISSING, FINDING_CHECKPOINT_MISSING);
    REARRANGE(place, 1, 0, 4, 5);
    EXPECT(place, FINDING_EXTENTS_MISSING, FINDING_BLOCKS_MISSING);
    assert_int_equal(find(place, FINDING_EXTENTS_MISSING)->extent_count, 3);
}

/* Nothing but the writer's own sequence shows that an extent was left out before it was counted. */
static void removed_blocks(void **state)
{
    struct place *place = *state;
    struct built *built = &place->built;
    built_free(built);
    built_begin(built, 4);
    built_segment(built);
    built_checkpoint(built, 0);
    built_blocks(built, 0, 5, 0);
    built->next_block[0] += 4; /* these never come */
    built_blocks(built, 0, 5, 0);
    built_checkpoint(built, EXTENT_CLOSE);
    char path[256];
    for (unsigned s = 2; s <= SEGMENTS; s++) {
        snprintf(path, sizeof(path), "%s/s.%06u.dbuf", place->dir, s);
        unlink(path);
    }
    rewrite(place);
    EXPECT(place, FINDING_BLOCKS_MISSING);
    const struct finding *f = find(place, FINDING_BLOCKS_MISSING);
    assert_int_equal(f->first_block, 5);
    assert_int_equal(f->block_count, 4);
    built->next_block[0] = 7;
    built_blocks(built, 0, 3, 0);
    rewrite(place);
    look(place);
    assert_non_null(find(place, FINDING_BLOCKS_REORDERED) != NULL
                        ? find(place, FINDING_BLOCKS_REORDERED)
                        : find(place, FINDING_BLOCKS_DOUBLED));
}

/* ---- Segments ---------------------------------------------------------------------------------
 */

static void missing_segment(void **state)
{
    struct place *place = *state;
    unlink(place->built.segments[1].path);
    EXPECT(place, FINDING_SEGMENT_MISSING, FINDING_BLOCKS_MISSING);
    assert_int_equal(find(place, FINDING_SEGMENT_MISSING)->first_segment, 2);
    assert_int_equal(find(place, FINDING_SEGMENT_MISSING)->segment_count, 1);
    rewrite(place);
    unlink(place->built.segments[2].path);
    EXPECT(place, FINDING_NOT_CONTINUED);
}

static void doubled_segment(void **state)
{
    struct place *place = *state;
    char path[256];
    snprintf(path, sizeof(path), "%s/s.000007.dbuf", place->dir);
    built_write_file(path, place->built.segments[1].bytes, place->built.segments[1].size);
    EXPECT(place, FINDING_SEGMENT_DOUBLED);
    assert_int_equal(find(place, FINDING_SEGMENT_DOUBLED)->first_segment, 2);
    unlink(path);
    /* With a number of its own, its extents show it. */
    ((struct segment_header *)place->built.segments[1].bytes)->number = 3;
    built_seal_header(place->built.segments[1].bytes);
    built_write_file(path, place->built.segments[1].bytes, place->built.segments[1].size);
    look(place);
    assert_non_null(find(place, FINDING_SEGMENT_ORDER));
    assert_true(place->count > 1 || place->result.superseded_bytes > 0);
}

static void renamed_segments(void **state)
{
    struct place *place = *state;
    char path[256];
    snprintf(path, sizeof(path), "%s/away", place->dir);
    rename(place->built.segments[0].path, path);
    rename(place->built.segments[1].path, place->built.segments[0].path);
    rename(path, place->built.segments[1].path);
    EXPECT(place, FINDING_SEGMENT_ORDER);
    assert_int_equal(place->count, 2);
}

static void foreign_segment(void **state)
{
    struct place *place = *state;
    struct built *other = calloc(1, sizeof(*other));
    built_stream(other, 77, SEGMENTS, EXTENTS, BLOCKS);
    built_write_file(place->built.segments[1].path, other->segments[1].bytes,
                     other->segments[1].size);
    EXPECT(place, FINDING_SEGMENT_FOREIGN, FINDING_SEGMENT_MISSING, FINDING_BLOCKS_MISSING);
    rewrite(place);
    built_write_file(place->built.segments[0].path, other->segments[0].bytes,
                     other->segments[0].size);
    EXPECT(place, FINDING_SEGMENT_FOREIGN);
    /* An extent of another stream in the right place. */
    rewrite(place);
    const struct built_extent *built = extent(place, 1, 2);
    memcpy(bytes_of(place, built), other->segments[1].bytes + other->extents[8].offset, 4096);
    rewrite(place);
    look(place);
    assert_non_null(find(place, FINDING_HEADER_CHANGED));
    assert_non_null(find(place, FINDING_BLOCKS_MISSING));
    built_free(other);
    free(other);
}

static void files_that_are_no_segments(void **state)
{
    struct place *place = *state;
    const struct built_segment *segment = &place->built.segments[1];
    built_write_file(segment->path, "rubbish", 7);
    EXPECT(place, FINDING_SEGMENT_HEADER, FINDING_SEGMENT_MISSING, FINDING_BLOCKS_MISSING);
    char other[160];
    snprintf(other, sizeof(other), "%s/notes", place->dir);
    built_write_file(other, "rubbish", 7);
    look_at(place, (char *const[]){other}, 1);
    assert_int_equal(place->count, 1);
    assert_int_equal(place->result.unreadable, 1);
    snprintf(other, sizeof(other), "%s/nothing", place->dir);
    look_at(place, (char *const[]){other}, 1);
    assert_int_equal(place->findings[0].kind, FINDING_UNREADABLE);
    assert_int_equal(place->findings[0].error, ENOENT);
}

static void damaged_segment_headers(void **state)
{
    struct place *place = *state;
    memset(place->built.segments[1].bytes, 0, FORMAT_ALIGN);
    rewrite(place);
    EXPECT(place, FINDING_SEGMENT_HEADER);
    for (unsigned s = 0; s < SEGMENTS; s++) {
        place->built.segments[s].bytes[4000] ^= 1;
    }
    rewrite(place);
    EXPECT(place, FINDING_SEGMENT_HEADER);
    assert_int_equal(place->count, 3);
    assert_int_equal(place->result.blocks, place->built.blocks);
}

/* ---- Lies with right checksums ----------------------------------------------------------------
 */

static void segment_headers_that_lie(void **state)
{
    struct place *place = *state;
    for (unsigned s = 0; s < SEGMENTS; s++) {
        struct segment_header *header = (struct segment_header *)place->built.segments[s].bytes;
        const struct segment_header *other =
            (struct segment_header *)place->built.segments[(s + 1) % SEGMENTS].bytes;
        const uint64_t lies[] = {0, 1, header->first_seq + 1, header->first_seq - 1, 1000,
                                 /* then all its extents seem older than itself */
                                 other->first_seq, UINT64_MAX};
        uint64_t truth = header->first_seq;
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
            header->first_seq = lies[i];
            built_seal_header(place->built.segments[s].bytes);
            rewrite(place);
            look(place);
            if (lies[i] != truth && place->count == 0) {
                print_message("# segment %u says %llu\n", s, (unsigned long long)lies[i]);
            }
            assert_int_equal(place->count > 0, lies[i] != truth);
        }
        header->first_seq = truth;
        header->number += 5;
        built_seal_header(place->built.segments[s].bytes);
        rewrite(place);
        look(place);
        assert_non_null(find(place, FINDING_SEGMENT_ORDER));
        header->number -= 5;
        header->stream_uuid[3] ^= 1;
        built_seal_header(place->built.segments[s].bytes);
        rewrite(place);
        look(place);
        assert_non_null(find(place, FINDING_SEGMENT_FOREIGN));
        header->stream_uuid[3] ^= 1;
        built_seal_header(place->built.segments[s].bytes);
    }
    rewrite(place);
    expect_whole(place);
}

static void extent_headers_that_lie(void **state)
{
    struct place *place = *state;
    struct built_extent *built = extent(place, 1, 2);
    uint64_t seq = built->header.seq, first = built->header.first_block;
    LIE(place, built, seq, seq + 1);
    EXPECT(place, FINDING_EXTENTS_MISSING, FINDING_EXTENTS_DOUBLED, FINDING_BLOCKS_MISSING);
    LIE(place, built, seq, seq - 1);
    EXPECT(place, FINDING_EXTENTS_MISSING, FINDING_EXTENTS_DOUBLED, FINDING_BLOCKS_MISSING);
    LIE(place, built, seq, UINT64_MAX);
    look(place);
    assert_non_null(find(place, FINDING_EXTENTS_MISSING));
    LIE(place, built, seq, seq);
    expect_whole(place);
    LIE(place, built, first_block, first + 1);
    EXPECT(place, FINDING_BLOCKS_MISSING);
    LIE(place, built, first_block, first - 1);
    EXPECT(place, FINDING_BLOCKS_DOUBLED, FINDING_BLOCKS_MISSING);
    LIE(place, built, first_block, UINT64_MAX);
    look(place);
    assert_true(place->count > 0);
    LIE(place, built, first_block, first);
    LIE(place, built, writer, 500);
    look(place);
    assert_non_null(find(place, FINDING_BLOCKS_MISSING));
    LIE(place, built, writer, built->header.writer);
    LIE(place, built, dropped, 1);
    EXPECT(place, FINDING_CHECKPOINT_WRONG);
    LIE(place, built, dropped, built->header.dropped);
    LIE(place, built, block_count, 2);
    look(place);
    assert_non_null(find(place, FINDING_MALFORMED));
    LIE(place, built, block_count, BLOCKS);
    LIE(place, built, used, built->header.used - 8);
    look(place);
    assert_true(place->count > 0);
    LIE(place, built, used, built->header.used);
    expect_whole(place);
    /* A block that was changed, with every checksum of the extent made right: the digest shows it.
     */
    bytes_of(place, built)[sizeof(struct extent_header) + 16] ^= 1;
    LIE(place, built, flags, 0);
    EXPECT(place, FINDING_CHECKPOINT_WRONG);
    place->random = true;
    EXPECT(place, FINDING_CHECKPOINT_WRONG, FINDING_RANDOM_WRONG);
    const struct finding *f = find(place, FINDING_RANDOM_WRONG);
    assert_int_equal(f->first_block, first);
    assert_int_equal(f->block_count, 1);
    assert_int_equal(f->offset, built->offset + sizeof(struct extent_header));
}

static void checkpoints_that_lie(void **state)
{
    struct place *place = *state;
    struct built_extent *built = extent(place, 1, 5);
    struct checkpoint *checkpoint =
        (struct checkpoint *)(bytes_of(place, built) + sizeof(struct extent_header));
    struct checkpoint_writer *writers = (struct checkpoint_writer *)(checkpoint + 1);
    uint64_t *fields[] = {&checkpoint->blocks, &checkpoint->bytes, &writers[1].next_block,
                          &writers[1].dropped};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        *fields[i] -= 1;
        LIE(place, built, place, built->header.place);
        EXPECT(place, FINDING_CHECKPOINT_WRONG);
        *fields[i] += 1;
    }
    writers[1].next_block += 2; /* blocks that were lost */
    LIE(place, built, place, built->header.place);
    look(place);
    assert_non_null(find(place, FINDING_BLOCKS_MISSING));
    writers[1].next_block -= 2;
    checkpoint->digest ^= 1;
    LIE(place, built, place, built->header.place);
    EXPECT(place, FINDING_CHECKPOINT_WRONG);
    assert_string_equal(find(place, FINDING_CHECKPOINT_WRONG)->field, "digest");
    checkpoint->digest ^= 1;
    checkpoint->writer_count = 3;
    LIE(place, built, place, built->header.place);
    look(place);
    assert_non_null(find(place, FINDING_MALFORMED));
}

/* All extents of a segment but 3, and one of them with a broken header. */
static void rearrange_broken(struct place *place, unsigned segment, unsigned broken)
{
    REARRANGE(place, segment, 0, 1, 2, 4, 5);
    const struct built_extent *built = extent(place, segment, broken);
    poke(place->built.segments[segment].path, built->offset, 0xff);
}

/* A fault that was told explains what follows from it, and nothing else. */
static void faults_do_not_hide_others(void **state)
{
    struct place *place = *state;
    /* An extent that is not there behind one that is damaged. */
    bytes_of(place, extent(place, 1, 1))[5] ^= 1;
    rewrite(place);
    EXPECT(place, FINDING_HEADER_CHANGED, FINDING_BLOCKS_MISSING);
    bytes_of(place, extent(place, 1, 1))[5] ^= 1;
    memset(bytes_of(place, extent(place, 1, 1)), 0, extent(place, 1, 1)->bytes);
    REARRANGE(place, 1, 0, 2, 4, 5);
    EXPECT(place, FINDING_EXTENTS_MISSING, FINDING_BLOCKS_MISSING);
    assert_int_equal(place->count, 4); /* each by itself */
    rewrite(place);
    EXPECT(place, FINDING_NO_EXTENT, FINDING_BLOCKS_MISSING);
    /* A checkpoint that is wrong in the segment behind, and a block that is. */
    struct built_extent *end = extent(place, 2, 5), *built = extent(place, 2, 1);
    struct checkpoint *checkpoint =
        (struct checkpoint *)(bytes_of(place, end) + sizeof(struct extent_header));
    checkpoint->bytes++;
    LIE(place, end, place, end->header.place);
    EXPECT(place, FINDING_NO_EXTENT, FINDING_BLOCKS_MISSING, FINDING_CHECKPOINT_WRONG);
    bytes_of(place, built)[sizeof(struct extent_header) + 16] ^= 1;
    LIE(place, built, place, built->header.place);
    place->random = true;
    look(place);
    assert_non_null(find(place, FINDING_RANDOM_WRONG));
    assert_null(find(place, FINDING_RANDOM_UNKNOWN));
    /* Damage, a whole extent, and behind that one is missing. */
    rearrange_broken(place, 0, 1);
    look(place);
    assert_non_null(find(place, FINDING_HEADER_CHANGED));
    const struct finding *f = find(place, FINDING_EXTENTS_MISSING);
    assert_non_null(f);
    assert_int_equal(f->first_extent, 3);
    assert_int_equal(f->extent_count, 1);
}

static void random_source(void **state)
{
    struct place *place = *state;
    place->random = true;
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        const struct built_extent *built = &place->built.extents[i];
        if (built->header.flags & EXTENT_CHECKPOINT) {
            struct checkpoint *checkpoint =
                (struct checkpoint *)(bytes_of(place, built) + sizeof(struct extent_header));
            checkpoint->seed++;
            seal(place, built);
        }
    }
    rewrite(place);
    EXPECT(place, FINDING_RANDOM_WRONG);
    for (unsigned i = 0; i < place->built.extent_count; i++) {
        const struct built_extent *built = &place->built.extents[i];
        if (built->header.flags & EXTENT_CHECKPOINT) {
            struct checkpoint *checkpoint =
                (struct checkpoint *)(bytes_of(place, built) + sizeof(struct extent_header));
            checkpoint->random = 0;
            seal(place, built);
        }
    }
    rewrite(place);
    EXPECT(place, FINDING_RANDOM_UNKNOWN);
    place->random = false;
    expect_whole(place);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(whole_stream),
        TEST(each_segment_alone),
        TEST(first_segments_gone_by_retention),
        TEST(stream_that_was_gone_on_with_in_its_file),
        TEST(numbers_may_skip),
        TEST(segment_that_was_given_up),
        TEST(stream_that_is_being_written),
        TEST(what_is_written_meanwhile_is_no_damage),
        TEST(every_byte_counts),
        TEST(changed_blocks_are_named),
        TEST(cut_anywhere),
        TEST(zeroed_extents),
        TEST(swapped_extents),
        TEST(doubled_extents),
        TEST(removed_extents),
        TEST(removed_blocks),
        TEST(missing_segment),
        TEST(doubled_segment),
        TEST(renamed_segments),
        TEST(foreign_segment),
        TEST(files_that_are_no_segments),
        TEST(damaged_segment_headers),
        TEST(segment_headers_that_lie),
        TEST(extent_headers_that_lie),
        TEST(checkpoints_that_lie),
        TEST(faults_do_not_hide_others),
        TEST(random_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
