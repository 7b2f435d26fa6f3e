/* SPDX-License-Identifier: MIT
 *
 * Replay: a process is ended before, in, or behind each single call that touches the output, and then
 * so is the one that stores what the first has left. In the end the files hold what was published, each
 * block once, in order, byte for byte; whatever the format, rotation and durability.
 */
#include "stream_fixture.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "../../src/buffer/control.h"
#include "../../src/buffer/db.h"
#include "../../src/buffer/region_read.h"
#include "../../src/daemon/replay.h"
#include "../../src/disk/raw.h"

enum { ROUNDS = 5, EXTENTS = 6, ENDED = 9, EXPECTED_BYTES = 4 << 20 };

static struct region region;

/* ---- The process that is ended --------------------------------------------------------------- */

/* Shared between the processes. */
static struct witness {
    uint64_t published[FIXTURE_WRITERS];
    uint32_t epoch;         /* that was last read */
    uint64_t before, bytes; /* of raw, before that half and with it */
    unsigned calls;         /* of the output that were made */
    unsigned char raw[EXPECTED_BYTES];
} * witness;

enum moment { BEFORE, IN, BEHIND, MOMENTS };

static struct {
    struct output output;
    unsigned end_at; /* which call ends the process */
    enum moment moment;
} gate;

static bool is_last(enum moment moment)
{
    return witness->calls == gate.end_at && gate.moment == moment;
}

/* Around every call: CALL is made, or not, and the process goes on, or not. */
#define GATED(call)                                                                                \
    witness->calls++;                                                                              \
    if (is_last(BEFORE) || is_last(IN))                                                            \
        _exit(ENDED);                                                                              \
    const int rc = (call);                                                                         \
    if (is_last(BEHIND))                                                                           \
        _exit(ENDED);                                                                              \
    return rc;

static int gated_open(void *context, const char *name, int flags)
{
    GATED(output_pwrite.open(context, name, flags))
}

static ssize_t gated_write(void *context, int fd, const struct iovec *pieces, int count,
                           off_t offset)
{
    witness->calls++;
    if (is_last(BEFORE))
        _exit(ENDED);
    if (is_last(IN)) { /* the last piece is written in part, or the only one */
        struct iovec torn = pieces[count - 1];
        off_t at = offset;
        for (int i = 0; i < count - 1; i++) {
            if (output_pwrite.write(context, fd, &pieces[i], 1, at) != (ssize_t)pieces[i].iov_len)
                _exit(1);
            at += (off_t)pieces[i].iov_len;
        }
        torn.iov_len = torn.iov_len > 4096 ? 4096 : torn.iov_len / 2; /* O_DIRECT: a page */
        (void)output_pwrite.write(context, fd, &torn, 1, at);
        _exit(ENDED);
    }
    const ssize_t rc = output_pwrite.write(context, fd, pieces, count, offset);
    if (is_last(BEHIND))
        _exit(ENDED);
    return rc;
}

static int gated_sync(void *context, int fd)
{
    GATED(output_pwrite.sync(context, fd))
}

static int gated_truncate(void *context, int fd, uint64_t bytes)
{
    GATED(output_pwrite.truncate(context, fd, bytes))
}

static int gated_allocate(void *context, int fd, uint64_t from, uint64_t to)
{
    GATED(output_pwrite.allocate(context, fd, from, to))
}

/* A small disk: on tmpfs every byte that is reserved is memory that is zeroed. */
static int little_room(void *context, int fd, uint64_t *ret)
{
    (void)context;
    (void)fd;
    *ret = 1 << 20;
    return 0;
}

static int gated_rename(void *context, const char *from, const char *to)
{
    GATED(output_pwrite.rename(context, from, to))
}

static int gated_remove(void *context, const char *name)
{
    GATED(output_pwrite.remove(context, name))
}

static int gated_sync_directory(void *context, const char *name)
{
    GATED(output_pwrite.sync_directory(context, name))
}

