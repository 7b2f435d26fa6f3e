/* SPDX-License-Identifier: MIT
 *
 * The power-cut explorer. A store runs on an output that writes down every deed; then, again and again, a
 * moment of that run is drawn by lot, and what a power cut might have left of the disk then: everything
 * that was synced, and any part of what was not. Opening must get over each, everything that the store
 * had declared durable must be there byte for byte, the stream must go on, and verify must find it whole
 * or name exactly what is missing, none of it durable.
 *
 * STATES=N looks at N distinct states of each kind of run (SOAK: 20000 instead of 250). SEED=... draws
 * the same again.
 */
#include "record.h"
#include "verdict.h"

#include <signal.h>

#include "../../src/disk/crc32c.h"
#include "../../src/disk/tally.h"

enum { RUN_LIMIT_S = 60, HALVES = 4, EXTENTS_MAX = (HALVES + 2) * HALF_EXTENTS };

struct kind {
    enum store_durability durability;
    uint64_t segment_bytes, retain_bytes;
    bool overlaps; /* several writes are in flight */
    bool goes_on;  /* behind a torn tail of a run before */
    const char *name;
};

static const struct kind kinds[] = {
    {DURABILITY_HALF, 20 * EXTENT_BYTES, 0, true, false, "segments, half, writes in flight"},
    {DURABILITY_HALF, 0, 0, false, true, "one file, half, behind a torn tail"},
    {DURABILITY_HALF, 14 * EXTENT_BYTES, 30 * EXTENT_BYTES, true, true,
     "retention, half, writes in flight"},
    {DURABILITY_INTERVAL, 20 * EXTENT_BYTES, 0, false, true, "segments, interval"},
    {DURABILITY_NONE, 14 * EXTENT_BYTES, 0, true, false, "small segments, none"},
};

/* How far the writers were when so many bytes of the run had been made. */
struct milestone {
    uint64_t bytes;
    uint64_t next_block[FIXTURE_WRITERS];
};

struct run {
    const struct kind *kind;
    struct record record;
    struct milestone milestones[EXTENTS_MAX];
    size_t milestone_count;
};

static char now_at[160]; /* what it is at: printed if it ends there */

static void too_long(int signal)
{
    (void)signal;
    (void)!write(STDERR_FILENO, "hangs at ", 9);
    (void)!write(STDERR_FILENO, now_at, strlen(now_at));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(1);
}

/* ---- The run that is written down ---- */

static struct store_options options_of_run(const struct run *run)
{
    struct store_options options = options_of(NULL);

    options.durability = run->kind->durability;
    options.sync_interval_ns = 1; /* DURABILITY_INTERVAL: each time that it is asked */
    options.segment_bytes = run->kind->segment_bytes;
    options.retain_bytes = run->kind->retain_bytes;
    return options;
}

static void add_milestones(struct run *run, const struct maker *maker)
{
    for (size_t i = 0; i < HALF_EXTENTS; i++) {
        const struct extent_header *header = maker->headers[i];
        struct milestone *last = &run->milestones[run->milestone_count - 1];
        struct milestone *next = &run->milestones[run->milestone_count++];
        *next = *last;
        next->bytes += tally_data_bytes(header, (const unsigned char *)(header + 1));
        next->next_block[header->writer] = header->first_block + header->block_count;
    }
}

/* Writes a run down: some halves, housekeeping, the end. */
static void write_down(struct run *run, struct store *store, uint64_t random, bool to_its_end)
{
    struct maker maker;
    uint64_t bytes_before = run->milestones[run->milestone_count - 1].bytes;

    maker_open(&maker, FIXTURE_WRITERS, store_next_blocks(store), random);
    for (int half = 0; half < (to_its_end ? HALVES : 1); half++) {
        make_half(&maker, HALF_EXTENTS);
        add_milestones(run, &maker);
        assert_int_equal(store_write(store, maker.headers, HALF_EXTENTS), 0);
        record_declare(&run->record, bytes_before + store_account(store).durable_bytes);
        assert_int_equal(store_housekeep(store), 0);
        record_declare(&run->record, bytes_before + store_account(store).durable_bytes);
    }
    if (to_its_end) {
        assert_int_equal(store_finish(store), 0);
        record_declare(&run->record, bytes_before + store_account(store).durable_bytes);
    }
    store_free(store);
    maker_close(&maker);
}

