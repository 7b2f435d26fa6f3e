/* SPDX-License-Identifier: MIT
 *
 * The region: what may be taken over, and what is read from it when its process has ended at each
 * single step of the protocol, or when it holds just any bytes.
 *
 * db.c is included, not linked, so that its steps can be ended at.
 */
struct db_writer;
static void step_here(const char *step, const struct db_writer *writer);
#define DB_STEP(step, writer) step_here(step, writer)
#include "../../src/buffer/db.c"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "../../src/buffer/region_read.h"
#include "../stress/blocks.h"

enum { WRITERS = 2, EXTENT = 4096, EXTENTS = 4, BLOCKS = 120 };

static const struct blocks blocks = {
    .seed = 5, .writer_count = WRITERS, .min_block = 1, .max_block = 900};

/* ---- Ended at each step ---------------------------------------------------------------------- */

/* Shared between the process that is ended and the one that looks. */
struct witness {
    uint64_t published[WRITERS]; /* blocks that count, from the moment on that they do */
    uint64_t taken[WRITERS];     /* blocks that the reader has had, from before it releases them */
};

static struct {
    struct witness *witness;
    unsigned end_at; /* which step ends the process; 0: none */
    unsigned passed;
} run;

static void step_here(const char *step, const struct db_writer *writer)
{
    if (run.witness != NULL && writer != NULL && strcmp(step, "published") == 0)
        run.witness->published[writer->number - 1]++;
    if (++run.passed == run.end_at)
        _exit(9);
}

static void take_half(struct db *db, struct witness *witness)
{
    struct db_half half;
    if (db_read(db, 0, &half) != 1)
        return;
    for (uint32_t i = 0; i < EXTENTS; i++) {
        const struct extent_header *extent = db_half_extent(&half, i);
        if (extent != NULL)
            witness->taken[extent->writer] = extent->first_block + extent->block_count;
    }
    db_release(db);
}

/* Both writers in turn, and the reader whenever a half is sealed, or now and then before. */
static void write_and_read(const struct region *region, struct witness *witness)
{
    const struct db_options options = {
        .geometry = {.extent_bytes = EXTENT, .extent_count = EXTENTS},
        .writer_count = WRITERS,
        .first_epoch = UINT32_MAX - 1,
        .region = region};
    struct db *db;
    if (db_open(&db, &options) != 0)
        _exit(1);
    for (unsigned n = 0; n < WRITERS * BLOCKS; n++) {
        if (db_state(db).halves_unstored || n % 41 == 40)
            take_half(db, witness);
        struct db_writer *w = db_writer(db, n % WRITERS);
        void *room = db_write_begin(w, 900);
        if (n % 13 == 12)
            db_write_cancel(w);
        else
            db_write_end(w,
                         blocks_fill(&blocks, n % WRITERS, witness->published[n % WRITERS], room),
                         n % WRITERS, witness->published[n % WRITERS]);
    }
    db->region = (struct region){0}; /* it stays, as after a kill */
    db_free(db);
}

/* Everything in the region follows on what was taken, up to what was published, byte for byte. */
static void check_left(const struct region *region, const struct witness *witness)
{
    struct region_view view;
    uint64_t next[WRITERS];
    uint64_t seen = 0, data = 0;
    bool first[WRITERS] = {true, true};
    bool damaged;

    const int rc = region_look(region->map, region->bytes, &view);
    if (rc == -ENODATA) { /* it was not yet open */
        assert_int_equal(witness->published[0] + witness->published[1], 0);
        return;
    }
    assert_int_equal(rc, 0);
    const struct region_content content = region_content(&view);
    memcpy(next, witness->taken, sizeof(next));
    for (uint32_t e = 0; e < view.epoch_count; e++) {
        for (uint32_t i = 0; i < view.extent_count; i++) {
            struct extent_header *extent = region_extent(&view, view.first_epoch + e, i, &damaged);
            assert_false(damaged);
            if (extent == NULL)
                continue;
            if (first[extent->writer]) {
                assert_true(extent->first_block <= witness->taken[extent->writer]);
                next[extent->writer] = extent->first_block;
                first[extent->writer] = false;
            }
            blocks_check(&blocks, extent, next);
            seen += extent->block_count;
        }
    }
    for (unsigned w = 0; w < WRITERS; w++) {
        assert_int_equal(next[w], witness->published[w]);
        data += witness->published[w];
    }
    assert_int_equal(content.blocks, seen);
    assert_int_equal(content.damaged, 0);
    assert_true(seen <= data);
    while (view.epoch_count > 0)
        region_stored(&view);
    assert_int_equal(region_look(region->map, region->bytes, &view), 0);
    assert_int_equal(region_content(&view).blocks, 0);
}

