/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/daemon/cpus.h"

static cpu_set_t set_of(const char *list)
{
    cpu_set_t set;

    assert_int_equal(cpus_parse_list(list, &set), 0);
    return set;
}

static void assert_set(const cpu_set_t *set, const char *list)
{
    char text[256];

    assert_string_equal(cpus_format(set, text, sizeof text), list);
}

static struct cpus_choice choice_of(const char *text)
{
    struct cpus_choice choice;

    assert_int_equal(cpus_parse(text, &choice), 0);
    return choice;
}

static void *say_core(void *argument)
{
    *(int *)argument = sched_getcpu();
    return NULL;
}

/* The core that a thread started for `core` finds itself on. */
static int runs_on(int core)
{
    pthread_t thread;
    int seen = -1;
    assert_int_equal(cpus_start_thread(&thread, core, say_core, &seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return seen;
}

static void test_kernel_list_forms(void **state)
{
    static const char *const bad[] = {"a",      "1-",    "-1",  "3-2",        "1,",
                                      ",1",     "1,,2",  "1 2", "1\n2",       "1024",
                                      "0-1024", "1-2-3", " 1",  "99999999999"};
    cpu_set_t set;

    (void)state;
    assert_set(&(cpu_set_t){0}, "");
    for (size_t i = 0; i < 4; i++) {
        set = set_of("7");
        assert_int_equal(cpus_parse_list((const char *[]){"", "\n", "(null)", "(null)\n"}[i], &set),
                         0);
        assert_int_equal(CPU_COUNT(&set), 0);
    }
    set = set_of("2-5,8\n");
    assert_int_equal(CPU_COUNT(&set), 5);
    assert_set(&set, "2-5,8");
    set = set_of("1023,0,1");
    assert_set(&set, "0-1,1023");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        set = set_of("7");
        assert_int_equal(cpus_parse_list(bad[i], &set), -EINVAL);
        assert_set(&set, "7");
    }
}

static void test_choices(void **state)
{
    static const char *const bad[] = {"", "\n", "(null)", "2\n", "Auto", "auto ", "x", "1-0"};
    struct cpus_choice choice = choice_of("none");

    (void)state;
    assert_int_equal(choice.kind, CPUS_NONE);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(cpus_parse(bad[i], &choice), -EINVAL);
        assert_int_equal(choice.kind, CPUS_NONE);
    }
    assert_int_equal(choice_of("auto").kind, CPUS_AUTO);
    choice = choice_of("3-4");
    assert_int_equal(choice.kind, CPUS_LIST);
    assert_set(&choice.list, "3-4");
}

/* Every set comes back from its text; a text that is too short is cut and ended. */
static void test_format(void **state)
{
    cpu_set_t every_other, back;
    char text[8192], cut[6];

    (void)state;
    CPU_ZERO(&every_other);
    for (size_t core = 0; core < CPU_SETSIZE; core += 2)
        CPU_SET(core, &every_other);
    cpus_format(&every_other, text, sizeof text);
    back = set_of(text);
    assert_true(CPU_EQUAL(&back, &every_other));
    back = set_of("0-1023");
    assert_set(&back, "0-1023");
    assert_string_equal(cpus_format(&back, cut, sizeof cut), "0-102");
    assert_string_equal(cpus_format(&every_other, cut, sizeof cut), "0,2,4");
    assert_string_equal(cpus_format(&every_other, cut, 1), "");
    for (size_t bytes = 1; bytes < 100; bytes++) { /* and nothing behind it is touched */
        memset(text, 'x', sizeof text);
        cpus_format(&every_other, text, bytes);
        assert_int_equal(text[bytes - 1], '\0');
        for (size_t i = bytes; i < sizeof text; i++)
            assert_int_equal(text[i], 'x');
    }
}