static void set_gate(unsigned end_at, enum moment moment)
{
    gate.output = output_pwrite;
    gate.output.open = gated_open;
    gate.output.write = gated_write;
    gate.output.sync = gated_sync;
    gate.output.truncate = gated_truncate;
    gate.output.allocate = gated_allocate;
    gate.output.free_bytes = little_room;
    gate.output.rename = gated_rename;
    gate.output.remove = gated_remove;
    gate.output.sync_directory = gated_sync_directory;
    gate.end_at = end_at;
    gate.moment = moment;
    witness->calls = 0;
}

/* One kind of life. */
struct life {
    enum store_format format;
    enum store_durability durability;
    uint64_t segment_bytes;
};

static void write_block(struct db *db, unsigned writer)
{
    const uint64_t block = witness->published[writer];
    void *room = db_write_begin(db_writer(db, writer), 1500);
    block_content(writer, block, room);
    db_write_end(db_writer(db, writer), block_length(writer, block), block_flags_of(writer, block),
                 block * 1000 + writer);
    witness->published[writer]++;
}

static void append_raw(unsigned char *to, uint64_t *at, const struct extent_header *extent)
{
    struct iovec pieces[2048];
    const int count = raw_pieces(extent, 0, pieces, 2048);
    assert_true(count < 2048);
    for (int i = 0; i < count; i++) {
        assert_true(*at + pieces[i].iov_len <= EXPECTED_BYTES);
        memcpy(to + *at, pieces[i].iov_base, pieces[i].iov_len);
        *at += pieces[i].iov_len;
    }
}

static size_t take_half(struct db *db, struct extent_header *extents[static EXTENTS])
{
    struct db_half half;
    size_t count = 0;
    if (db_read(db, 0, &half) != 1)
        return 0;
    uint64_t bytes = witness->bytes;
    for (uint32_t i = 0; i < EXTENTS; i++) {
        extents[count] = db_half_extent(&half, i);
        if (extents[count] != NULL)
            append_raw(witness->raw, &bytes, extents[count++]);
    }
    witness->before = witness->bytes;
    witness->bytes = bytes;
    witness->epoch = half.epoch;
    return count;
}

static struct db *the_db;

static void tell_region(void *unused, const struct store_target *target)
{
    (void)unused;
    const struct region_target kept = {.epoch = target->epoch,
                                       .number = target->number,
                                       .offset = target->offset,
                                       .position = target->position};
    db_set_target(the_db, &kept);
}

static struct store_options life_options(const struct life *life)
{
    return (struct store_options){.path = stream_path,
                                  .format = life->format,
                                  .durability = life->durability,
                                  .sync_interval_ns = 1,
                                  .segment_bytes = life->segment_bytes,
                                  .extent_bytes_max = EXTENT_BYTES,
                                  .writer_count = FIXTURE_WRITERS,
                                  .on_target = tell_region,
                                  .output = &gate.output};
}

/* Opens stream and buffer, goes on with what is published already. */
static void open_life(const struct life *life, struct store **ret_store)
{
    const struct store_options options = life_options(life);
    struct region_run run = {.format = life->format, .segment_bytes = life->segment_bytes};
    if (store_open(ret_store, &options) != 0)
        _exit(1);
    memcpy(run.stream_uuid, store_uuid(*ret_store), 16);
    strcpy(run.path, stream_path);
    const struct db_options db_options = {
        .geometry = {.extent_bytes = EXTENT_BYTES, .extent_count = EXTENTS},
        .writer_count = FIXTURE_WRITERS,
        .next_block = store_next_blocks(*ret_store),
        .first_epoch = UINT32_MAX - 1,
        .region = &region,
        .run = &run};
    if (db_open(&the_db, &db_options) != 0)
        _exit(1);
}

