/* SPDX-License-Identifier: MIT
 *
 * recover: a stream that was cut off anywhere goes on behind its last whole extent, and nothing
 * that was there is lost.
 */
#include "stream_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "../../src/disk/recover.h"

/* ---- A file in memory ---- */

enum { IMAGE_BYTES_MAX = 1 << 20 };

struct image {
    unsigned char *data;
    size_t bytes;
};

static struct image load(const char *name)
{
    struct image image;
    struct stat status;
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &status), 0);
    image.bytes = (size_t)status.st_size;
    if (image.bytes > IMAGE_BYTES_MAX)
        image.bytes = IMAGE_BYTES_MAX; /* the rest was allocated ahead, and is zeros */
    image.data = malloc(image.bytes + 1);
    assert_non_null(image.data);
    assert_int_equal(read(fd, image.data, image.bytes), (ssize_t)image.bytes);
    close(fd);
    return image;
}

static void save(const char *name, const unsigned char *data, size_t bytes)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
}

static void remove_torn(void)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.torn", stream_path);
    (void)unlink(name); /* there may be none */
}

/* A stream of one file as a killed run leaves it: not closed. Returns the end of its last extent.
 */
static uint64_t write_unclosed(uint64_t segment_bytes, int halves, struct maker *maker)
{
    struct store_options options = options_of(NULL);
    struct store *store;
    options.segment_bytes = segment_bytes;
    assert_int_equal(store_open(&store, &options), 0);
    maker_open(maker, FIXTURE_WRITERS, store_next_blocks(store), seed_of_run());
    for (int i = 0; i < halves; i++) {
        make_half(maker, HALF_EXTENTS);
        assert_int_equal(store_write(store, maker->headers, HALF_EXTENTS), 0);
    }
    uint64_t end = store_offset(store);
    store_free(store);
    return end;
}

/* Opens the stream again, goes on with half a half, closes it, and looks at all of it. */
static void go_on(struct events *events, struct seen *ret)
{
    struct store_options options = options_of(events);
    struct store *store;
    struct maker maker;
    assert_int_equal(store_open(&store, &options), 0);
    maker_open(&maker, FIXTURE_WRITERS, store_next_blocks(store), 99);
    make_half(&maker, 4);
    assert_int_equal(store_write(store, maker.headers, 4), 0);
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    see_stream(stream_path, ret);
    assert_true(ret->closed);
    maker_close(&maker);
}

static void unused_room_is_given_back(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct maker maker;
    struct seen seen;
    struct stat status;

    uint64_t end = write_unclosed(0, 3, &maker);
    assert_int_equal(stat(stream_path, &status), 0);
    assert_true((uint64_t)status.st_size > end); /* allocated ahead */
    go_on(&events, &seen);
    assert_int_equal(events.count[STORE_TAIL_FREED], 1);
    assert_int_equal(events.last[STORE_TAIL_FREED].offset, end);
    assert_int_equal(events.last[STORE_TAIL_FREED].bytes, (uint64_t)status.st_size - end);
    assert_int_equal(events.count[STORE_TAIL_CUT], 0);
    assert_int_equal(events.count[STORE_UNCLOSED], 1);
    assert_int_equal(events.last[STORE_UNCLOSED].offset, end);
    go_on(&events, &seen); /* in order, this time */
    assert_int_equal(events.count[STORE_UNCLOSED], 1);
    assert_true(seen.blocks > maker.blocks);
    assert_int_equal(directory_entries(test_directory), 1);
    maker_close(&maker);
}