static void test_allowed(void **state)
{
    static const struct {
        const char *online, *isolated, *affinity, *reachable, *allowed;
    } cases[] = {
        {"0-3", "", "0-3", "", "0-3"},           /* nothing special */
        {"0-3", "2-3", "0-1", "2-3", "0-3"},     /* isolcpus= took them from everybody */
        {"0-3", "2-3", "0-1", "3", "0-1,3"},     /* ... and our cpuset gives back only one */
        {"0-3", "2-3", "0-1", "", "0-1"},        /* ... or none */
        {"0-3", "2-3", "0", "2-3", "0"},         /* somebody chose for us: nothing is added */
        {"0-3", "2-3", "2", "2-3", "2"},         /* ... an isolated one */
        {"0-3", "2-3", "0-3", "", "0-3"},        /* all are ours */
        {"0-1", "2-3", "0-1", "2-3", "0-1"},     /* the isolated ones are offline */
        {"0-1,3", "2-3", "0-1", "2-3", "0-1,3"}, /* one of them is */
        {"0-1", "0-1", "0-1", "0-1", "0-1"},
        {"0-3", "2-3", "0-1,7", "2-3", "0-3"}, /* an affinity may name cores that are not there */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cpu_set_t online = set_of(cases[i].online), isolated = set_of(cases[i].isolated),
                        affinity = set_of(cases[i].affinity),
                        reachable = set_of(cases[i].reachable);
        const cpu_set_t allowed = cpus_allowed(&online, &isolated, &affinity, &reachable);

        assert_set(&allowed, cases[i].allowed);
    }
}

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Every form of the kernel's files, in a sysfs of our own. */
static void test_read_system(void **state)
{
    char directory[] = "/tmp/test_cpus.XXXXXX", path[64];
    struct cpus_system system, before;
    cpu_set_t affinity;

    (void)state;
    assert_non_null(mkdtemp(directory));
    memset(&before, 0x5a, sizeof before);
    system = before;
    assert_int_equal(cpus_read_system(directory, &system), -ENOENT);
    assert_memory_equal(&system, &before, sizeof system);

    assert_int_equal(sched_getaffinity(0, sizeof affinity, &affinity), 0);
    write_file(directory, "online", "0-1023\n");
    assert_int_equal(cpus_read_system(directory, &system), 0); /* no file of isolated cores */
    assert_int_equal(CPU_COUNT(&system.isolated), 0);
    assert_int_equal(CPU_COUNT(&system.online), 1024);
    assert_true(CPU_EQUAL(&system.allowed, &affinity));

    for (size_t i = 0; i < 4; i++) {
        write_file(directory, "isolated", (const char *[]){"", "\n", "(null)\n", "2-5,8\n"}[i]);
        assert_int_equal(cpus_read_system(directory, &system), 0);
        assert_set(&system.isolated, i < 3 ? "" : "2-5,8");
    }
    write_file(directory, "isolated", "nonsense\n");
    system = before;
    assert_int_equal(cpus_read_system(directory, &system), -EINVAL);
    assert_memory_equal(&system, &before, sizeof system);

    snprintf(path, sizeof path, "%s/online", directory);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/isolated", directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

/* A core that is "isolated" and missing from our affinity is found by moving there, and our own
 * affinity is as before. */
static void test_probe(void **state)
{
    char directory[] = "/tmp/test_cpus.XXXXXX", text[128], path[64];
    cpu_set_t affinity, narrow, last, after;
    struct cpus_system system;
    size_t core = CPU_SETSIZE;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof affinity, &affinity), 0);
    if (CPU_COUNT(&affinity) < 2) {
        printf("# skipped: there is one core only\n");
        skip();
    }
    do
        core--;
    while (!CPU_ISSET(core, &affinity));
    CPU_ZERO(&last);
    CPU_SET(core, &last);
    CPU_XOR(&narrow, &affinity, &last);
    assert_non_null(mkdtemp(directory));
    write_file(directory, "online", cpus_format(&affinity, text, sizeof text));
    write_file(directory, "isolated", cpus_format(&last, text, sizeof text));

    assert_int_equal(sched_setaffinity(0, sizeof narrow, &narrow), 0);
    assert_int_equal(cpus_read_system(directory, &system), 0);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&after, &narrow));
    assert_true(CPU_EQUAL(&system.allowed, &affinity));
    assert_int_equal(runs_on((int)core), (int)core);
    assert_int_equal(sched_setaffinity(0, sizeof affinity, &affinity), 0);

    snprintf(path, sizeof path, "%s/online", directory);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/isolated", directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void test_start_thread(void **state)
{
    (void)state;
    pthread_t thread;
    cpu_set_t affinity;
    assert_int_equal(sched_getaffinity(0, sizeof affinity, &affinity), 0);
    assert_true(CPU_ISSET((size_t)runs_on(-1), &affinity)); /* anywhere that is ours */
    assert_int_equal(cpus_start_thread(&thread, CPU_SETSIZE, say_core, NULL), -EINVAL);
    assert_int_equal(cpus_start_thread(&thread, CPU_SETSIZE - 1, say_core, NULL), -EINVAL);
}

