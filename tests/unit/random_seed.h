/* SPDX-License-Identifier: MIT
 *
 * Random numbers, of a seed that is printed and can be given back by TEST_SEED in the environment.
 */
#ifndef DBUFD_TESTS_RANDOM_SEED_H
#define DBUFD_TESTS_RANDOM_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t random_counter;

/* Before the first number. */
static inline void random_begin(void)
{
    const char *given = getenv("TEST_SEED");
    if (given)
        random_counter = strtoull(given, NULL, 0);
    else if (getrandom(&random_counter, sizeof(random_counter), 0) != sizeof(random_counter))
        abort();
    printf("# TEST_SEED=%llu\n", (unsigned long long)random_counter);
}

/* splitmix64 */
static inline uint64_t next_random(void)
{
    uint64_t x = random_counter += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

#endif