/* Halves of many sizes, the last ones still in memory at its end. */
static void live(const struct life *life)
{
    struct extent_header *extents[EXTENTS];
    struct store *store;
    open_life(life, &store);
    for (unsigned n = 0; n < ROUNDS * 100; n++) {
        if (n % 100 == 60 || db_state(the_db).halves_unstored) {
            const size_t count = take_half(the_db, extents);
            if (count > 0 && store_write(store, extents, count) != 0)
                _exit(1);
            db_release(the_db);
            (void)store_housekeep(store);
        }
        write_block(the_db, n % 7 % FIXTURE_WRITERS);
    }
    _exit(0);
}

/* Runs it as a process of its own that is ended at a call. 0: it has come to its end before. */
static int run_ended(void (*body)(const struct life *life), const struct life *life,
                     unsigned end_at, enum moment moment)
{
    int status;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        set_gate(end_at, moment);
        body(life);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != ENDED))
        fail_msg("the process ended with status %#x", (unsigned)status);
    return WEXITSTATUS(status);
}

/* ---- The process that comes after ------------------------------------------------------------ */

static struct region_view look(void)
{
    struct region_view view;
    assert_int_equal(region_look(region.map, region.bytes, &view), 0);
    return view;
}

static uint64_t blocks_left(void)
{
    const struct region_view view = look();
    return region_content(&view).blocks;
}

static void replay_all(const struct output *output, struct replay_account *ret)
{
    const struct region_view view = look();
    const struct replay_options options = {.output = output};
    struct replay *replay;
    int rc;
    assert_int_equal(replay_open(&replay, &view, &options), 0);
    while ((rc = replay_step(replay)) == 1)
        continue;
    assert_int_equal(rc, 0);
    replay_account(replay, ret);
    replay_free(replay);
    assert_int_equal(blocks_left(), 0);
}

static void replay_body(const struct life *unused)
{
    (void)unused;
    struct replay_account account;
    replay_all(&gate.output, &account);
    _exit(account.blocks_lost + account.blocks_doubtful + account.extents_damaged != 0);
}

/* What the raw files must hold: what was read from the buffer and released, and what the region has. */
static uint64_t expect_raw(void)
{
    struct region_view view = look();
    uint64_t bytes = witness->bytes;
    bool damaged;
    if (view.epoch_count > 0 && view.first_epoch == witness->epoch)
        bytes = witness->before;
    for (; view.epoch_count > 0; view.epoch_count--, view.first_epoch++)
        for (uint32_t i = 0; i < view.extent_count; i++) {
            const struct extent_header *extent =
                region_extent(&view, view.first_epoch, i, &damaged);
            if (extent != NULL)
                append_raw(witness->raw, &bytes, extent);
        }
    return bytes;
}

