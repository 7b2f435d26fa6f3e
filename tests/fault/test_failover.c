/* SPDX-License-Identifier: MIT
 *
 * store: a place that is dead, for a while or for good, and the other place where the stream goes on.
 * Whatever fails at the one, verify proves the stream whole over both.
 */
#include "verdict.h"

#include <unistd.h>

enum { RUN_LIMIT_S = 60, TRIES = 10 };

/* Calls that find a place dead. */
struct places {
    struct output output;
    const char *dead; /* directory; NULL: none is */
    bool both;        /* the other one, too */
    bool only_writes; /* writes fail, and syncs */
    bool only_large;  /* writes fail, but for a header and its checkpoint */
    int error;
    unsigned calls;     /* that were made */
    unsigned dead_from; /* the how manieth finds `home` dead, and those behind it; 0: none */
    bool fd_is_home[1024];
};

static char home[64], away[64], home_path[96], away_path[96];

static bool is_home_path(const char *path)
{
    return strncmp(path, home, strlen(home)) == 0;
}

static bool is_dead(struct places *places, bool at_home, bool is_write)
{
    places->calls++;
    if (places->dead_from > 0 && places->calls >= places->dead_from)
        places->dead = home;
    if (places->only_writes && !is_write)
        return false;
    return places->both || (places->dead && at_home == (places->dead == home));
}

static int places_open(void *context, const char *path, int flags)
{
    struct places *places = context;
    if (is_dead(places, is_home_path(path), false))
        return -places->error;
    int fd = output_pwrite.open(NULL, path, flags);
    if (fd >= 0)
        places->fd_is_home[fd] = is_home_path(path);
    return fd;
}

static ssize_t places_write(void *context, int fd, const struct iovec *pieces, int count,
                            off_t offset)
{
    struct places *places = context;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    if (!is_dead(places, places->fd_is_home[fd], true) ||
        (places->only_large && bytes <= 2 * FORMAT_ALIGN))
        return output_pwrite.write(NULL, fd, pieces, count, offset);
    return -places->error;
}

static int places_sync(void *context, int fd)
{
    struct places *places = context;
    return is_dead(places, places->fd_is_home[fd], true) && !places->only_large
               ? -places->error
               : output_pwrite.sync(NULL, fd);
}

static int places_truncate(void *context, int fd, uint64_t bytes)
{
    struct places *places = context;
    return is_dead(places, places->fd_is_home[fd], false) ? -places->error
                                                          : output_pwrite.truncate(NULL, fd, bytes);
}

static int places_allocate(void *context, int fd, uint64_t from, uint64_t to)
{
    struct places *places = context;
    return is_dead(places, places->fd_is_home[fd], false)
               ? -places->error
               : output_pwrite.allocate(NULL, fd, from, to);
}

static int places_free_bytes(void *context, int fd, uint64_t *ret)
{
    struct places *places = context;
    *ret = 1 << 20; /* tmpfs is slow at allocating more */
    return is_dead(places, places->fd_is_home[fd], false) ? -places->error : 0;
}

static int places_rename(void *context, const char *from, const char *to)
{
    struct places *places = context;
    return is_dead(places, is_home_path(from), false) ? -places->error
                                                      : output_pwrite.rename(NULL, from, to);
}

static int places_remove(void *context, const char *path)
{
    struct places *places = context;
    return is_dead(places, is_home_path(path), false) ? -places->error
                                                      : output_pwrite.remove(NULL, path);
}

static int places_sync_directory(void *context, const char *path)
{
    struct places *places = context;
    return is_dead(places, is_home_path(path), false) ? -places->error
                                                      : output_pwrite.sync_directory(NULL, path);
}

static struct places places_of(int error)
{
    return (struct places){.error = error,
                           .output = {.write_bytes = output_pwrite.write_bytes,
                                      .open = places_open,
                                      .write = places_write,
                                      .sync = places_sync,
                                      .truncate = places_truncate,
                                      .allocate = places_allocate,
                                      .settle = output_pwrite.settle,
                                      .free_bytes = places_free_bytes,
                                      .rename = places_rename,
                                      .remove = places_remove,
                                      .sync_directory = places_sync_directory}};
}

/* ---- Runs ---- */

static struct store_options options_of_places(struct places *places, struct events *events,
                                              uint64_t segment_bytes)
{
    struct store_options options = options_of(events);

    places->output.context = places;
    options.output = &places->output;
    options.path = home_path;
    options.failover_path = away_path;
    options.segment_bytes = segment_bytes;
    return options;
}