/* Spoils the newest segment's end as a power cut does: half an extent, under the record's eyes. */
static void spoil_tail(struct run *run)
{
    struct stream_files files;
    unsigned char junk[5000];
    const struct iovec piece = {junk, sizeof(junk)};

    memset(junk, 'x', sizeof(junk));
    assert_int_equal(stream_list(stream_path, &files), 0);
    const struct stream_file *last = &files.files[files.count - 1];
    int fd = record_open(&run->record, last->path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(record_write(&run->record, fd, &piece, 1, (off_t)last->bytes), sizeof(junk));
    assert_int_equal(record_sync(&run->record, fd), 0);
    close(fd);
    stream_files_free(&files);
}

static void make_run(struct run *run, const struct kind *kind, uint64_t random)
{
    struct store_options options;
    struct store *store;

    *run = (struct run){.kind = kind, .milestone_count = 1};
    record_init(&run->record);
    if (kind->overlaps)
        record_overlap(&run->record);
    options = options_of_run(run);
    options.output = &run->record.output;
    if (kind->goes_on) {
        assert_int_equal(store_open(&store, &options), 0);
        write_down(run, store, random, false);
        spoil_tail(run);
    }
    assert_int_equal(store_open(&store, &options), 0);
    write_down(run, store, random + 1, true);
}

/* ---- What must be there ---- */

struct present {
    unsigned char
        *blocks[FIXTURE_WRITERS]; /* one byte for each: how often it is there, or was named */
    uint64_t room;
};

static void count_blocks(struct present *present, unsigned writer, uint64_t first, uint64_t count)
{
    assert_true(writer < FIXTURE_WRITERS && first + count <= present->room);
    for (uint64_t block = first; block < first + count; block++)
        present->blocks[writer][block]++;
}

/* Every whole extent of a segment, up to what the next one makes void. */
static void see_present(struct present *present, const char *path, uint64_t void_from)
{
    struct scan *scan;
    struct scan_extent extent;

    assert_int_equal(scan_open(&scan, path), 0);
    while (scan_next(scan, &extent) == 1) {
        if (extent.fault != SCAN_OK || extent.header->flags & EXTENT_CHECKPOINT)
            continue;
        if (extent.header->seq >= void_from)
            break;
        see_blocks(&extent); /* byte for byte */
        count_blocks(present, extent.header->writer, extent.header->first_block,
                     extent.header->block_count);
    }
    scan_close(scan);
}

static uint64_t first_seq_of(const struct stream_file *file)
{
    struct scan *scan;
    assert_int_equal(scan_open(&scan, file->path), 0);
    uint64_t first_seq = scan_header(scan)->first_seq;
    scan_close(scan);
    return first_seq;
}

static void see_all_present(struct present *present)
{
    struct stream_files files;

    assert_int_equal(stream_list(stream_path, &files), 0);
    for (size_t i = 0; i < files.count; i++)
        see_present(present, files.files[i].path,
                    i + 1 < files.count ? first_seq_of(&files.files[i + 1]) : UINT64_MAX);
    stream_files_free(&files);
}

/* Everything is there once, or verify names it, and nothing durable is named. `from`: what retention
 * has taken is before it. */
static void compare_present(const struct present *present, const struct verdict *verdict,
                            const struct milestone *durable, const uint64_t *from,
                            const uint64_t *end)
{
    struct present named = {.room = present->room};

    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_non_null(named.blocks[w] = calloc(1, named.room));
    for (size_t i = 0; i < verdict->count; i++) {
        const struct finding *finding = &verdict->findings[i];
        if (finding->block_count == 0)
            continue;
        assert_true(finding->first_block >= durable->next_block[finding->writer]);
        count_blocks(&named, (unsigned)finding->writer, finding->first_block, finding->block_count);
    }
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++) {
        for (uint64_t block = from[w]; block < end[w]; block++) {
            assert_true(present->blocks[w][block] <= 1);
            assert_int_equal(present->blocks[w][block] == 0, named.blocks[w][block] > 0);
        }
        free(named.blocks[w]);
    }
}