/* The reader and its writers, as "0: 1 2". */
static void assert_plan(const struct cpus_system *system, const char *reader_text,
                        const char *writers_text, unsigned writer_count, const char *wanted)
{
    const struct cpus_choice reader = choice_of(reader_text), writers = choice_of(writers_text);
    struct cpus_plan plan;
    char text[128];
    int used;

    assert_int_equal(cpus_plan(system, &reader, &writers, writer_count, &plan), 0);
    used = snprintf(text, sizeof text, "%d:", plan.reader_core);
    for (unsigned w = 0; w < writer_count; w++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %d", plan.writer_cores[w]);
    assert_string_equal(text, wanted);
    cpus_plan_free(&plan);
}

static void remove_tree(const char *directory)
{
    char command[128];

    snprintf(command, sizeof command, "rm -r '%s'", directory);
    assert_int_equal(system(command), 0);
}

/* Reads a sysfs in which all `online` cores are isolated; `siblings` has the list of each core's
 * topology, NULL: it has no such folder. All of them are ours. */
static struct cpus_system read_faked(const char *online, const char *file,
                                     const char *const *siblings)
{
    char directory[] = "/tmp/test_cpus.XXXXXX", path[128];
    struct cpus_system system;

    assert_non_null(mkdtemp(directory));
    write_file(directory, "online", online);
    write_file(directory, "isolated", online);
    for (int core = 0; core < 8; core++) {
        if (siblings[core] == NULL)
            continue;
        snprintf(path, sizeof path, "%s/cpu%d", directory, core);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/cpu%d/topology", directory, core);
        assert_int_equal(mkdir(path, 0700), 0);
        write_file(path, file, siblings[core]);
    }
    assert_int_equal(cpus_read_system(directory, &system), 0);
    system.allowed = system.online;
    remove_tree(directory);
    return system;
}

static void test_siblings(void **state)
{
    /* 0-3 and 4-7, as most machines number them; 0,1 and 2,3 and so on, as others do. */
    static const char *const far[8] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n",
                                       "0,4\n", "1,5\n", "2,6\n", "3,7\n"};
    static const char *const near[8] = {"0-1\n", "0-1\n", "2-3\n", "2-3\n",
                                        "4-5\n", "4-5\n", "6-7\n", "6-7\n"};
    static const char *const one_offline[8] = {"0,4\n", "1\n", "2,6\n", "3,7\n",
                                               "0,4\n", NULL,  "2,6\n", "3,7\n"};
    static const char *const nothing[8] = {0};
    static const char *const nonsense[8] = {"x\n",  "",    "7\n", "(null)\n",
                                            "0-\n", "0\n", "\n",  "1024\n"};
    static const char *const files[] = {"core_cpus_list", "thread_siblings_list"};
    struct cpus_system system;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        system = read_faked("0-7\n", files[i], far);
        assert_plan(&system, "auto", "auto", 3, "0: 1 2 3");
        assert_plan(&system, "auto", "auto", 9, "0: 1 2 3 5 6 7 4 1 2");
        system = read_faked("0-7\n", files[i], near);
        assert_plan(&system, "auto", "auto", 3, "0: 2 4 6");
        assert_plan(&system, "auto", "auto", 9, "0: 2 4 6 3 5 7 1 2 4");
    }
    assert_plan(&system, "none", "auto", 5, "-1: 0 2 4 6 1");
    assert_plan(&system, "5", "auto", 5, "5: 6 0 2 7 1"); /* 4 is its sibling */
    assert_plan(&system, "auto", "0,2", 2, "4: 0 2");     /* 1 and 3 are theirs */
    assert_plan(&system, "auto", "0,2,4,6", 4, "1: 0 2 4 6");
    assert_plan(&system, "0", "1-3", 4, "0: 1 2 3 1"); /* as it was asked for */

    system = read_faked("0-4,6-7\n", files[0], one_offline);
    assert_plan(&system, "auto", "auto", 7, "0: 1 2 3 6 7 4 1");
    system = read_faked("0-7\n", files[0], nothing);
    assert_plan(&system, "auto", "auto", 8, "0: 1 2 3 4 5 6 7 1");
    system = read_faked("0-7\n", files[0], nonsense);
    assert_plan(&system, "auto", "auto", 8, "0: 1 2 3 4 5 6 7 1");

    system = read_faked("0-7\n", files[0], far);
    system.isolated = set_of("2,6"); /* one physical core alone */
    assert_plan(&system, "auto", "auto", 3, "2: 6 2 6");
    system.isolated = set_of("2,3,6");
    assert_plan(&system, "auto", "auto", 3, "2: 3 6 3");
    system.allowed = set_of("2,6-7"); /* a cpuset smaller than the isolated set */
    system.isolated = set_of("2-7");
    assert_plan(&system, "auto", "auto", 3, "2: 7 6 7");
}

