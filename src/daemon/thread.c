/* SPDX-License-Identifier: MIT
 *
 * Happy path: the thread waits at its gate until it is told its work, and ends with it. Its preemptions
 * are in /proc/self/task/ID/status while it works, and are what it left behind itself when it has ended.
 * Failure modes: no thread is to be had: thread_open says so. Without /proc the figure is 0.
 */
#include "thread.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cpus.h"

/* The thread's own, first. */
static void begin(struct thread *thread)
{
    (void)prctl(PR_SET_NAME, thread->name); /* cannot fail */
    atomic_store_explicit(&thread->id, gettid(), memory_order_relaxed);
}

/* And last. */
static void end(struct thread *thread)
{
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0)
        atomic_store_explicit(&thread->preemptions, (uint64_t)usage.ru_nivcsw,
                              memory_order_relaxed);
    atomic_store_explicit(&thread->id, 0, memory_order_release); /* the figure is there before */
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    while (sem_wait(&thread->gate) < 0)
        ; /* EINTR: a debugger */
    if (thread->run == NULL)
        return NULL;
    begin(thread);
    thread->run(thread->argument);
    end(thread);
    return NULL;
}

int thread_open(struct thread *thread, int core)
{
    (void)sem_init(&thread->gate, /* shared between processes= */ 0, 0); /* cannot fail so */
    int rc = cpus_start_thread(&thread->handle, core, thread_main, thread);
    thread->open = rc == 0;
    return rc;
}

static void let_through(struct thread *thread)
{
    int rc = sem_post(&thread->gate);
    assert(rc == 0); /* it counts far beyond the two that there can be */
}

void thread_go(struct thread *thread, const char *name, void (*run)(void *argument), void *argument)
{
    assert(thread->open && thread->run == NULL);
    (void)snprintf(thread->name, sizeof(thread->name), "%s", name);
    thread->argument = argument;
    thread->run = run;
    let_through(thread);
}

void thread_close(struct thread *thread)
{
    if (!thread->open)
        return;
    if (thread->run == NULL)
        let_through(thread);
    int rc = pthread_join(thread->handle, NULL);
    assert(rc == 0);
    (void)sem_destroy(&thread->gate);
    thread->open = false;
}

uint64_t thread_cpu_ns(const struct thread *thread)
{
    struct timespec used;
    clockid_t clock;
    if (pthread_getcpuclockid(thread->handle, &clock) != 0 || clock_gettime(clock, &used) < 0)
        return 0;
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* Of a thread that runs. -1: it does not any more. */
static int read_preemptions(int id, uint64_t *ret)
{
    char path[64], line[256];
    int found = -1;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/status", id);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    while (found < 0 && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "nonvoluntary_ctxt_switches: %" SCNu64, ret) == 1)
            found = 0;
    (void)fclose(file);
    return found;
}

uint64_t thread_preemptions(const struct thread *thread)
{
    uint64_t count;
    const int id = atomic_load_explicit(&thread->id, memory_order_acquire);
    if (id != 0 && read_preemptions(id, &count) == 0)
        return count;
    return atomic_load_explicit(&thread->preemptions, memory_order_relaxed);
}