/* By the first checkpoint that is there. */
static void first_blocks(uint64_t *ret, bool retention)
{
    struct stream_files files;
    struct scan *scan;
    struct scan_extent extent;
    const struct checkpoint_writer *writers;

    memset(ret, 0, FIXTURE_WRITERS * sizeof(*ret));
    if (!retention)
        return;
    assert_int_equal(stream_list(stream_path, &files), 0);
    assert_int_equal(scan_open(&scan, files.files[0].path), 0);
    assert_int_equal(scan_next(scan, &extent), 1);
    assert_non_null(scan_checkpoint(extent.data, extent.header->used, &writers));
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        ret[w] = writers[w].next_block;
    scan_close(scan);
    stream_files_free(&files);
}

static void judge(const struct run *run, const struct milestone *durable, uint64_t removed,
                  const struct maker *maker)
{
    struct verdict *verdict = malloc(sizeof(*verdict));
    struct present present = {0};
    uint64_t from[FIXTURE_WRITERS];
    char *paths[] = {stream_path};

    assert_non_null(verdict);
    verdict_of(verdict, paths, 1);
    assert_int_equal(verdict->result.end, VERIFY_CLOSED);
    assert_true(verdict->result.first_segment <= removed + 1);
    first_blocks(from, run->kind->retain_bytes > 0);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        if (maker->next_block[w] > present.room)
            present.room = maker->next_block[w];
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_non_null(present.blocks[w] = calloc(1, present.room + 1));
    see_all_present(&present);
    compare_present(&present, verdict, durable, from, maker->next_block);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        free(present.blocks[w]);
    free(verdict);
}

/* ---- One state ---- */

static const struct milestone *milestone_at(const struct run *run, uint64_t declared)
{
    const struct milestone *milestone = run->milestones;

    while (milestone->bytes < declared)
        milestone++;
    assert_int_equal(milestone->bytes, declared);
    return milestone;
}

/* Whether a segment lost its name for good: its file was removed, or becomes the next segment's. */
static bool takes_segment(const struct entry *entry)
{
    if (entry->deed == DEED_RENAME)
        return entry->old_name[0] != '.';
    return entry->deed == DEED_REMOVE && entry->name[0] != '.';
}

/* Opens what is left, goes on with it, closes it, and looks at all of it. */
static void look_at_state(const struct run *run, size_t prefix)
{
    struct store_options options = options_of_run(run);
    struct store *store = NULL;
    struct faulty faulty;
    struct maker maker;
    uint64_t declared = 0, removed = 0;

    for (size_t i = 0; i < prefix; i++) {
        if (run->record.entries[i].deed == DEED_DECLARE)
            declared = run->record.entries[i].declared;
        removed += takes_segment(&run->record.entries[i]);
    }
    const struct milestone *durable = milestone_at(run, declared);
    faulty_init(&faulty, CALL_OPEN, 0, 0, 0);
    faulty.room = 1 << 20; /* tmpfs is slow at allocating more */
    options.output = &faulty.output;
    options.retain_bytes = 0;
    assert_int_equal(store_open(&store, &options), 0);
    for (unsigned w = 0; w < FIXTURE_WRITERS; w++)
        assert_true(store_next_blocks(store)[w] >= durable->next_block[w]);
    maker_open(&maker, FIXTURE_WRITERS, store_next_blocks(store), 5);
    make_half(&maker, 4);
    assert_int_equal(store_write(store, maker.headers, 4), 0);
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    judge(run, durable, removed, &maker);
    maker_close(&maker);
}

/* ---- All of them ---- */

