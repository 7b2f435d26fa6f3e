/* SPDX-License-Identifier: MIT
 *
 * What the kernel knows of one of our threads: its name (`top -H`, /proc/PID/task), and how often it
 * was preempted, that is, had its core taken away while it wanted to go on.
 *
 * thread_begin and thread_end are the thread's own, first and last; the rest is any thread's.
 */
#ifndef DBUFD_DAEMON_THREAD_H
#define DBUFD_DAEMON_THREAD_H

#include <stdint.h>

/* All zero: not begun. */
struct thread {
    _Atomic int id;               /* the kernel's, while it runs */
    _Atomic uint64_t preemptions; /* once it has ended */
};

/* At most 15 bytes of `name` are taken. */
void thread_begin(struct thread *thread, const char *name);
void thread_end(struct thread *thread);

/* How often it was preempted so far. Reads a file of /proc while it runs; 0 if that cannot be had. */
uint64_t thread_preemptions(const struct thread *thread);

#endif
