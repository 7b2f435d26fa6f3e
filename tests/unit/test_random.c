/* SPDX-License-Identifier: MIT
 *
 * The random source: golden values, and that it is as random as its user needs. All seeds are
 * fixed, so every run judges the same numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/source/random.h"
#include "../../src/source/source.h"

static const uint64_t seeds[] = {0, 1, 7, 0x8000000000000000, UINT64_MAX};
enum { SEEDS = sizeof(seeds) / sizeof(seeds[0]), BLOCK_BYTES = 10000 };

/* Files that exist are verified with these: they never change. */
static void golden(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        unsigned writer;
        uint64_t block;
        size_t length;
        uint8_t bytes[19];
    } expected[] = {
        {0x0,
         0,
         0x0,
         1395,
         {0xa1, 0xf3, 0xb4, 0x7f, 0xb2, 0x00, 0x17, 0xa5, 0x8d, 0x5f, 0x2f, 0x2e, 0x2e, 0x99, 0x7b,
          0x51, 0x12, 0x18, 0x31}},
        {0x7,
         0,
         0x0,
         6098,
         {0x43, 0xfd, 0x9c, 0x92, 0xdf, 0xd1, 0x62, 0xce, 0x93, 0x10, 0xac, 0x83, 0x90, 0x59, 0xf9,
          0x98, 0xa5, 0x86, 0xae}},
        {0x7,
         3,
         0x0,
         3733,
         {0xab, 0x33, 0x62, 0xbe, 0x7e, 0x95, 0xab, 0x76, 0x39, 0xbd, 0xc4, 0x42, 0x62, 0xac, 0xe5,
          0x8e, 0x55, 0xa4, 0x8e}},
        {0x7,
         3,
         0x1,
         4501,
         {0x87, 0x6c, 0xd8, 0x5c, 0x5b, 0x4a, 0xde, 0x32, 0x82, 0xb3, 0x75, 0xf7, 0x72, 0x04, 0x2a,
          0xc4, 0x87, 0xbd, 0x09}},
        {0xffffffffffffffff,
         1023,
         0xffffffffffffffff,
         4243,
         {0xa6, 0xfd, 0x15, 0xd6, 0xa1, 0x55, 0xca, 0x94, 0x73, 0x0d, 0xec, 0xdd, 0x72, 0x81, 0xba,
          0x75, 0xb8, 0x54, 0x70}},
        {0x123456789abcdef,
         64,
         0x10000000000,
         8791,
         {0xc1, 0x75, 0xaf, 0x78, 0x31, 0x47, 0x2f, 0x20, 0xce, 0x16, 0xe0, 0xa2, 0x8c, 0x9c, 0xaf,
          0x80, 0xa4, 0x34, 0xb3}},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        uint8_t bytes[19];
        random_block_fill(expected[i].seed, expected[i].writer, expected[i].block, bytes, 19);
        assert_memory_equal(bytes, expected[i].bytes, 19);
        assert_int_equal(
            random_block_bytes(expected[i].seed, expected[i].writer, expected[i].block, 10, 10000),
            expected[i].length);
    }
}

/* Every beginning is the same, at any alignment, and nothing outside of it is touched. */
static void shorter_is_the_beginning_of_longer(void **state)
{
    (void)state;
    uint8_t whole[200], room[240];
    random_block_fill(3, 2, 1, whole, sizeof(whole));
    for (size_t bytes = 0; bytes <= sizeof(whole); bytes++) {
        for (size_t shift = 8; shift < 16; shift++) {
            memset(room, 0xa5, sizeof(room));
            random_block_fill(3, 2, 1, room + shift, bytes);
            assert_memory_equal(room + shift, whole, bytes);
            for (size_t i = 0; i < sizeof(room); i++)
                if (i < shift || i >= shift + bytes)
                    assert_int_equal(room[i], 0xa5);
        }
    }
}

/* Neighbours in seed, writer and block share no word at all, and about half of their bits. */
static void neighbours_differ(void **state)
{
    (void)state;
    enum { WORDS = 64, KEYS = 4 * 4 * 4 };
    static uint64_t words[KEYS][WORDS];
    for (unsigned i = 0; i < KEYS; i++)
        random_block_fill(i / 16, i / 4 % 4, i % 4, words[i], sizeof(words[i]));
    for (unsigned a = 0; a < KEYS; a++) {
        for (unsigned b = 0; b < a; b++) {
            unsigned bits = 0;
            for (unsigned w = 0; w < WORDS; w++)
                bits += (unsigned)__builtin_popcountll(words[a][w] ^ words[b][w]);
            assert_in_range(bits, WORDS * 32 - 200, WORDS * 32 + 200); /* 6 standard deviations */
            for (unsigned w = 0; w < WORDS * WORDS; w++)
                assert_true(words[a][w / WORDS] != words[b][w % WORDS]);
        }
    }
}

/* Chi-square of `counts` against all being equal. */
static double chi_square(const uint64_t *counts, size_t cells)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < cells; i++)
        total += (double)counts[i];
    double expected = total / (double)cells;
    for (size_t i = 0; i < cells; i++)
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    return sum;
}

/* 255 degrees of freedom: mean 255, standard deviation 22.6; 5 of them on either side. */
static void assert_balanced(const uint64_t counts[256])
{
    double chi = chi_square(counts, 256);
    assert_true(chi > 142 && chi < 368);
}