static uint64_t hash_of(const struct remains *remains, uint64_t start)
{
    uint64_t hash = start ^ 0xcbf29ce484222325u;

    for (int at = 0; at < remains->name_count; at++) {
        int file = remains->files[at];
        if (file < 0)
            continue;
        for (const char *c = remains->names[at]; *c; c++)
            hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
        hash = (hash ^ crc32c(0, remains->data[file], remains->bytes[file])) * 0x100000001b3u;
        hash = (hash ^ remains->bytes[file]) * 0x100000001b3u;
    }
    return hash;
}

struct hashes {
    uint64_t *items; /* 0: free */
    size_t room;
};

/* Whether it is a new one. */
static bool hashes_add(struct hashes *hashes, uint64_t hash)
{
    size_t at = hash % hashes->room;

    hash += hash == 0;
    for (; hashes->items[at]; at = (at + 1) % hashes->room)
        if (hashes->items[at] == hash)
            return false;
    hashes->items[at] = hash;
    return true;
}

static size_t states_wanted(void)
{
    const char *given = getenv("STATES");
#ifdef __SANITIZE_ADDRESS__
    if (!given && !getenv("SOAK"))
        return 60; /* it is slow, and finds in few states what it is there to find */
#endif
    return given ? strtoull(given, NULL, 0) : getenv("SOAK") ? 20000 : 250;
}

static void empty_directory(void)
{
    clear(NULL);
    assert_int_equal(mkdir(test_directory, 0700), 0);
}

static void explore(const struct kind *kind)
{
    struct run *run = malloc(sizeof(*run));
    uint64_t random = seed_of_run(), seed = random;
    size_t wanted = states_wanted(), states = 0;
    struct hashes hashes = {calloc(wanted * 2 + 1, sizeof(uint64_t)), wanted * 2 + 1};

    assert_true(run && hashes.items);
    make_run(run, kind, next_random(&random));
    for (size_t tries = 0; states < wanted && tries < wanted * 200; tries++) {
        size_t prefix = next_random(&random) % (run->record.count + 1);
        struct lots lots = {.random = next_random(&random),
                            .luck = (enum luck)(next_random(&random) % LUCKS),
                            .kept_until = next_random(&random) % (run->record.count + 1)};
        struct remains remains;
        remains_make(&remains, &run->record, prefix, &lots);
        if (hashes_add(&hashes, hash_of(&remains, prefix))) {
            snprintf(now_at, sizeof(now_at),
                     "%s: SEED=%llu, state %zu, %zu of %zu deeds done, luck %d", kind->name,
                     (unsigned long long)seed, states, prefix, run->record.count, (int)lots.luck);
            alarm(RUN_LIMIT_S);
            empty_directory();
            remains_put(&remains, test_directory);
            look_at_state(run, prefix);
            alarm(0);
            states++;
        }
        remains_free(&remains);
    }
    now_at[0] = 0;
    print_message("# %zu distinct states of %zu deeds\n", states, run->record.count);
    assert_int_equal(states, wanted);
    record_free(&run->record);
    free(hashes.items);
    free(run);
}

#define EXPLORE(name, index)                                                                       \
    static void name(void **unused)                                                                \
    {                                                                                              \
        (void)unused;                                                                              \
        explore(&kinds[index]);                                                                    \
    }

EXPLORE(of_segments, 0)
EXPLORE(of_one_file_behind_a_torn_tail, 1)
EXPLORE(with_retention, 2)
EXPLORE(with_durability_interval, 3)
EXPLORE(with_durability_none, 4)

static int clear_state(void **unused)
{
    if (now_at[0])
        print_error("at %s\n", now_at);
    if (now_at[0] && getenv("KEEP")) {
        print_error("kept: %s\n", test_directory);
        return 0;
    }
    now_at[0] = 0;
    alarm(0);
    return clear(unused);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_segments),          TEST(of_one_file_behind_a_torn_tail),
        TEST(with_retention),       TEST(with_durability_interval),
        TEST(with_durability_none),
    };
    (void)signal(SIGALRM, too_long);
    keep_memory();
    test_parent = "/dev/shm";
    return cmocka_run_group_tests_name("power cuts", tests, NULL, NULL);
}