/* Stores a half; it may take some calls. Returns how many. */
static int store_one(struct store *store, struct maker *maker)
{
    int tries = 1;

    make_half(maker, HALF_EXTENTS);
    while (store_write(store, maker->headers, HALF_EXTENTS) < 0)
        assert_true(++tries <= TRIES);
    assert_int_equal(store_account(store).blocks, maker->blocks);
    assert_int_equal(store_account(store).durable_bytes, maker->bytes);
    (void)store_housekeep(store);
    return tries;
}

static void close_store(struct store *store, struct maker *maker)
{
    int tries = 1;

    while (store_finish(store) < 0)
        assert_true(++tries <= TRIES);
    store_free(store);
    maker_close(maker);
}

static void whole_over_both(uint64_t blocks)
{
    struct verdict *verdict = malloc(sizeof(*verdict));
    struct stream_files files;
    char *paths[] = {home_path, away_path};
    size_t count = 0;

    assert_non_null(verdict);
    assert_int_equal(stream_list(away_path, &files), 0);
    count = files.count;
    stream_files_free(&files);
    verdict_of(verdict, paths, count > 0 ? 2 : 1);
    verdict_print(verdict);
    assert_int_equal(verdict->count, 0);
    assert_int_equal(verdict->result.end, VERIFY_CLOSED);
    assert_int_equal(verdict->result.blocks, blocks);
    free(verdict);
}

static int make_places(void **unused)
{
    (void)unused;
    make_directory("/dev/shm", home);
    make_directory("/dev/shm", away);
    snprintf(home_path, sizeof(home_path), "%s/s.dbuf", home);
    snprintf(away_path, sizeof(away_path), "%s/s.dbuf", away);
    alarm(RUN_LIMIT_S);
    return 0;
}

static int clear_places(void **unused)
{
    (void)unused;
    alarm(0);
    remove_directory(home);
    remove_directory(away);
    return 0;
}

/* ---- The tests ---- */

/* It dies between two halves: the next one is at the other place; alive again, the next segment is at
 * home; both together are whole. */
static void goes_there_and_comes_back(void **unused)
{
    (void)unused;
    static const int errors[] = {EIO, EROFS, ENODEV, ESTALE, ENOENT, EACCES};
    for (size_t i = 0; i < 2 * sizeof(errors) / sizeof(errors[0]); i++) {
        struct places places = places_of(errors[i / 2]);
        struct events events = {0};
        uint64_t segment_bytes = i % 2 ? 0 : 30 * EXTENT_BYTES;
        struct store_options options = options_of_places(&places, &events, segment_bytes);
        struct maker maker;
        clear_places(NULL);
        make_places(NULL);
        struct store *store = open_with(&options, &maker, seed_of_run());
        store_one(store, &maker);
        assert_true(is_home_path(store_path(store)));
        places.dead = home;
        assert_int_equal(store_one(store, &maker), 1); /* nobody had to wait */
        assert_false(is_home_path(store_path(store)));
        assert_int_equal(events.count[STORE_FAILED_OVER], 1);
        assert_int_equal(events.last[STORE_FAILED_OVER].error, errors[i / 2]);
        store_rotate(store);
        store_one(store, &maker);
        assert_false(is_home_path(store_path(store)));
        places.dead = NULL;
        store_one(store, &maker);
        store_rotate(store);
        store_one(store, &maker);
        assert_true(is_home_path(store_path(store)));
        assert_int_equal(events.count[STORE_CAME_BACK], 1);
        uint64_t blocks = maker.blocks;
        close_store(store, &maker);
        whole_over_both(blocks);
    }
}

/* A disk on which segments can be begun, and no more than that. */
static void a_place_where_segments_are_left_is_not_trusted(void **unused)
{
    (void)unused;
    struct places places = places_of(EIO);
    struct events events = {0};
    struct store_options options = options_of_places(&places, &events, 30 * EXTENT_BYTES);
    struct maker maker;
    struct store *store = open_with(&options, &maker, seed_of_run());

    store_one(store, &maker);
    places.only_writes = places.only_large = true;
    places.dead = home;
    assert_true(store_one(store, &maker) <= 2);
    assert_false(is_home_path(store_path(store)));
    store_rotate(store);
    store_one(store, &maker); /* one more try, and away again */
    assert_false(is_home_path(store_path(store)));
    places.dead = NULL;
    store_rotate(store);
    store_one(store, &maker);
    assert_true(is_home_path(store_path(store)));
    uint64_t blocks = maker.blocks;
    close_store(store, &maker);
    whole_over_both(blocks);
}

