/* SPDX-License-Identifier: MIT
 *
 * cpus: which cores there are for us; which thread gets which is in cpus_plan.c.
 *
 * The happy path:
 *   - two small files of the kernel say which cores are online and which are isolated;
 *   - our affinity says where we may run, and a probe whether the isolated cores are ours too;
 *   - a file of each online core says which others are threads of the same physical core.
 *
 * Failure modes:
 *   - no file of isolated cores, or an empty one: none is isolated, no error;
 *   - no word of siblings, as in many containers, or none that makes sense: each core counts as a
 *     physical one, for that is only about speed;
 *   - any other file that cannot be read or makes no sense: -errno, nothing is guessed.
 */
#include "cpus.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* One number of a list. NULL: it is none, or no core that a cpu_set_t could hold. */
static const char *parse_core(const char *text, int *ret)
{
    int core = 0;

    if (*text < '0' || *text > '9')
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        core = core * 10 + (*text - '0');
        if (core >= CPU_SETSIZE)
            return NULL;
    }
    *ret = core;
    return text;
}

/* "2-5,8", to the end of the text or a newline behind which nothing follows; not empty. */
static int parse_ranges(const char *text, cpu_set_t *ret)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (;;) {
        int first, last;

        text = parse_core(text, &first);
        if (text == NULL)
            return -EINVAL;
        last = first;
        if (*text == '-') {
            text = parse_core(text + 1, &last);
            if (text == NULL || last < first)
                return -EINVAL;
        }
        for (int core = first; core <= last; core++)
            cpus_add(&set, core);
        if (*text != ',')
            break;
        text++;
    }
    if (strcmp(text, "") != 0 && strcmp(text, "\n") != 0)
        return -EINVAL;
    *ret = set;
    return 0;
}

int cpus_parse(const char *text, struct cpus_choice *ret)
{
    struct cpus_choice choice = {.kind = CPUS_LIST};

    CPU_ZERO(&choice.list);
    if (strcmp(text, "auto") == 0)
        choice.kind = CPUS_AUTO;
    else if (strcmp(text, "none") == 0)
        choice.kind = CPUS_NONE;
    else if (strchr(text, '\n') != NULL || parse_ranges(text, &choice.list) < 0)
        return -EINVAL;
    *ret = choice;
    return 0;
}

int cpus_parse_list(const char *text, cpu_set_t *ret)
{
    /* A kernel prints an empty list in one of these ways, by its version and options. */
    static const char *const empty[] = {"", "\n", "(null)", "(null)\n"};

    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        if (strcmp(text, empty[i]) == 0) {
            CPU_ZERO(ret);
            return 0;
        }
    }
    return parse_ranges(text, ret);
}

/* Reads the list in `directory`/`name`. */
static int read_list(const char *directory, const char *name, cpu_set_t *ret)
{
    char path[PATH_MAX];
    char text[8192]; /* the longest list of CPU_SETSIZE cores, every other one, takes 4 KB */
    size_t bytes;
    int rc;

    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    bytes = fread(text, 1, sizeof text - 1, file);
    rc = ferror(file) ? -EIO : 0;
    fclose(file);
    if (rc < 0)
        return rc;
    text[bytes] = '\0';
    return cpus_parse_list(text, ret);
}

cpu_set_t cpus_allowed(const cpu_set_t *online, const cpu_set_t *isolated,
                       const cpu_set_t *affinity, const cpu_set_t *reachable)
{
    cpu_set_t allowed, more;

    CPU_AND(&allowed, affinity, online);
    if (cpus_isolated_hidden(online, isolated, affinity)) {
        CPU_AND(&more, isolated, reachable);
        CPU_AND(&more, &more, online);
        CPU_OR(&allowed, &allowed, &more);
    }
    return allowed;
}

bool cpus_isolated_hidden(const cpu_set_t *online, const cpu_set_t *isolated,
                          const cpu_set_t *affinity)
{
    cpu_set_t both, others, ours;

    CPU_AND(&both, online, isolated);
    CPU_XOR(&others, online, &both);
    CPU_AND(&ours, affinity, online);
    return CPU_COUNT(&both) > 0 && CPU_EQUAL(&ours, &others);
}