/* With rotation a new segment begins; the cut one before it is as whole as it can be. */
static void rotation_begins_a_new_segment(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct store *store;
    struct maker maker;
    struct seen seen;
    struct stream_files files;

    uint64_t end = write_unclosed(20 * EXTENT_BYTES, 4, &maker);
    options.segment_bytes = 20 * EXTENT_BYTES;
    assert_int_equal(store_open(&store, &options), 0);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_int_equal(store_next_blocks(store)[w], maker.next_block[w]);
    assert_int_equal(events.last[STORE_TAIL_FREED].offset, end);
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    assert_int_equal(stream_list(stream_path, &files), 0);
    assert_true(files.count >= 2);
    assert_int_equal(files.files[files.count - 2].bytes, end);
    stream_files_free(&files);
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, maker.blocks);
    assert_true(seen.closed);
    maker_close(&maker);
}

/* The end of the last whole extent of the image below `cut`, and the blocks up to there. An extent
 * of which only zeros are missing is whole if there is `room` for them. */
static uint64_t whole_end(const struct image *image, size_t cut, size_t room, uint64_t *ret_blocks)
{
    while (room > 0 && cut < image->bytes && image->data[cut] == 0) {
        cut++;
        room--;
    }
    uint64_t end = FORMAT_ALIGN;
    *ret_blocks = 0;
    while (end < cut) {
        const struct extent_header *header = (const struct extent_header *)(image->data + end);
        if (end + extent_stored_bytes(header->used) > cut)
            break;
        *ret_blocks += header->block_count;
        end += extent_stored_bytes(header->used);
    }
    return end;
}

/* The file `image`, of which only the first `cut` bytes were written; then `room` bytes of zeros.
 */
static void recover_cut_image(const struct image *image, size_t cut, size_t room)
{
    struct events events = {0};
    struct seen seen;
    uint64_t blocks;
    uint64_t end = whole_end(image, cut, room, &blocks);
    char torn_name[128];
    unsigned char *torn_data = calloc(1, cut + room + 1);

    assert_non_null(torn_data);
    memcpy(torn_data, image->data, cut);
    save(stream_path, torn_data, cut + room);
    remove_torn();
    go_on(&events, &seen);
    assert_true(seen.blocks > blocks);
    snprintf(torn_name, sizeof(torn_name), "%s.torn", stream_path);
    size_t torn_bytes = end < cut ? cut - (size_t)end : 0;
    while (torn_bytes > 0 && image->data[end + torn_bytes - 1] == 0)
        torn_bytes--; /* zeros are not worth keeping */
    if (torn_bytes == 0)
        assert_int_equal(events.count[STORE_TAIL_CUT], 0);
    else {
        assert_int_equal(events.count[STORE_TAIL_CUT], 1);
        assert_int_equal(events.last[STORE_TAIL_CUT].offset, end);
        struct image torn = load(torn_name);
        assert_int_equal(torn.bytes, torn_bytes);
        assert_memory_equal(torn.data, image->data + end, torn_bytes);
        free(torn.data);
    }
    free(torn_data);
}

/* Cut at every page, around every extent's ends, and at places drawn by lot; the file ends there,
 * or goes on with room that was allocated. */
static void cut_anywhere_it_goes_on(void **unused)
{
    (void)unused;
    struct maker maker;
    uint64_t random = seed_of_run();
    uint64_t end = write_unclosed(0, 1, &maker);
    struct image image = load(stream_path);
    image.bytes = (size_t)end;
    size_t least = 2 * FORMAT_ALIGN; /* behind the first checkpoint */

    for (size_t cut = least; cut <= end; cut += FORMAT_ALIGN / 2)
        recover_cut_image(&image, cut, cut % FORMAT_ALIGN ? 0 : 3 * FORMAT_ALIGN);
    static const int around[] = {-65, -64, -63, -8, -1, 1, 8, 63, 64, 65};
    for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
        uint64_t blocks;
        size_t cut =
            (size_t)whole_end(&image, least + next_random(&random) % (end - least), 0, &blocks);
        recover_cut_image(&image,
                          (size_t)((long)cut + around[i]) < least ? least
                                                                  : (size_t)((long)cut + around[i]),
                          i % 2 * 10000);
    }
    for (int i = 0; i < 40; i++)
        recover_cut_image(&image, least + next_random(&random) % (end - least),
                          next_random(&random) % 20000);
    free(image.data);
    maker_close(&maker);
}

