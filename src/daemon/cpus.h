/* SPDX-License-Identifier: MIT
 *
 * Which thread runs on which core.
 *
 * Isolated cores are read from the kernel's own list. A thread may use those that its affinity and
 * cpuset allow. A kernel booted with isolcpus= takes the isolated cores out of everybody's
 * affinity; so where our affinity is just "all online cores but the isolated ones", the isolated
 * ones count as allowed if the kernel lets us move there (which is how the cpuset shows).
 *
 * What the kernel numbers as cores may be threads of one physical core, which share what it computes
 * with (SMT). "auto" puts our threads apart as far as there are physical cores.
 */
#ifndef DBUFD_DAEMON_CPUS_H
#define DBUFD_DAEMON_CPUS_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

/* The macros of sched.h want a size_t; a core is an int here because -1 is none. */
static inline bool cpus_has(const cpu_set_t *set, int core)
{
    return CPU_ISSET((size_t)core, set);
}

static inline void cpus_add(cpu_set_t *set, int core)
{
    CPU_SET((size_t)core, set);
}

/* The first core of `set` behind `after`, going round; -1 if the set is empty. Pure. */
int cpus_next(const cpu_set_t *set, int after);

enum cpus_kind { CPUS_AUTO, CPUS_NONE, CPUS_LIST };

/* One setting, cpus.writers or cpus.reader. */
struct cpus_choice {
    enum cpus_kind kind;
    cpu_set_t list; /* CPUS_LIST */
};

/* Parses "auto", "none" or a list such as "2-5,8". -EINVAL: none of them, *ret untouched. Pure. */
int cpus_parse(const char *text, struct cpus_choice *ret);

/* Parses the kernel's form of a list: "", "\n", "(null)", "2-5,8\n". -EINVAL, *ret untouched. */
int cpus_parse_list(const char *text, cpu_set_t *ret);

/* What the machine and our place in it allow. */
struct cpus_system {
    cpu_set_t online;
    cpu_set_t isolated;        /* as the kernel lists them; empty if the file is absent */
    cpu_set_t allowed;         /* where this process may run */
    int physical[CPU_SETSIZE]; /* the physical core of each, by the first core that the kernel
                                * numbers there; itself where the kernel does not say */
};

/* Reads it; `sysfs` is "/sys/devices/system/cpu" but for tests. -errno. */
int cpus_read_system(const char *sysfs, struct cpus_system *ret);

/* Whether the isolated cores are missing from our affinity just as isolcpus= takes them out of
 * everybody's: then it takes a probe to know whether they are ours. Pure. */
bool cpus_isolated_hidden(const cpu_set_t *online, const cpu_set_t *isolated,
                          const cpu_set_t *affinity);

/* Where we may run, given that the probe could move to `reachable`. Pure. */
cpu_set_t cpus_allowed(const cpu_set_t *online, const cpu_set_t *isolated,
                       const cpu_set_t *affinity, const cpu_set_t *reachable);

/* Who sits where. core < 0: not pinned. */
struct cpus_plan {
    int reader_core;
    int *writer_cores;  /* [writer_count], to be freed by cpus_plan_free */
    bool none_isolated; /* "auto" was asked for and there was no isolated core for us */
};

/* Plans: the reader first, then the writers in turn over the rest (over all, if only one is left):
 * one of each physical core, then their siblings, last the reader's siblings. A list is taken as it
 * is: its writers share the reader's core if it is in their list; the reader takes the first of its
 * own. -ENOMEM. The lists must already have passed cpus_check. */
int cpus_plan(const struct cpus_system *system, const struct cpus_choice *reader,
              const struct cpus_choice *writers, unsigned writer_count, struct cpus_plan *ret);
void cpus_plan_free(struct cpus_plan *plan);

/* The first core of a list that is offline or not ours, or -1. *ret_reason: "offline", "not ours".
 */
int cpus_check(const struct cpus_system *system, const struct cpus_choice *choice,
               const char **ret_reason);

/* Starts a thread that runs on `core` alone from its first instruction (core < 0: wherever the
 * kernel puts it). -EINVAL: a core that is not there or not ours; -EAGAIN: no more threads; *ret
 * untouched. */
int cpus_start_thread(pthread_t *ret, int core, void *(*run)(void *argument), void *argument);

/* "2-5,8" of a set, into `text` (cut to fit). Returns text. */
char *cpus_format(const cpu_set_t *set, char *text, size_t text_bytes);

#endif
