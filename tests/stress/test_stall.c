/* SPDX-License-Identifier: MIT
 *
 * Stops one thread at each step of the protocol, once early and once later, for as long as the others
 * get anywhere without it, then lets it go on. Whatever the step: the others come as far as the
 * protocol says, those that wait are asleep, and in the end every byte is there.
 *
 * db.c is included, not linked, so that its steps can be stopped at.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct db_writer;
static void stop_here(const char *step, const struct db_writer *writer);
#define DB_STEP(step, writer) stop_here(step, writer)
#include "../../src/buffer/db.c"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "blocks.h"

enum { WRITERS = 4, EXTENT_BYTES = 4096, EXTENTS = 8, BLOCKS = 3000 };

/* Who is stopped, where, and at which time that it comes by. */
struct stop {
    const char *step;
    unsigned skip;                             /* let it pass this often first */
    enum { IN_A_BLOCK, NO_BLOCK, READER } who; /* a writer in its busy section or not; the reader */
};

static const struct stop stops[] = {
    /* A writer inside its busy section: the reader waits for it, the others fill the other half. */
    {"entering", 20, IN_A_BLOCK},
    {"claiming", 5, IN_A_BLOCK},
    {"claimed", 5, IN_A_BLOCK},
    {"heading", 5, IN_A_BLOCK},
    {"publishing", 20, IN_A_BLOCK},
    {"published", 20, IN_A_BLOCK},
    /* A writer outside of it: nobody waits for it. Between the look and the swap another one swaps
     * instead; between the swap and the wake the others sleep on until the reader's flush. */
    {"full", 2, NO_BLOCK},
    {"holding", 2, NO_BLOCK},
    {"swapping", 2, NO_BLOCK},
    {"swapped", 2, NO_BLOCK},
    /* The reader: the writers fill both halves. */
    {"sealed", 2, READER},
    {"draining", 0, READER},
    {"drained", 2, READER},
    {"swapping", 2, READER},
    {"swapped", 2, READER},
    {"freed", 2, READER},
};

static _Thread_local bool is_reader;

static struct {
    const struct stop *stop;
    struct db *db;
    uint32_t open_epoch; /* when it stopped */
    uint32_t own_epoch;  /* of the stopped writer's extent */
    _Atomic unsigned passed;
    _Atomic int stopped; /* 0 not yet, 1 now, 2 it has been */
    sem_t release;
} gate;

static void stop_here(const char *step, const struct db_writer *writer)
{
    if (strcmp(step, gate.stop->step) != 0 || is_reader != (gate.stop->who == READER) ||
        atomic_load(&gate.stopped) != 0)
        return;
    if (atomic_fetch_add(&gate.passed, 1) != gate.stop->skip)
        return;
    gate.open_epoch = db_state(gate.db).epoch;
    gate.own_epoch = writer != NULL ? writer->epoch : 0;
    atomic_store(&gate.stopped, 1);
    while (sem_wait(&gate.release) != 0)
        continue;
    atomic_store(&gate.stopped, 2);
}

struct test {
    struct db *db;
    struct blocks blocks;
    pthread_t writers[WRITERS];
    pthread_t reader;
    uint64_t next[WRITERS]; /* the reader's */
    _Atomic uint64_t read;  /* blocks */
    _Atomic int writers_left;
};

struct test_writer {
    struct test *test;
    unsigned index;
};

static void *write_blocks(void *argument)
{
    const struct test_writer *w = argument;
    for (uint64_t i = 0; i < BLOCKS; i++) {
        void *room = db_write_begin(db_writer(w->test->db, w->index), w->test->blocks.max_block);
        const size_t bytes = blocks_fill(&w->test->blocks, w->index, i, room);
        db_write_end(db_writer(w->test->db, w->index), bytes, w->index, i);
        /* For the "draining" step to be reached on any machine, be found inside a block now and then. */
        if (i % 64 == 0) {
            (void)db_write_begin(db_writer(w->test->db, w->index), 1);
            const struct timespec rest = {.tv_nsec = 1000000};
            (void)nanosleep(&rest, NULL);
            db_write_cancel(db_writer(w->test->db, w->index));
        }
    }
    if (atomic_fetch_sub(&w->test->writers_left, 1) == 1)
        db_close(w->test->db);
    return NULL;
}

static void *read_blocks(void *argument)
{
    struct test *test = argument;
    struct db_half half;
    is_reader = true;
    int rc;
    while ((rc = db_read(test->db, 10 * 1000000, &half)) != 0) {
        if (rc != 1)
            continue;
        for (uint32_t i = 0; i < EXTENTS; i++) {
            const struct extent_header *extent = db_half_extent(&half, i);
            if (extent == NULL)
                continue;
            blocks_check(&test->blocks, extent, test->next);
            atomic_fetch_add(&test->read, extent->block_count);
        }
        db_release(test->db);
    }
    return NULL;
}

static uint64_t accepted_blocks(struct db *db)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < WRITERS; i++)
        sum += db_account(db_writer(db, i)).blocks;
    return sum;
}

static uint64_t process_cpu_ns(void)
{
    struct timespec spent;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec;
}