/* Of the last extents some pages were written and some were not, in any mixture: what is left are
 * whole extents; none before the first damaged one is lost, and the file can be gone on with. */
static void any_mixture_of_unwritten_pages(void **unused)
{
    (void)unused;
    struct maker maker;
    uint64_t random = seed_of_run();
    uint64_t end = write_unclosed(0, 1, &maker);
    struct image image = load(stream_path);
    uint64_t blocks;
    size_t synced = (size_t)whole_end(&image, (size_t)end / 2, 0, &blocks);

    for (int round = 0; round < 60; round++) {
        unsigned char *pages = malloc((size_t)end);
        struct events events = {0};
        struct store_options options = options_of(&events);
        struct store *store;
        struct recovery *recovery = malloc(sizeof(*recovery));
        struct stream_files files;
        assert_true(pages && recovery);
        memcpy(pages, image.data, (size_t)end);
        size_t first_lost = (size_t)end;
        for (size_t at = synced; at < end; at += FORMAT_ALIGN)
            if (next_random(&random) % 3 == 0) {
                memset(pages + at, 0, FORMAT_ALIGN);
                first_lost = at < first_lost ? at : first_lost;
            }
        save(stream_path, pages, (size_t)end);
        remove_torn();
        assert_int_equal(stream_list(stream_path, &files), 0);
        assert_int_equal(recover_look(&files, NULL, &output_pwrite, recovery), 0);
        assert_true(recovery->end >= whole_end(&image, first_lost, 0, &blocks));
        assert_true(recovery->tally.next_seq > 0);
        stream_files_free(&files);
        recover_free(recovery);
        free(recovery);
        assert_int_equal(store_open(&store, &options), 0);
        assert_int_equal(store_finish(store), 0);
        store_free(store);
        free(pages);
    }
    free(image.data);
    maker_close(&maker);
}

/* Damage with whole extents behind it is not a torn tail: nothing is cut. */
static void damage_in_the_middle_is_kept(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct store *store;
    uint64_t blocks;
    uint64_t end = write_unclosed(0, 2, &maker);
    struct image image = load(stream_path);
    size_t middle = (size_t)whole_end(&image, (size_t)end / 2, 0, &blocks);

    image.data[middle + 100] ^= 1;
    save(stream_path, image.data, image.bytes);
    assert_int_equal(store_open(&store, &options), 0);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_int_equal(store_next_blocks(store)[w], maker.next_block[w]);
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    assert_int_equal(events.count[STORE_TAIL_CUT], 0);
    struct image after = load(stream_path);
    assert_true(after.bytes > end);
    assert_memory_equal(after.data, image.data, (size_t)end);
    free(after.data);
    free(image.data);
    maker_close(&maker);
}