/* The next run finds the end of the stream there, and goes on at home. */
static void the_next_run_goes_home(void **unused)
{
    (void)unused;
    for (int rotates = 0; rotates < 2; rotates++) {
        struct places places = places_of(EIO);
        struct store_options options =
            options_of_places(&places, NULL, rotates ? 30 * EXTENT_BYTES : 0);
        struct maker maker;
        uint64_t blocks = 0;
        clear_places(NULL);
        make_places(NULL);
        for (int run = 0; run < 3; run++) {
            places.dead = NULL;
            struct store *store = open_with(&options, &maker, seed_of_run() + (uint64_t)run);
            assert_true(is_home_path(store_path(store)));
            store_one(store, &maker);
            places.dead = run < 2 ? home : NULL;
            store_one(store, &maker);
            assert_int_equal(is_home_path(store_path(store)), run == 2);
            blocks += maker.blocks;
            close_store(store, &maker);
        }
        whole_over_both(blocks);
    }
}

/* Both are dead: it waits, and goes on where there is a disk again, whichever that is. */
static void both_dead_is_waited_for(void **unused)
{
    (void)unused;
    for (int which = 0; which < 2; which++) {
        struct places places = places_of(EIO);
        struct store_options options = options_of_places(&places, NULL, 30 * EXTENT_BYTES);
        struct maker maker;
        clear_places(NULL);
        make_places(NULL);
        struct store *store = open_with(&options, &maker, seed_of_run());
        store_one(store, &maker);
        places.both = true;
        make_half(&maker, HALF_EXTENTS);
        for (int i = 0; i < 6; i++)
            assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -EIO);
        places.both = false;
        places.dead = which ? home : away;
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
        assert_int_equal(is_home_path(store_path(store)), !which);
        uint64_t blocks = maker.blocks;
        places.dead = NULL;
        close_store(store, &maker);
        whole_over_both(blocks);
    }
}

/* A dead place is let go of, also if there is no other, so that it can be unmounted; one that cannot be
 * written is not for another process to take. */
static void a_dead_place_is_let_go_of(void **unused)
{
    (void)unused;
    static const struct {
        int error;
        bool is_kept;
    } cases[] = {{EIO, false}, {ENODEV, false}, {EROFS, false}, {EACCES, true}, {EPERM, true}};
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        struct places places = places_of(cases[i / 2].error);
        struct store_options options = options_of_places(&places, NULL, 30 * EXTENT_BYTES);
        struct maker maker;
        pid_t holder;
        clear_places(NULL);
        make_places(NULL);
        if (i % 2)
            options.failover_path = NULL;
        struct store *store = open_with(&options, &maker, seed_of_run());
        store_one(store, &maker);
        places.dead = home;
        make_half(&maker, HALF_EXTENTS);
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS),
                         i % 2 ? -places.error : 0);
        assert_int_equal(stream_holder(home_path, &holder), cases[i / 2].is_kept);
        places.dead = NULL;
        if (i % 2)
            assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
        store_rotate(store);
        store_one(store, &maker);
        assert_int_equal(stream_holder(home_path, &holder), 1);
        uint64_t blocks = maker.blocks;
        close_store(store, &maker);
        whole_over_both(blocks);
    }
}

/* Another process has the stream while its place is dead for us, and goes on with it: what it has stored
 * is not written over, and no sequence is given out twice, whichever name the next segment would have. */
static void what_another_run_has_stored_is_kept(void **unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++) {
        struct places places = places_of(EIO);
        struct store_options options =
            options_of_places(&places, NULL, i % 2 ? 30 * EXTENT_BYTES : 0);
        struct maker maker, others_maker;
        struct store *others;
        clear_places(NULL);
        make_places(NULL);
        if (i < 2)
            options.failover_path = NULL;
        struct store *store = open_with(&options, &maker, seed_of_run());
        store_one(store, &maker);
        uint64_t blocks = maker.blocks;
        places.dead = home;
        if (i < 2) {
            make_half(&maker, HALF_EXTENTS);
            assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -EIO);
        } else
            store_one(store, &maker); /* at the other place */

        struct store_options others_options = options;
        others_options.output = NULL;
        others_options.failover_path = NULL;
        others = open_with(&others_options, &others_maker, seed_of_run());
        places.dead = NULL;
        store_rotate(store);
        if (i >= 2)
            make_half(&maker, HALF_EXTENTS);
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -EBUSY);
        store_one(others, &others_maker);
        blocks += others_maker.blocks;
        close_store(others, &others_maker);
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOTUNIQ);
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOTUNIQ);
        store_free(store);
        maker_close(&maker);
        struct verdict *verdict = malloc(sizeof(*verdict));
        char *paths[] = {home_path};
        assert_non_null(verdict);
        verdict_of(verdict, paths, 1);
        assert_int_equal(verdict->count, 0);
        assert_int_equal(verdict->result.blocks, blocks);
        free(verdict);
    }
}