static void rest_ms(unsigned ms)
{
    const struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&rest, NULL);
}

/* Waits until nothing moves any more: the others have come as far as they can without the stopped. */
static void wait_for_standstill(struct test *test)
{
    uint64_t before;
    do {
        before = accepted_blocks(test->db) + atomic_load(&test->read);
        rest_ms(150);
    } while (accepted_blocks(test->db) + atomic_load(&test->read) != before);
}

static void stop_and_go(void **state)
{
    const struct stop *stop = *state;
    struct test test = {.blocks = {11, WRITERS, 1, 900}, .writers_left = WRITERS};
    struct test_writer writers[WRITERS];
    const struct db_options options = {
        .geometry = {EXTENT_BYTES, EXTENTS}, .writer_count = WRITERS, .first_epoch = UINT32_MAX};
    gate.stop = stop;
    gate.passed = 0;
    gate.stopped = 0;
    assert_int_equal(sem_init(&gate.release, 0, 0), 0);
    assert_int_equal(db_open(&test.db, &options), 0);
    gate.db = test.db;
    assert_int_equal(pthread_create(&test.reader, NULL, read_blocks, &test), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct test_writer){&test, i};
        assert_int_equal(pthread_create(&test.writers[i], NULL, write_blocks, &writers[i]), 0);
    }

    while (atomic_load(&gate.stopped) == 0)
        rest_ms(1);
    const uint64_t read_before = atomic_load(&test.read);
    wait_for_standstill(&test);

    if (stop->who == IN_A_BLOCK) {
        /* The others were able to fill the half that was free: it is full, and they are held. */
        const struct db_state seen = db_state(test.db);
        assert_int_equal(seen.writers_held, WRITERS - 1);
        assert_int_equal(seen.claimed, EXTENTS);
        assert_int_equal(seen.halves_unstored, 1);
        /* All of that half, if the stopped one's extent lies in the half that was open then; else it
         * had already been sealed, and the open one was filled up. */
        if (gate.own_epoch == gate.open_epoch)
            assert_int_equal(seen.epoch, gate.open_epoch + 1);
    } else if (stop->who == NO_BLOCK) {
        /* Nobody waits for it: all others are done. */
        assert_int_equal(test.writers_left, 1);
        assert_true(atomic_load(&test.read) > read_before);
    } else {
        /* Without the reader nothing is freed: all are held or done, nothing was overwritten. */
        assert_int_equal(db_state(test.db).writers_held, atomic_load(&test.writers_left));
    }
    /* Who waits is asleep: under 1 % of a core. */
    const uint64_t cpu_ns = process_cpu_ns();
    rest_ms(500);
    assert_true(process_cpu_ns() - cpu_ns < 5000000);

    assert_int_equal(sem_post(&gate.release), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(test.writers[i], NULL), 0);
    assert_int_equal(pthread_join(test.reader, NULL), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(test.next[i], BLOCKS);
    db_free(test.db);
}

/* The last block and the close come while the reader is between its look at closed and its look at
 * claim: it must not take the two together for the end. */
static void the_last_block_comes_between_two_looks(void **state)
{
    (void)state;
    static const struct stop looking = {"looking", 0, READER};
    struct test test = {.blocks = {13, 1, 1, 900}};
    const struct db_options options = {.geometry = {EXTENT_BYTES, EXTENTS}, .writer_count = 1};
    gate.stop = &looking;
    gate.passed = 0;
    gate.stopped = 0;
    assert_int_equal(sem_init(&gate.release, 0, 0), 0);
    assert_int_equal(db_open(&test.db, &options), 0);
    gate.db = test.db;
    assert_int_equal(pthread_create(&test.reader, NULL, read_blocks, &test), 0);
    while (atomic_load(&gate.stopped) == 0)
        rest_ms(1);

    void *room = db_write_begin(db_writer(test.db, 0), test.blocks.max_block);
    db_write_end(db_writer(test.db, 0), blocks_fill(&test.blocks, 0, 0, room), 0, 0);
    db_close(test.db);
    assert_int_equal(sem_post(&gate.release), 0);
    assert_int_equal(pthread_join(test.reader, NULL), 0);
    assert_int_equal(test.next[0], 1);
    db_free(test.db);
}

/* A sanitizer spends processor time in the background, and makes the threads much slower than the waiting
 * here; test_stress and test_observer have the threads under it. */
static bool is_sanitized(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    return true;
#else
    return false;
#endif
}

int main(void)
{
    if (is_sanitized()) {
        puts("ok 1 - stall # SKIP who waits is told by processor time, which a sanitizer spends "
             "itself");
        return 0;
    }
    enum { STOPS = sizeof(stops) / sizeof(*stops) };
    struct CMUnitTest tests[STOPS + 1] = {
        [STOPS] = cmocka_unit_test(the_last_block_comes_between_two_looks)};
    for (size_t i = 0; i < STOPS; i++)
        tests[i] = (struct CMUnitTest){.name = stops[i].step,
                                       .test_func = stop_and_go,
                                       .initial_state = (void *)(uintptr_t)&stops[i]};
    return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
