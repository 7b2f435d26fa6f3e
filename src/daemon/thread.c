/* SPDX-License-Identifier: MIT
 *
 * Happy path: /proc/self/task/ID/status of a thread that runs, and what it left behind itself when
 * it had ended. Failure: without /proc the figure is 0.
 */
#include "thread.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

void thread_begin(struct thread *thread, const char *name)
{
    (void)prctl(PR_SET_NAME, name); /* cannot fail; cut if too long */
    atomic_store_explicit(&thread->id, gettid(), memory_order_relaxed);
}

void thread_end(struct thread *thread)
{
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0)
        atomic_store_explicit(&thread->preemptions, (uint64_t)usage.ru_nivcsw,
                              memory_order_relaxed);
    atomic_store_explicit(&thread->id, 0, memory_order_release); /* the figure is there before */
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