static void ended_at_any_step_leaves_what_was_published(void **unused)
{
    (void)unused;
    struct witness *witness =
        mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned steps = 0;
    int status = 9;

    assert_ptr_not_equal(witness, MAP_FAILED);
    struct region region;
    assert_int_equal(region_open(&region, REGION_CONTROL_BYTES + 2 * EXTENTS * EXTENT), 0);
    while (status == 9) {
        memset(witness, 0, sizeof(*witness));
        memset(region.map, 0, region.bytes);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            run.witness = witness;
            run.end_at = steps + 1;
            write_and_read(&region, witness);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        status = WEXITSTATUS(status);
        check_left(&region, witness);
        steps++;
    }
    region_close(&region);
    assert_int_equal(status, 0);
    print_message("# ended at each of %u steps\n", steps - 1);
    assert_true(steps > 3 * WRITERS * BLOCKS);
    assert_int_equal(munmap(witness, sizeof(*witness)), 0);
}

/* ---- Any bytes ------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Reads all that can be read, as a recovery would, and touches every byte of it. */
static uint64_t read_all(void *map, size_t bytes)
{
    struct region_view view;
    uint64_t sum = 0;
    bool damaged;

    if (region_look(map, bytes, &view) < 0)
        return 0;
    const struct region_content content = region_content(&view);
    uint64_t count = 0;
    while (view.epoch_count > 0) {
        for (uint32_t i = 0; i < view.extent_count; i++) {
            struct extent_header *extent = region_extent(&view, view.first_epoch, i, &damaged);
            if (extent == NULL)
                continue;
            assert_true(extent->writer < view.writer_count);
            assert_true(sizeof(*extent) + extent->used <= view.extent_bytes);
            const unsigned char *data = (const void *)(extent + 1);
            for (uint32_t at = 0; at < extent->used; at++)
                sum += data[at];
            count += extent->block_count;
            assert_ptr_equal(region_extent(&view, view.first_epoch, i, &damaged), extent);
            assert_false(damaged); /* what was put right stays right */
        }
        region_stored(&view);
    }
    assert_int_equal(count, content.blocks);
    return sum;
}

static void any_bytes_are_read_safely(void **unused)
{
    (void)unused;
    const char *given = getenv("SEED");
    uint64_t seed = (given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)) | 1;
    enum { BYTES = REGION_CONTROL_BYTES + 2 * EXTENTS * EXTENT };
    struct region region;
    struct witness witness = {0};

    print_message("# SEED=%llu\n", (unsigned long long)seed);
    assert_int_equal(region_open(&region, BYTES), 0);
    write_and_read(&region, &witness);
    for (int round = 0; round < 3000; round++) {
        unsigned char *copy = aligned_alloc(4096, BYTES); /* so that a sanitizer sees its end */
        assert_non_null(copy);
        memcpy(copy, region.map, BYTES);
        for (uint64_t n = mix(&seed) % 20 + 1; n > 0; n--) {
            const uint64_t where = mix(&seed) % 4;
            size_t at = where == 0 ? mix(&seed) % 256
                                   : REGION_CONTROL_BYTES + mix(&seed) % (2 * EXTENTS) * EXTENT +
                                         mix(&seed) % (where == 1 ? 64 : EXTENT);
            copy[at] = (unsigned char)(where == 3 ? 0xff : mix(&seed));
        }
        (void)read_all(copy, BYTES);
        free(copy);
    }
    region_close(&region);
}

static void what_is_no_region_is_refused(void **unused)
{
    (void)unused;
    struct region region;
    struct region_view view;
    struct witness witness = {0};
    struct control *control;

    assert_int_equal(region_open(&region, REGION_CONTROL_BYTES + 2 * EXTENTS * EXTENT), 0);
    control = region.map;
    assert_int_equal(region_look(region.map, region.bytes, &view), -ENODATA);
    write_and_read(&region, &witness);
    assert_int_equal(region_look(region.map, region.bytes, &view), 0);
    assert_int_equal(region_look(region.map, 4096, &view), -EBADMSG);
    control->extent_count++;
    if (region.bytes < (1 << 20)) /* a huge page has room for more */
        assert_int_equal(region_look(region.map, region.bytes, &view), -EBADMSG);
    control->extent_count = EXTENTS;
    control->writer_count = 1025;
    assert_int_equal(region_look(region.map, region.bytes, &view), -EBADMSG);
    control->writer_count = WRITERS;
    atomic_fetch_sub(&control->stored, 2);
    assert_int_equal(region_look(region.map, region.bytes, &view), -EBADMSG);
    atomic_fetch_add(&control->stored, 2);
    memset(control->run.path, 'x', sizeof(control->run.path));
    assert_int_equal(region_look(region.map, region.bytes, &view), -EBADMSG);
    control->run.path[REGION_PATH_BYTES - 1] = '\0';
    assert_int_equal(region_look(region.map, region.bytes, &view), 0);
    control->version++;
    assert_int_equal(region_look(region.map, region.bytes, &view), -ENOTSUP);
    atomic_store(&control->magic, 77);
    assert_int_equal(region_look(region.map, region.bytes, &view), -EBADMSG);
    region_close(&region);
}