static void test_plan(void **state)
{
    static const struct {
        const char *isolated, *allowed, *reader, *writers; /* cores 0-7 are online */
        const char *plan;                                  /* the reader: its four writers */
        bool none_isolated;
    } cases[] = {
        {"", "0-7", "auto", "auto", "-1: -1 -1 -1 -1", true},
        {"2-6", "0-7", "auto", "auto", "2: 3 4 5 6", false},
        {"2-4", "0-7", "auto", "auto", "2: 3 4 3 4", false},
        {"2-6", "0-7", "none", "auto", "-1: 2 3 4 5", false},
        {"2-6", "0-7", "auto", "none", "2: -1 -1 -1 -1", false},
        {"", "0-7", "none", "none", "-1: -1 -1 -1 -1", false},
        {"", "0-7", "auto", "none", "-1: -1 -1 -1 -1", true},
        {"", "0-7", "1", "auto", "1: -1 -1 -1 -1", true},
        {"2-6", "0-4", "auto", "auto", "2: 3 4 3 4", false},     /* not all are ours */
        {"2-6", "0-1", "auto", "auto", "-1: -1 -1 -1 -1", true}, /* none is */
        {"8-9", "0-9", "auto", "auto", "-1: -1 -1 -1 -1", true}, /* offline */
        {"2-3", "0-7", "auto", "auto", "2: 3 2 3 2", false},     /* one is left: over both */
        {"2", "0-7", "auto", "auto", "2: 2 2 2 2", false},
        {"2-6", "0-7", "4", "auto", "4: 5 6 2 3", false},
        {"2-6", "0-7", "0", "auto", "0: 2 3 4 5", false},
        {"2-6", "0-7", "auto", "2-3", "4: 2 3 2 3", false}, /* leaves the writers theirs */
        {"2-3", "0-7", "auto", "2-3", "2: 2 3 2 3", false},
        {"2-6", "0-7", "5-6", "0,7", "5: 0 7 0 7", false},
        {"2-6", "0-7", "1", "1-2", "1: 1 2 1 2", false}, /* as it was asked for */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpus_system system = {.online = set_of("0-7"),
                                     .isolated = set_of(cases[i].isolated),
                                     .allowed = set_of(cases[i].allowed)};
        const struct cpus_choice reader = choice_of(cases[i].reader),
                                 writers = choice_of(cases[i].writers);
        struct cpus_plan plan;

        for (int core = 0; core < CPU_SETSIZE; core++)
            system.physical[core] = core;
        assert_plan(&system, cases[i].reader, cases[i].writers, 4, cases[i].plan);
        assert_int_equal(cpus_plan(&system, &reader, &writers, 4, &plan), 0);
        assert_int_equal(plan.none_isolated, cases[i].none_isolated);
        cpus_plan_free(&plan);
        assert_null(plan.writer_cores);
    }
    cpus_plan_free(NULL);
}

static void test_check(void **state)
{
    const struct cpus_system system = {.online = set_of("0-3,5"), .allowed = set_of("1-3")};
    const char *reason = NULL;
    struct cpus_choice choice = choice_of("1-3");

    (void)state;
    assert_int_equal(cpus_check(&system, &choice, &reason), -1);
    assert_null(reason);
    choice = choice_of("auto");
    assert_int_equal(cpus_check(&system, &choice, &reason), -1);
    choice = choice_of("2-4");
    assert_int_equal(cpus_check(&system, &choice, &reason), 4);
    assert_string_equal(reason, "offline");
    choice = choice_of("2,5");
    assert_int_equal(cpus_check(&system, &choice, &reason), 5);
    assert_string_equal(reason, "not ours");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_list_forms),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_read_system),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_start_thread),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_siblings),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
