/* SPDX-License-Identifier: MIT
 *
 * cpus_plan: which thread gets which core.
 *
 * The happy path:
 *   - the reader gets the first core;
 *   - the rest is dealt to the writers, one of each physical core first.
 *
 * Failure modes:
 *   - no core to deal: nothing is pinned, and the plan says why;
 *   - no memory: -ENOMEM, nothing is planned.
 */
#include "cpus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* The cores that `choice` means; empty: not pinned. */
static cpu_set_t chosen_cores(const struct cpus_system *system, const struct cpus_choice *choice)
{
    cpu_set_t cores;

    CPU_ZERO(&cores);
    if (choice->kind == CPUS_LIST)
        cores = choice->list;
    else if (choice->kind == CPUS_AUTO) {
        CPU_AND(&cores, &system->isolated, &system->online);
        CPU_AND(&cores, &cores, &system->allowed);
    }
    return cores;
}

/* The first of `cores` that is not in `taken`, or -1. */
static int first_besides(const cpu_set_t *cores, const cpu_set_t *taken)
{
    cpu_set_t both, rest;

    CPU_AND(&both, cores, taken);
    CPU_XOR(&rest, cores, &both);
    return cpus_next(&rest, -1);
}

/* `cores` and all that are threads of the same physical cores. */
static cpu_set_t with_siblings(const struct cpus_system *system, const cpu_set_t *cores)
{
    cpu_set_t physical, all;

    CPU_ZERO(&physical);
    CPU_ZERO(&all);
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (cpus_has(cores, core))
            cpus_add(&physical, system->physical[core]);
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (cpus_has(&physical, system->physical[core]))
            cpus_add(&all, core);
    return all;
}

/* The reader's core: the first one, but rather not one that the writers were given by name, nor a
 * sibling of one. */
static int plan_reader(const struct cpus_system *system, const cpu_set_t *cores,
                       const struct cpus_choice *reader, const struct cpus_choice *writers)
{
    int core = -1;

    if (reader->kind == CPUS_AUTO && writers->kind == CPUS_LIST) {
        const cpu_set_t near = with_siblings(system, &writers->list);

        core = first_besides(cores, &near);
        if (core < 0)
            core = first_besides(cores, &writers->list);
    }
    return core >= 0 ? core : cpus_next(cores, -1);
}

/* The cores for the writers in the order of their dealing, into `ret`; returns how many. Each time it
 * is one of the physical core that has the fewest of our threads; the reader counts for all of them,
 * since whatever holds it up fills the buffer. Equals come in turn behind the reader's core. */
static unsigned deal_apart(const struct cpus_system *system, const cpu_set_t *cores,
                           int reader_core, int ret[CPU_SETSIZE])
{
    int threads[CPU_SETSIZE] = {0}; /* of ours, by physical core */
    cpu_set_t left = *cores;
    unsigned dealt = 0;

    if (reader_core >= 0)
        threads[system->physical[reader_core]] = CPU_SETSIZE;
    for (; CPU_COUNT(&left) > 0; dealt++) {
        int best = cpus_next(&left, reader_core);
        int core = best;

        for (int tried = 1; tried < CPU_COUNT(&left); tried++) {
            core = cpus_next(&left, core);
            if (threads[system->physical[core]] < threads[system->physical[best]])
                best = core;
        }
        threads[system->physical[best]]++;
        CPU_CLR((size_t)best, &left);
        ret[dealt] = best;
    }
    return dealt;
}

/* A list of the user's is dealt as it stands. */
static unsigned deal_in_turn(const cpu_set_t *cores, int ret[CPU_SETSIZE])
{
    unsigned dealt = 0;

    for (int core = 0; core < CPU_SETSIZE; core++)
        if (cpus_has(cores, core))
            ret[dealt++] = core;
    return dealt;
}

int cpus_plan(const struct cpus_system *system, const struct cpus_choice *reader,
              const struct cpus_choice *writers, unsigned writer_count, struct cpus_plan *ret)
{
    const cpu_set_t reader_cores = chosen_cores(system, reader);
    cpu_set_t cores = chosen_cores(system, writers);
    struct cpus_plan plan = {.reader_core = plan_reader(system, &reader_cores, reader, writers)};
    int order[CPU_SETSIZE];
    unsigned dealt;

    plan.writer_cores = calloc(writer_count, sizeof *plan.writer_cores);
    if (plan.writer_cores == NULL && writer_count > 0)
        return -ENOMEM;
    plan.none_isolated = (reader->kind == CPUS_AUTO && CPU_COUNT(&reader_cores) == 0) ||
                         (writers->kind == CPUS_AUTO && CPU_COUNT(&cores) == 0);

    /* The reader's core is the reader's own, unless the writers would be left with a single one:
     * the reader waits for the disk most of the time, and half the machine is too much for that. */
    if (writers->kind == CPUS_AUTO && plan.reader_core >= 0 && CPU_COUNT(&cores) > 2)
        CPU_CLR((size_t)plan.reader_core, &cores);
    dealt = writers->kind == CPUS_AUTO ? deal_apart(system, &cores, plan.reader_core, order)
                                       : deal_in_turn(&cores, order);
    for (unsigned w = 0; w < writer_count; w++)
        plan.writer_cores[w] = dealt > 0 ? order[w % dealt] : -1;
    *ret = plan;
    return 0;
}

void cpus_plan_free(struct cpus_plan *plan)
{
    if (plan == NULL)
        return;
    free(plan->writer_cores);
    plan->writer_cores = NULL;
}

int cpus_check(const struct cpus_system *system, const struct cpus_choice *choice,
               const char **ret_reason)
{
    if (choice->kind != CPUS_LIST)
        return -1;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!cpus_has(&choice->list, core))
            continue;
        if (!cpus_has(&system->online, core)) {
            *ret_reason = "offline";
            return core;
        }
        if (!cpus_has(&system->allowed, core)) {
            *ret_reason = "not ours";
            return core;
        }
    }
    return -1;
}