struct probe {
    cpu_set_t wanted;    /* the cores to try */
    cpu_set_t reachable; /* those of them that the kernel let us have */
};

/* Asks for all at once: what the cpuset forbids, the kernel takes out of the set, or refuses the
 * whole if nothing is left. */
static void *probe_thread(void *context)
{
    struct probe *probe = context;

    CPU_ZERO(&probe->reachable);
    if (sched_setaffinity(0, sizeof probe->wanted, &probe->wanted) == 0 &&
        sched_getaffinity(0, sizeof probe->reachable, &probe->reachable) < 0)
        CPU_ZERO(&probe->reachable);
    return NULL;
}

/* In a thread that ends with it, so that nobody's own affinity is touched for a moment. */
static int probe_isolated(const cpu_set_t *isolated, cpu_set_t *ret_reachable)
{
    struct probe probe = {.wanted = *isolated};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, probe_thread, &probe);

    if (rc != 0)
        return -rc;
    rc = pthread_join(thread, NULL);
    if (rc != 0)
        return -rc;
    *ret_reachable = probe.reachable;
    return 0;
}

int cpus_next(const cpu_set_t *set, int after)
{
    for (int step = 1; step <= CPU_SETSIZE; step++) {
        int core = (after + step) % CPU_SETSIZE;

        if (cpus_has(set, core))
            return core;
    }
    return -1;
}

/* The name of the second file is that of kernels before 5.3. */
static int read_physical(const char *sysfs, int core)
{
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    char name[64];
    cpu_set_t siblings;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(name, sizeof name, "cpu%d/topology/%s", core, names[i]);
        if (read_list(sysfs, name, &siblings) == 0 && cpus_has(&siblings, core))
            return cpus_next(&siblings, -1);
    }
    return core;
}

int cpus_read_system(const char *sysfs, struct cpus_system *ret)
{
    struct cpus_system system;
    cpu_set_t affinity, reachable;
    int rc;

    rc = read_list(sysfs, "online", &system.online);
    if (rc < 0)
        return rc;
    rc = read_list(sysfs, "isolated", &system.isolated);
    if (rc == -ENOENT)
        CPU_ZERO(&system.isolated);
    else if (rc < 0)
        return rc;

    if (sched_getaffinity(0, sizeof affinity, &affinity) < 0)
        return -errno;
    CPU_ZERO(&reachable);
    if (cpus_isolated_hidden(&system.online, &system.isolated, &affinity)) {
        rc = probe_isolated(&system.isolated, &reachable);
        if (rc < 0)
            return rc;
    }
    system.allowed = cpus_allowed(&system.online, &system.isolated, &affinity, &reachable);
    for (int core = 0; core < CPU_SETSIZE; core++)
        system.physical[core] = cpus_has(&system.online, core) ? read_physical(sysfs, core) : core;
    *ret = system;
    return 0;
}

int cpus_start_thread(pthread_t *ret, int core, void *(*run)(void *argument), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    cpu_set_t set;

    if (core >= CPU_SETSIZE)
        return -EINVAL;
    int rc = -pthread_attr_init(&attributes);
    if (rc < 0)
        return rc;
    if (core >= 0) {
        CPU_ZERO(&set);
        cpus_add(&set, core);
        rc = -pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    if (rc == 0)
        rc = -pthread_create(&thread, &attributes, run, argument);
    (void)pthread_attr_destroy(&attributes); /* cannot fail */
    if (rc == 0)
        *ret = thread;
    return rc;
}

char *cpus_format(const cpu_set_t *set, char *text, size_t text_bytes)
{
    size_t used = 0;

    if (text_bytes == 0)
        return text;
    text[0] = '\0';
    for (int core = 0; core < CPU_SETSIZE && used < text_bytes; core++) {
        int last = core;
        int wrote;

        if (!cpus_has(set, core))
            continue;
        while (last + 1 < CPU_SETSIZE && cpus_has(set, last + 1))
            last++;
        wrote = snprintf(text + used, text_bytes - used, "%s%d", used > 0 ? "," : "", core);
        used += (size_t)wrote;
        if (last > core && used < text_bytes) {
            wrote = snprintf(text + used, text_bytes - used, "-%d", last);
            used += (size_t)wrote;
        }
        core = last;
    }
    return text;
}