/* Room comes back: a full disk is not left. */
static void a_full_place_is_not_dead(void **unused)
{
    (void)unused;
    struct places places = places_of(ENOSPC);
    struct events events = {0};
    struct store_options options = options_of_places(&places, &events, 30 * EXTENT_BYTES);
    struct maker maker;
    struct store *store = open_with(&options, &maker, seed_of_run());

    store_one(store, &maker);
    places.only_writes = true;
    places.dead = home;
    make_half(&maker, HALF_EXTENTS);
    for (int i = 0; i < 6; i++)
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), -ENOSPC);
    assert_int_equal(events.count[STORE_FAILED_OVER], 0);
    places.dead = NULL;
    assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
    uint64_t blocks = maker.blocks;
    close_store(store, &maker);
    whole_over_both(blocks);
}

/* Another stream's segments at the other place are neither taken for ours nor touched. */
static void strangers_are_left_alone(void **unused)
{
    (void)unused;
    struct places places = places_of(EIO);
    struct store_options options = options_of_places(&places, NULL, 30 * EXTENT_BYTES);
    struct store_options strangers = options_of(NULL);
    struct maker maker;
    struct verdict *verdict = malloc(sizeof(*verdict));
    char *paths[] = {home_path, away_path};
    uint8_t uuid[16];

    strangers.path = away_path;
    strangers.segment_bytes = 30 * EXTENT_BYTES;
    struct store *store = open_with(&options, &maker, 1);
    memcpy(uuid, store_uuid(store), sizeof(uuid));
    store_one(store, &maker);
    close_store(store, &maker);
    store = open_with(&strangers, &maker, 2); /* its numbers are larger than ours */
    for (int half = 0; half < 8; half++)
        store_one(store, &maker);
    close_store(store, &maker);
    store = open_with(&options, &maker, 3);
    assert_memory_equal(store_uuid(store), uuid, sizeof(uuid));
    store_one(store, &maker);
    places.dead = home;
    store_one(store, &maker);
    assert_false(is_home_path(store_path(store)));
    places.dead = NULL;
    close_store(store, &maker);
    assert_non_null(verdict);
    verdict_of(verdict, paths, 2);
    for (size_t i = 0; i < verdict->count; i++)
        assert_int_equal(verdict->findings[i].kind, FINDING_SEGMENT_FOREIGN);
    assert_int_equal(verdict->result.end, VERIFY_CLOSED);
    free(verdict);
}

/* Home dies at every single call of a run, for good; the run after that finds it alive. */
static void dies_at_any_call(void **unused)
{
    (void)unused;
    for (int segments = 0; segments < 2; segments++)
        for (unsigned n = 1, died = 1; died; n++) {
            struct places places = places_of(n % 2 ? EIO : EROFS);
            struct store_options options =
                options_of_places(&places, NULL, segments ? 20 * EXTENT_BYTES : 0);
            struct maker maker;
            struct store *store;
            uint64_t blocks = 0;
            clear_places(NULL);
            make_places(NULL);
            places.dead_from = n;
            while (store_open(&store, &options) < 0)
                places.dead_from = 0, places.dead = NULL; /* it does not start without */
            maker_open(&maker, FIXTURE_WRITERS, store_next_blocks(store), n);
            for (int half = 0; half < 4; half++)
                store_one(store, &maker);
            blocks = maker.blocks;
            close_store(store, &maker);
            died = places.dead_from == 0 || places.dead != NULL;
            places.dead_from = 0;
            places.dead = NULL;
            store = open_with(&options, &maker, n + 1);
            assert_true(is_home_path(store_path(store)));
            store_one(store, &maker);
            blocks += maker.blocks;
            close_store(store, &maker);
            whole_over_both(blocks);
            if (!died)
                print_message("# %u calls\n", n - 1);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_places, clear_places)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(goes_there_and_comes_back), TEST(a_place_where_segments_are_left_is_not_trusted),
        TEST(the_next_run_goes_home),    TEST(both_dead_is_waited_for),
        TEST(a_dead_place_is_let_go_of), TEST(what_another_run_has_stored_is_kept),
        TEST(a_full_place_is_not_dead),  TEST(strangers_are_left_alone),
        TEST(dies_at_any_call),
    };
    keep_memory();
    test_parent = "/dev/shm";
    return cmocka_run_group_tests_name("failover", tests, NULL, NULL);
}