static void check_raw(uint64_t bytes)
{
    struct stream_files files;
    uint64_t at = 0;
    assert_int_equal(stream_list(stream_path, &files), 0);
    unsigned char *got = malloc(EXPECTED_BYTES);
    assert_non_null(got);
    for (size_t i = 0; i < files.count; i++) {
        int fd = open(files.files[i].path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        const ssize_t n = read(fd, got, EXPECTED_BYTES);
        assert_true(n >= 0 && at + (uint64_t)n <= bytes);
        assert_memory_equal(got, witness->raw + at, (size_t)n);
        at += (uint64_t)n;
        close(fd);
    }
    free(got);
    stream_files_free(&files);
    assert_int_equal(at, bytes);
}

/* The start goes on: its own stream begins where all ends that was published. */
static void go_on(const struct life *life)
{
    struct store_options options = life_options(life);
    struct store *store;
    options.on_target = NULL;
    options.output = NULL;
    assert_int_equal(store_open(&store, &options), 0);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_int_equal(store_next_blocks(store)[w], witness->published[w]);
    assert_int_equal(store_finish(store), 0);
    store_free(store);
}

static void check_segments(void)
{
    struct seen seen;
    see_stream(stream_path, &seen);
    assert_true(seen.closed);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_int_equal(seen.next_block[w], witness->published[w]);
}

static void begin(void)
{
    test_parent = "/dev/shm";
    assert_int_equal(make(NULL), 0);
    memset(region.map, 0, region.bytes);
    memset(witness, 0, sizeof(*witness) - EXPECTED_BYTES);
}

/* Ends a life at call `end_at`, then its replay at some of its own calls, and checks. 0: it lived. */
static int end_and_replay(const struct life *life, unsigned end_at, enum moment moment,
                          uint64_t *random)
{
    begin();
    const int status = run_ended(live, life, end_at, moment);
    struct region_view view;
    if (region_look(region.map, region.bytes, &view) == 0) {
        const uint64_t bytes = life->format == STORE_RAW ? expect_raw() : 0;
        const unsigned deaths = (unsigned)(next_random(random) % 4);
        for (unsigned n = 0; n < deaths; n++)
            if (blocks_left() > 0)
                run_ended(replay_body, life, 1 + (unsigned)(next_random(random) % 20),
                          (enum moment)(next_random(random) % MOMENTS));
        if (blocks_left() > 0)
            assert_int_equal(run_ended(replay_body, life, 0, BEFORE), 0);
        if (life->format == STORE_RAW)
            check_raw(bytes);
        else {
            go_on(life);
            check_segments();
        }
    } else
        assert_int_equal(witness->published[0], 0); /* ended before there was a buffer */
    remove_directory(test_directory);
    return status;
}

static void sweep(enum store_format format)
{
    uint64_t random = seed_of_run();
    unsigned ends = 0;
    for (int rotation = 0; rotation < 2; rotation++)
        for (int moment = 0; moment < MOMENTS; moment++)
            for (unsigned end_at = 1;; end_at++, ends++) {
                const struct life life = {
                    .format = format,
                    .durability = (enum store_durability)(end_at % 3),
                    .segment_bytes = rotation ? 8 * EXTENT_BYTES : 0,
                };
                if (end_and_replay(&life, end_at, (enum moment)moment, &random) == 0)
                    break;
            }
    print_message("# ended at %u calls\n", ends);
    assert_true(ends > 100);
}

static void segments_survive_an_end_at_any_call(void **unused)
{
    (void)unused;
    sweep(STORE_SEGMENTS);
}

static void raw_survives_an_end_at_any_call(void **unused)
{
    (void)unused;
    sweep(STORE_RAW);
}

/* ---- What has happened in between ------------------------------------------------------------ */

/* A life that ends at its last call, with its last half on the disk or not; its last segment is *ret. */
static void end_at_last(const struct life *life, enum moment moment, struct stream_file *ret)
{
    struct stream_files files;
    begin();
    assert_int_equal(run_ended(live, life, 0, BEFORE), 0);
    assert_int_equal(stream_list(stream_path, &files), 0);
    const unsigned calls = witness->calls;
    stream_files_free(&files);
    remove_directory(test_directory);
    begin();
    assert_int_equal(run_ended(live, life, calls, moment), ENDED);
    assert_int_equal(stream_list(stream_path, &files), 0);
    *ret = files.files[files.count - 1];
    ret->path = strdup(ret->path);
    stream_files_free(&files);
}

static void without_its_segments_a_new_stream_begins(void **unused)
{
    (void)unused;
    const struct life life = {.format = STORE_SEGMENTS, .segment_bytes = 8 * EXTENT_BYTES};
    struct stream_files files;
    struct stream_file last;
    struct replay_account account;
    struct seen seen;
    end_at_last(&life, BEHIND, &last);
    free(last.path);
    assert_int_equal(stream_list(stream_path, &files), 0);
    for (size_t i = 0; i < files.count; i++)
        assert_int_equal(unlink(files.files[i].path), 0);
    stream_files_free(&files);
    const uint64_t blocks = blocks_left();
    replay_all(NULL, &account);
    assert_int_equal(account.blocks, blocks);
    assert_int_equal(account.blocks_lost, 0); /* they are where their files are */
    see_stream(stream_path, &seen);
    assert_int_equal(seen.blocks, blocks);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_int_equal(seen.next_block[w], witness->published[w]);
    remove_directory(test_directory);
}

static void a_lost_segment_is_a_gap_that_is_counted(void **unused)
{
    (void)unused;
    const struct life life = {.format = STORE_SEGMENTS, .segment_bytes = 8 * EXTENT_BYTES};
    struct stream_file last;
    struct replay_account account;
    end_at_last(&life, BEHIND, &last);
    assert_int_equal(unlink(last.path), 0);
    free(last.path);
    const uint64_t blocks = blocks_left();
    replay_all(NULL, &account);
    assert_int_equal(account.blocks + account.blocks_there, blocks);
    assert_true(account.blocks_lost > 0);
    assert_int_equal(account.blocks_doubtful, 0);
    remove_directory(test_directory);
}

static void another_stream_is_left_alone(void **unused)
{
    (void)unused;
    const struct life life = {.format = STORE_SEGMENTS};
    struct control *control = region.map;
    struct stream_file last;
    struct stat before, after;
    struct replay *replay;
    end_at_last(&life, BEHIND, &last);
    control->run.stream_uuid[3] ^= 1;
    const struct region_view view = look();
    const struct replay_options options = {0};
    assert_int_equal(stat(last.path, &before), 0);
    assert_int_equal(replay_open(&replay, &view, &options), 0);
    assert_int_equal(replay_step(replay), -ESTALE);
    assert_int_equal(replay_step(replay), -ESTALE);
    replay_free(replay);
    assert_int_equal(stat(last.path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_true(region_content(&view).blocks > 0);
    free(last.path);
    remove_directory(test_directory);
}

static void assert_stale(void)
{
    const struct region_view view = look();
    const struct replay_options options = {0};
    struct replay *replay;
    assert_int_equal(replay_open(&replay, &view, &options), 0);
    assert_int_equal(replay_step(replay), -ESTALE);
    replay_free(replay);
    assert_true(region_content(&view).blocks > 0);
}

/* A run that did not know of the region has given its blocks' sequences to others. */
static void a_stream_that_has_gone_on_is_left_alone(void **unused)
{
    (void)unused;
    for (uint64_t segment_bytes = 0; segment_bytes <= 8 * EXTENT_BYTES;
         segment_bytes += 8 * EXTENT_BYTES) {
        const struct life life = {.format = STORE_SEGMENTS, .segment_bytes = segment_bytes};
        struct store_options options = life_options(&life);
        struct stream_file last;
        struct maker maker;
        end_at_last(&life, BEFORE, &last);
        free(last.path);
        options.on_target = NULL;
        options.output = NULL;
        struct store *store = open_with(&options, &maker, 3);
        maker.epoch = 70; /* its blocks look the same, but are cut otherwise */
        write_halves(store, &maker, 1);
        close_both(store, &maker);
        assert_stale();
        remove_directory(test_directory);
    }
}

static void a_raw_file_that_has_gone_on_is_left_alone(void **unused)
{
    (void)unused;
    const struct life life = {.format = STORE_RAW};
    struct stream_file last;
    end_at_last(&life, BEHIND, &last);
    int fd = open(last.path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "more", 4), 4);
    close(fd);
    free(last.path);
    assert_stale();
    remove_directory(test_directory);
}

/* Writes of one half may reach the disk in any order when several are in flight. */
static void whole_extents_behind_a_torn_one_come_again(void **unused)
{
    (void)unused;
    const struct life life = {.format = STORE_SEGMENTS, .durability = DURABILITY_NONE};
    const unsigned char zeros[4096] = {0};
    struct stream_file last;
    struct replay_account account;
    begin();
    unsigned end_at = 0;
    /* The last write of all: with durability none nothing comes behind it. */
    assert_int_equal(run_ended(live, &life, 0, BEFORE), 0);
    end_at = witness->calls;
    remove_directory(test_directory);
    begin();
    assert_int_equal(run_ended(live, &life, end_at, BEHIND), ENDED);
    const struct region_target target = control_target(region.map);
    assert_int_equal(target.epoch, look().first_epoch);
    last.path = stream_path;
    int fd = open(last.path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (off_t)target.offset), sizeof(zeros));
    close(fd);
    replay_all(NULL, &account);
    assert_int_equal(account.blocks_there, 0);
    assert_int_equal(account.blocks_lost, 0);
    check_segments();
    remove_directory(test_directory);
}

static void damage_costs_only_what_is_damaged(void **unused)
{
    (void)unused;
    const struct life life = {.format = STORE_SEGMENTS};
    struct stream_file last;
    struct replay_account account;
    bool damaged;
    end_at_last(&life, BEHIND, &last);
    free(last.path);
    struct region_view view = look();
    const uint64_t blocks = region_content(&view).blocks;
    const struct extent_header *extent = NULL;
    for (uint32_t i = 0; i < EXTENTS && (extent == NULL || extent->block_count < 2); i++)
        extent = region_extent(&view, view.first_epoch, i, &damaged);
    assert_non_null(extent);
    assert_true(extent->block_count > 1);
    const uint32_t lost = extent->block_count - 1;
    unsigned char *data = (unsigned char *)(uintptr_t)(extent + 1);
    data += block_bytes(((struct block_header *)data)->length);
    ((struct block_header *)data)->length = UINT32_MAX; /* the second one's */
    assert_int_equal(region_content(&view).damaged, 1);
    replay_all(NULL, &account);
    assert_int_equal(account.extents_damaged, 1);
    assert_int_equal(account.blocks + account.blocks_there, blocks - lost);
    assert_int_equal(account.blocks_doubtful, 0);
    remove_directory(test_directory);
}

static void a_disk_that_refuses_is_asked_again(void **unused)
{
    (void)unused;
    static const int errors[] = {ENOSPC, EIO};
    for (int call = 0; call < CALLS; call++)
        for (size_t e = 0; e < sizeof(errors) / sizeof(*errors); e++)
            for (unsigned first = 1; first <= 3; first++) {
                const struct life life = {.format = (e + first) % 2 ? STORE_RAW : STORE_SEGMENTS,
                                          .segment_bytes = first % 2 ? 8 * EXTENT_BYTES : 0};
                struct stream_file last;
                struct replay *replay;
                struct faulty faulty;
                int rc, refused = 0;
                end_at_last(&life, BEHIND, &last);
                free(last.path);
                const uint64_t bytes = life.format == STORE_RAW ? expect_raw() : 0;
                const struct region_view view = look();
                faulty_init(&faulty, (enum call)call, first, 3, errors[e]);
                faulty.room = 4 << 20;
                const struct replay_options options = {.output = &faulty.output};
                assert_int_equal(replay_open(&replay, &view, &options), 0);
                while ((rc = replay_step(replay)) != 0)
                    if (rc < 0 && ++refused > 10)
                        fail_msg("%s is refused for ever", strerror(-rc));
                replay_free(replay);
                if (life.format == STORE_RAW)
                    check_raw(bytes);
                else
                    check_segments();
                remove_directory(test_directory);
            }
}

static int make_shared(void **unused)
{
    (void)unused;
    witness =
        mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return witness == MAP_FAILED ||
           region_open(&region, REGION_CONTROL_BYTES + 2 * EXTENTS * EXTENT_BYTES) != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_survive_an_end_at_any_call),
        cmocka_unit_test(raw_survives_an_end_at_any_call),
        cmocka_unit_test(without_its_segments_a_new_stream_begins),
        cmocka_unit_test(a_lost_segment_is_a_gap_that_is_counted),
        cmocka_unit_test(another_stream_is_left_alone),
        cmocka_unit_test(a_stream_that_has_gone_on_is_left_alone),
        cmocka_unit_test(a_raw_file_that_has_gone_on_is_left_alone),
        cmocka_unit_test(whole_extents_behind_a_torn_one_come_again),
        cmocka_unit_test(damage_costs_only_what_is_damaged),
        cmocka_unit_test(a_disk_that_refuses_is_asked_again),
    };
    return cmocka_run_group_tests_name("replay", tests, make_shared, NULL);
}