static void bytes_are_balanced(void **state)
{
    (void)state;
    static uint8_t block[BLOCK_BYTES];
    for (size_t s = 0; s < SEEDS; s++) {
        uint64_t counts[256] = {0}, steps[256] = {0};
        for (uint64_t b = 0; b < 200; b++) {
            random_block_fill(seeds[s], 5, b, block, sizeof(block));
            for (size_t i = 0; i < sizeof(block); i++)
                counts[block[i]]++;
            for (size_t i = 8; i < sizeof(block); i++) /* from one word to the next */
                steps[(block[i] - block[i - 8]) & 255]++;
        }
        assert_balanced(counts);
        assert_balanced(steps);
    }
}

/* The first byte of block after block: the keys themselves are good. */
static void first_bytes_are_balanced(void **state)
{
    (void)state;
    for (size_t s = 0; s < SEEDS; s++) {
        uint64_t by_block[256] = {0}, by_writer[256] = {0};
        for (unsigned i = 0; i < 100000; i++) {
            uint8_t byte;
            random_block_fill(seeds[s], 0, i, &byte, 1);
            by_block[byte]++;
            random_block_fill(seeds[s], i % 1024, i / 1024, &byte, 1);
            by_writer[byte]++;
        }
        assert_balanced(by_block);
        assert_balanced(by_writer);
    }
}

static void lengths_are_uniform(void **state)
{
    (void)state;
    for (size_t s = 0; s < SEEDS; s++) {
        uint64_t counts[256] = {0};
        for (uint64_t b = 0; b < 256000; b++) {
            size_t bytes = random_block_bytes(seeds[s], 1, b, 1000, 1255);
            assert_in_range(bytes, 1000, 1255);
            counts[bytes - 1000]++;
        }
        assert_balanced(counts);
    }
}

static void lengths_keep_their_bounds(void **state)
{
    (void)state;
    size_t least = SIZE_MAX, most = 0;
    double sum = 0;
    enum { BLOCKS = 1000000 };
    for (uint64_t b = 0; b < BLOCKS; b++) {
        size_t bytes = random_block_bytes(7, 3, b, 10, 10000);
        least = bytes < least ? bytes : least;
        most = bytes > most ? bytes : most;
        sum += (double)bytes;
        assert_int_equal(random_block_bytes(7, 3, b, 77, 77), 77);
        assert_in_range(random_block_bytes(7, 3, b, 0, 1), 0, 1);
    }
    assert_int_equal(least, 10); /* each of 9991 lengths is expected 100 times */
    assert_int_equal(most, 10000);
    double mean = sum / BLOCKS;
    assert_true(mean > 5005 - 15 && mean < 5005 + 15); /* 5 standard deviations of the mean */
}

static struct source *open_random(uint64_t seed, unsigned writer, uint64_t next_block, size_t min,
                                  size_t max)
{
    struct source *source = NULL;
    struct source_options options = {.kind = SOURCE_RANDOM,
                                     .seed = seed,
                                     .writer = writer,
                                     .min_block = min,
                                     .max_block = max,
                                     .stop_fd = -1};
    assert_int_equal(source_open(&source, &options), 0);
    assert_non_null(source);
    source_begin_at(source, next_block);
    return source;
}

static void source_gives_the_writers_blocks_in_turn(void **state)
{
    (void)state;
    static uint8_t room[BLOCK_BYTES], expected[BLOCK_BYTES];
    struct source *source = open_random(9, 4, 1000, 10, BLOCK_BYTES);
    for (uint64_t b = 1000; b < 2000; b++) {
        struct block_info info = {.flags = 99};
        assert_int_equal(source_wait(source, b % 2 ? -1 : 0), 1);
        assert_int_equal(source_produce(source, room, sizeof(room), &info), 1);
        assert_int_equal(info.bytes, random_block_bytes(9, 4, b, 10, BLOCK_BYTES));
        assert_int_equal(info.flags, 0);
        random_block_fill(9, 4, b, expected, info.bytes);
        assert_memory_equal(room, expected, info.bytes);
    }
    source_close(source);
}

static void source_ends_at_a_block_that_does_not_fit(void **state)
{
    (void)state;
    uint8_t room[100];
    struct block_info info = {.bytes = 12345};
    struct source *source = open_random(9, 4, 0, 50, 50);
    assert_int_equal(source_produce(source, room, 49, &info), 0);
    assert_int_equal(info.bytes, 12345);
    assert_int_equal(source_produce(source, room, sizeof(room), &info), 0); /* it stays the end */
    source_close(source);

    source = open_random(9, 4, 0, 50, 50);
    assert_int_equal(source_produce(source, room, 50, &info), 1);
    assert_int_equal(info.bytes, 50);
    source_close(source);
}

static void source_ends_at_once_when_stopped(void **state)
{
    (void)state;
    uint8_t room[100];
    struct block_info info;
    struct source *source = open_random(9, 4, 0, 50, 50);
    source_stop(source);
    assert_int_equal(source_wait(source, -1), 1);
    assert_int_equal(source_produce(source, room, sizeof(room), &info), 0);
    source_close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(shorter_is_the_beginning_of_longer),
        cmocka_unit_test(neighbours_differ),
        cmocka_unit_test(bytes_are_balanced),
        cmocka_unit_test(first_bytes_are_balanced),
        cmocka_unit_test(lengths_are_uniform),
        cmocka_unit_test(lengths_keep_their_bounds),
        cmocka_unit_test(source_gives_the_writers_blocks_in_turn),
        cmocka_unit_test(source_ends_at_a_block_that_does_not_fit),
        cmocka_unit_test(source_ends_at_once_when_stopped),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