/* A second torn tail of the same file does not overwrite the first. */
static void torn_tails_are_kept_apart(void **unused)
{
    (void)unused;
    struct maker maker;
    struct seen seen;
    write_unclosed(0, 1, &maker);
    for (int i = 0; i < 3; i++) {
        struct events events = {0};
        struct stat status;
        char page[FORMAT_ALIGN];
        go_on(&events, &seen);
        assert_int_equal(events.count[STORE_TAIL_CUT], i > 0);
        memset(page, 'a' + i, sizeof(page));
        assert_int_equal(stat(stream_path, &status), 0);
        int fd = open(stream_path, O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
        close(fd);
    }
    assert_int_equal(directory_entries(test_directory), 3); /* with .torn and .torn.2 */
    maker_close(&maker);
}

/* A last segment without a whole extent is put aside, and the one before it counts. */
static void a_hollow_segment_is_put_aside(void **unused)
{
    (void)unused;
    struct events events = {0};
    struct store_options options = options_of(&events);
    struct maker maker;
    struct store *store;
    struct seen seen;
    struct stream_files files;

    options.segment_bytes = 20 * EXTENT_BYTES;
    write_unclosed(options.segment_bytes, 4, &maker);
    assert_int_equal(stream_list(stream_path, &files), 0);
    size_t count = files.count;
    assert_true(count >= 2);
    assert_int_equal(truncate(files.files[count - 1].path, FORMAT_ALIGN + 100), 0);
    stream_files_free(&files);

    assert_int_equal(store_open(&store, &options), 0);
    assert_int_equal(events.count[STORE_TAIL_CUT], 1);
    assert_int_equal(events.last[STORE_TAIL_CUT].offset, 0);
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    see_stream(stream_path, &seen);
    assert_true(seen.closed);
    assert_true(seen.blocks < maker.blocks && seen.blocks > 0);
    assert_int_equal(seen.segments, count); /* one aside, one new */
    assert_int_equal(directory_entries(test_directory), count + 1);
    maker_close(&maker);
}

/* Extents whose checkpoint is damaged are no torn tail: a person must look at this. */
static void a_lost_first_checkpoint_is_not_guessed(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct store *store = NULL;
    struct maker maker;
    write_unclosed(0, 2, &maker);
    struct image before = load(stream_path);
    before.data[FORMAT_ALIGN + 70] ^= 1;
    save(stream_path, before.data, before.bytes);
    assert_int_equal(store_open(&store, &options), -EBADMSG);
    assert_null(store);
    struct image after = load(stream_path);
    assert_int_equal(after.bytes, before.bytes);
    assert_memory_equal(after.data, before.data, before.bytes);
    assert_int_equal(directory_entries(test_directory), 1);
    free(before.data);
    free(after.data);
    maker_close(&maker);
}

static void another_version_is_left_alone(void **unused)
{
    (void)unused;
    struct store_options options = options_of(NULL);
    struct store *store = NULL;
    struct maker maker;
    write_unclosed(0, 1, &maker);
    struct image image = load(stream_path);
    image.data[8] = FORMAT_VERSION + 1;
    save(stream_path, image.data, image.bytes);
    int rc = store_open(&store, &options);
    assert_true(rc == -ENOTSUP || rc == -EBADMSG); /* its CRC is wrong, too */
    assert_null(store);
    assert_int_equal(directory_entries(test_directory), 1);
    free(image.data);
    maker_close(&maker);
}

/* What a killed run was making ready is removed, and its lock taken over. */
static void remains_of_a_killed_run_are_cleared(void **unused)
{
    (void)unused;
    struct maker maker;
    struct seen seen;
    struct events events = {0};
    char name[128];
    write_unclosed(0, 1, &maker);
    snprintf(name, sizeof(name), "%s/.s.dbuf.next", test_directory);
    save(name, (const unsigned char *)"half made", 9);
    snprintf(name, sizeof(name), "%s/.s.dbuf.lock", test_directory);
    save(name, (const unsigned char *)"", 0);
    go_on(&events, &seen);
    assert_int_equal(directory_entries(test_directory), 1);
    maker_close(&maker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unused_room_is_given_back),     TEST(rotation_begins_a_new_segment),
        TEST(cut_anywhere_it_goes_on),       TEST(any_mixture_of_unwritten_pages),
        TEST(damage_in_the_middle_is_kept),  TEST(torn_tails_are_kept_apart),
        TEST(a_hollow_segment_is_put_aside), TEST(a_lost_first_checkpoint_is_not_guessed),
        TEST(another_version_is_left_alone), TEST(remains_of_a_killed_run_are_cleared),
    };
    int failed = 0;
    test_parent = "/tmp";
    failed += cmocka_run_group_tests_name("recover on disk", tests, NULL, NULL);
    test_parent = "/dev/shm";
    failed += cmocka_run_group_tests_name("recover on tmpfs", tests, NULL, NULL);
    return failed;
}