/* ---- Taking over ----------------------------------------------------------------------------- */

static void a_memfd_is_taken_over_as_it_is(void **unused)
{
    (void)unused;
    struct region region, again;
    assert_int_equal(region_open(&region, 8 * 4096), 0);
    memcpy(region.map, "left behind", 12);
    int fd = dup(region.fd);
    const size_t bytes = region.bytes;
    region_close(&region);
    assert_int_equal(region_adopt(&again, fd), 0);
    assert_int_equal(again.bytes, bytes);
    assert_string_equal(again.map, "left behind");
    region_close(&again);
}

static void what_could_change_under_us_is_not_taken_over(void **unused)
{
    (void)unused;
    struct region region;
    int unsealed = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int pipes[2];

    assert_int_equal(ftruncate(unsealed, 8192), 0);
    assert_int_equal(region_adopt(&region, unsealed), -EBADMSG);
    assert_int_equal(fcntl(unsealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(ftruncate(unsealed, 8193), 0);
    assert_int_equal(region_adopt(&region, unsealed), -EBADMSG);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(region_adopt(&region, pipes[0]), -EBADMSG);
    close(unsealed);
    close(pipes[0]);
    close(pipes[1]);
}

static void a_file_is_taken_by_one_and_kept_until_it_is_opened_anew(void **unused)
{
    (void)unused;
    char directory[] = "/tmp/dbufd-test.XXXXXX";
    char path[64], copy[64];
    struct region region, again;
    struct stat status;

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/region", directory);
    snprintf(copy, sizeof(copy), "%s/copy", directory);
    int fd = region_open_file(path);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(region_open_file(path), -EWOULDBLOCK);
    assert_int_equal(region_adopt(&region, fd), -EBADMSG); /* it is empty */
    assert_int_equal(region_open_in(&region, fd, 8191), 0);
    assert_int_equal(region.bytes, 8192);
    memcpy(region.map, "in a file", 10);
    assert_int_equal(region_save(&region, copy), 0);
    assert_int_equal(region_save(&region, copy), -EEXIST);
    assert_int_equal(region_open_file(path), -EWOULDBLOCK);
    region_close(&region);

    fd = region_open_file(path);
    assert_true(fd >= 0);
    assert_int_equal(region_adopt(&region, dup(fd)), 0);
    assert_string_equal(region.map, "in a file");
    region_close(&region);
    assert_int_equal(region_open_file(path),
                     -EWOULDBLOCK); /* the lock is the descriptors' common */
    assert_int_equal(region_open_in(&region, fd, 8192), 0);
    assert_string_equal(region.map, "");
    region_close(&region);

    assert_int_equal(region_adopt_copy(&again, copy), 0);
    assert_string_equal(again.map, "in a file");
    memset(again.map, 0, 100);
    region_close(&again);
    assert_int_equal(region_adopt_copy(&again, copy), 0);
    assert_string_equal(again.map, "in a file");
    region_close(&again);
    assert_int_equal(region_open_file(directory), -EISDIR);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(copy), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void a_target_is_there_or_the_one_before(void **unused)
{
    (void)unused;
    static struct control control;
    for (uint32_t n = 1; n < 5; n++) {
        const struct region_target before = control_target(&control);
        const struct region_target target = {.epoch = n, .offset = 10 * n};
        assert_int_equal(before.epoch, n - 1);
        control_set_target(&control, &target);
        assert_int_equal(control_target(&control).offset, 10 * n);
        /* The one before is untouched: whoever was interrupted before the last store finds it. */
        assert_memory_equal(&control.targets[!atomic_load(&control.target)], &before,
                            sizeof(before));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ended_at_any_step_leaves_what_was_published),
        cmocka_unit_test(any_bytes_are_read_safely),
        cmocka_unit_test(what_is_no_region_is_refused),
        cmocka_unit_test(a_memfd_is_taken_over_as_it_is),
        cmocka_unit_test(what_could_change_under_us_is_not_taken_over),
        cmocka_unit_test(a_file_is_taken_by_one_and_kept_until_it_is_opened_anew),
        cmocka_unit_test(a_target_is_there_or_the_one_before),
    };
    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
