/* SPDX-License-Identifier: MIT
 *
 * How long a wait still lasts. Private to src/source; any thread.
 */
#ifndef DBUFD_SOURCE_CLOCK_H
#define DBUFD_SOURCE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t source_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* For poll and its kin: milliseconds until then, at least 0; -1 for `until_ms` < 0: no limit. */
static inline int source_left_ms(int64_t until_ms)
{
    const int64_t left_ms = until_ms - source_now_ms();
    return until_ms < 0 ? -1 : left_ms < 0 ? 0 : (int)left_ms;
}

#endif
