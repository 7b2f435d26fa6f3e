/* SPDX-License-Identifier: MIT
 *
 * How threads of one process wait for each other: what is Linux's and the processor's of it. Another system
 * brings these three of its own. Any thread.
 */
#ifndef DBUFD_BUFFER_WAIT_H
#define DBUFD_BUFFER_WAIT_H

#include <stdint.h>

/* Sleeps while *word == expected, until woken or until deadline_ns (CLOCK_MONOTONIC, 0: none). May
 * return early. */
void futex_wait(void *word, uint32_t expected, uint64_t deadline_ns);

/* Wakes whoever sleeps on it, in this process. */
void futex_wake_all(void *word);

/* For a thread that looks at a word again and again, on a core of its own. A processor that we do not know
 * goes without. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
