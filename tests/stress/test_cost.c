/* SPDX-License-Identifier: MIT
 *
 * What the buffer costs, counted, not timed: system calls by strace, instructions by callgrind. The
 * program runs itself under them.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/buffer/db.h"

enum { WRITERS = 4, BLOCKS = 200000, BLOCK_BYTES = 64, FUTEX_SLACK = 50, OTHER_SLACK = 500 };

static const char *self;

static void *write_blocks(void *argument)
{
    static const unsigned char data[BLOCK_BYTES];
    for (int i = 0; i < BLOCKS; i++)
        db_write(argument, data, sizeof(data), 0, 0);
    return NULL;
}

/* Under strace: all of them put their blocks in; a reader that only frees takes them out. Prints the
 * swaps and the holds that there were. */
static int work_with_threads(void)
{
    struct db *db;
    struct db_half half;
    pthread_t threads[WRITERS];
    uint64_t halves = 0, holds = 0;
    const struct db_options options = {.geometry = {65536, 16}, .writer_count = WRITERS};
    if (db_open(&db, &options) < 0)
        return 1;
    for (unsigned i = 0; i < WRITERS; i++)
        if (pthread_create(&threads[i], NULL, write_blocks, db_writer(db, i)) != 0)
            return 1;
    uint64_t left = (uint64_t)WRITERS * BLOCKS;
    while (left > 0) {
        if (db_read(db, 1000000000, &half) != 1)
            continue;
        for (uint32_t i = 0; i < half.geometry.extent_count; i++)
            if (db_half_extent(&half, i) != NULL)
                left -= db_half_extent(&half, i)->block_count;
        halves++;
        db_release(db);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(threads[i], NULL);
        holds += db_account(db_writer(db, i)).holds;
    }
    printf("%" PRIu64 " %" PRIu64 "\n", halves, holds);
    db_free(db);
    return 0;
}

/* Under callgrind: one writer, and room for everything. */
static int work_alone(int blocks)
{
    static const unsigned char data[BLOCK_BYTES];
    struct db *db;
    const struct db_options options = {.geometry = {1 << 20, 64}, .writer_count = 1};
    if (db_open(&db, &options) < 0)
        return 1;
    for (int i = 0; i < blocks; i++)
        db_write(db_writer(db, 0), data, sizeof(data), 0, 0);
    db_free(db);
    return 0;
}

/* Under callgrind: the copying alone, as db_write calls it. */
__attribute__((noinline)) void copy_block(void *to, const void *from, size_t bytes);
void copy_block(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

static int work_copying(int blocks)
{
    static unsigned char to[BLOCK_BYTES], from[BLOCK_BYTES];
    volatile size_t bytes = BLOCK_BYTES; /* so that the compiler does not know it either */
    for (int i = 0; i < blocks; i++)
        copy_block(to, from, bytes);
    return 0;
}

/* Runs a command and gives its first line; "" if it cannot be run. */
static void first_line(const char *command, char line[static 256])
{
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    if (fgets(line, 256, pipe) == NULL)
        line[0] = '\0';
    (void)pclose(pipe);
}

static void no_system_call_while_there_is_room(void **state)
{
    (void)state;
    char command[1024], line[256], counts[] = "/tmp/dbufd-cost.XXXXXX";
    uint64_t swaps, holds, calls, futexes = 0, others = 0;
    int fd = mkstemp(counts);
    assert_true(fd >= 0);
    (void)snprintf(command, sizeof(command), "strace -f -c -o %s %s threads", counts, self);
    first_line(command, line);
    assert_int_equal(sscanf(line, "%" SCNu64 " %" SCNu64, &swaps, &holds), 2);

    FILE *table = fdopen(fd, "r");
    assert_non_null(table);
    while (fgets(line, sizeof(line), table) != NULL) {
        char name[64];
        const char *last = strrchr(line, ' ');
        if (last == NULL || sscanf(last, "%63s", name) != 1 ||
            sscanf(line, "%*f %*f %*u %" SCNu64, &calls) != 1 || strcmp(name, "total") == 0)
            continue;
        if (strcmp(name, "futex") == 0)
            futexes = calls;
        else if (strcmp(name, "membarrier") != 0) /* the reader's, a few a half */
            others += calls;
    }
    (void)fclose(table);
    (void)unlink(counts);
    printf("# %d blocks, %" PRIu64 " swaps, %" PRIu64 " holds: %" PRIu64 " futex calls, %" PRIu64
           " others\n",
           WRITERS * BLOCKS, swaps, holds, futexes, others);
    assert_true(swaps > 20);
    assert_true(futexes > 0);
    assert_true(futexes <= 2 * swaps + 2 * holds + FUTEX_SLACK);
    assert_true(others <= OTHER_SLACK);
}

/* Instructions in a function and what it calls, while this program does a piece of work. */
static uint64_t instructions_in(const char *function, const char *work, int blocks)
{
    char command[1024], line[256];
    uint64_t count;
    (void)snprintf(command, sizeof(command),
                   "valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect=%s "
                   "%s %s %d 2>&1 | sed -n 's/.*Collected : //p'",
                   function, self, work, blocks);
    first_line(command, line);
    assert_int_equal(sscanf(line, "%" SCNu64, &count), 1);
    return count;
}

static uint64_t instructions_a_block(const char *function, const char *work)
{
    enum { FEW = 1000, MANY = 11000 };
    return (instructions_in(function, work, MANY) - instructions_in(function, work, FEW)) /
           (MANY - FEW);
}

/* db_write of a 64-byte block, without the copying itself. */
static void few_instructions_a_block(void **state)
{
    (void)state;
    const uint64_t all = instructions_a_block("db_write", "alone");
    const uint64_t copying = instructions_a_block("copy_block", "copying");
    printf("# %" PRIu64 " instructions a block of 64 bytes, and %" PRIu64 " for copying it\n",
           all - copying, copying);
    assert_in_range(copying, 1, 40);
    assert_in_range(all - copying, 10, 60);
}

/* A sanitizer's own calls and instructions would be counted. */
static bool is_sanitized(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    return true;
#else
    return false;
#endif
}

int main(int argc, char *argv[])
{
    self = argv[0];
    if (argc >= 2 && strcmp(argv[1], "threads") == 0)
        return work_with_threads();
    if (argc >= 3 && strcmp(argv[1], "alone") == 0)
        return work_alone(atoi(argv[2]));
    if (argc >= 3 && strcmp(argv[1], "copying") == 0)
        return work_copying(atoi(argv[2]));
    if (is_sanitized()) {
        puts("ok 1 - cost # SKIP a sanitizer's own calls and instructions would be counted");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_system_call_while_there_is_room),
        cmocka_unit_test(few_instructions_a_block),
    };
    return cmocka_run_group_tests_name("cost", tests, NULL, NULL);
}
