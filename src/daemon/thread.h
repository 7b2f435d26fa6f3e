/* SPDX-License-Identifier: MIT
 *
 * One of our threads. It is there before its work is: a system that has no thread to give says so while
 * nothing has been changed yet, and to let one that is there go cannot fail.
 *
 * Also what the kernel knows of it: its name (`top -H`, /proc/PID/task), its processor time, and how
 * often it was preempted, that is, had its core taken away while it wanted to go on.
 *
 * thread_open, thread_go and thread_close are the main thread's, or that of whoever the thread is
 * prepared by; the rest is any thread's.
 */
#ifndef DBUFD_DAEMON_THREAD_H
#define DBUFD_DAEMON_THREAD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

enum { THREAD_NAME_BYTES = 16 };

/* All zero: there is none. */
struct thread {
    bool open; /* the opener's, and so is all of this, and the thread's after thread_go: */
    pthread_t handle;
    sem_t gate; /* passed once there is work, or never will be any */
    void (*run)(void *argument);
    void *argument;
    char name[THREAD_NAME_BYTES];

    _Atomic int id;               /* the kernel's, while it works */
    _Atomic uint64_t preemptions; /* once it has ended */
};

/* Creates it, pinned to `core` (< 0: nowhere); it waits for its work. -errno: there is none. */
int thread_open(struct thread *thread, int core);

/* Its work, once. At most 15 bytes of `name` are taken. Does not wait. */
void thread_go(struct thread *thread, const char *name, void (*run)(void *argument),
               void *argument);

/* Waits for its work's end; one that never got any ends at once. There may be none. */
void thread_close(struct thread *thread);

/* Processor time that it has used, ns; 0: it has ended. */
uint64_t thread_cpu_ns(const struct thread *thread);

/* How often it was preempted so far. Reads a file of /proc while it runs; 0 if that cannot be had. */
uint64_t thread_preemptions(const struct thread *thread);

#endif
