/* SPDX-License-Identifier: MIT
 *
 * crc32c: the vectors of RFC 3720 appendix B.4, and both ways against the definition, bit by bit.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <setjmp.h>

#include <cmocka.h>

#include "../../src/disk/crc32c.h"

/* The definition: one bit at a time. */
static uint32_t by_bits(uint32_t crc, const unsigned char *data, size_t bytes)
{
    uint32_t state = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        state ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            state = state >> 1 ^ (state & 1 ? 0x82f63b78u : 0);
    }
    return ~state;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
    printf("# SEED=%llu\n", (unsigned long long)seed);
    return seed | 1;
}

static void gives_the_rfc_vectors(void **unused)
{
    (void)unused;
    static const unsigned char read_command[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    unsigned char data[32];

    memset(data, 0, 32);
    assert_int_equal(crc32c(0, data, 32), 0x8a9136aau);
    memset(data, 0xff, 32);
    assert_int_equal(crc32c(0, data, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, data, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)(31 - i);
    assert_int_equal(crc32c(0, data, 32), 0x113fdb5cu);
    assert_int_equal(crc32c(0, read_command, 48), 0xd9963a56u);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

/* Lengths around every border of the loops, every alignment, any state to go on from. */
static void compare(crc32c_way *way)
{
    enum { ROOM = 20000 };
    uint64_t random = seed_of_run();
    unsigned char *data = malloc(ROOM + 16);
    assert_non_null(data);
    for (size_t i = 0; i < ROOM + 16; i++)
        data[i] = (unsigned char)next_random(&random);
    for (int round = 0; round < 3000; round++) {
        size_t skip = next_random(&random) % 16;
        size_t bytes = next_random(&random) % (round % 2 ? 64 : ROOM);
        if (round % 7 == 0)
            bytes = 3072 * (next_random(&random) % 6) + next_random(&random) % 17;
        uint32_t crc = (uint32_t)next_random(&random);
        assert_int_equal(way(crc, data + skip, bytes), by_bits(crc, data + skip, bytes));
    }
    free(data);
}

static void portable_way_is_right(void **unused)
{
    (void)unused;
    compare(crc32c_portable);
}

static void processor_way_is_right(void **unused)
{
    (void)unused;
    if (crc32c_processor() == NULL) {
        printf("# skipped: this processor has no way of its own that we know\n");
        skip();
    }
    compare(crc32c_processor());
}

static void pieces_give_the_whole(void **unused)
{
    (void)unused;
    unsigned char data[9000];
    uint64_t random = seed_of_run();
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)next_random(&random);
    uint32_t whole = crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 1 + cut / 50) {
        uint32_t piece = crc32c(0, data, cut);
        assert_int_equal(crc32c(piece, data + cut, sizeof(data) - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_rfc_vectors),
        cmocka_unit_test(portable_way_is_right),
        cmocka_unit_test(processor_way_is_right),
        cmocka_unit_test(pieces_give_the_whole),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
