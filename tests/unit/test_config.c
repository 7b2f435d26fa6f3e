/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/buffer/db.h"
#include "../../src/daemon/config.h"
#include "../../src/daemon/config_options.h"
#include "../../src/daemon/config_value.h"

/* libconfig 1.5 loses the string in hand when it stops at an error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

/* Folder of this run; in it c.conf, and the output that most tests want. */
static char folder[] = "/tmp/test_config.XXXXXX";
static char conf_path[64], output_override[96];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL || chmod(folder, 0755) < 0)
        return -1;
    snprintf(conf_path, sizeof conf_path, "%s/c.conf", folder);
    snprintf(output_override, sizeof output_override, "output_file_path=%s/out.dbuf", folder);
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static int remove_folder(void **state)
{
    (void)state;
    return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 20);

    if (file == NULL)
        fail_msg("%s cannot be read; the tests run in the root of the repository", path);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static void replace(char *text, const char *what, const char *by)
{
    for (char *at = text; (at = strstr(at, what)) != NULL; at += strlen(by)) {
        memmove(at + strlen(by), at + strlen(what), strlen(at + strlen(what)) + 1);
        memcpy(at, by, strlen(by));
    }
}

/* What was found out about a configuration: the configuration, or its errors, in which F stands for
 * the file and T for the folder. */
struct outcome {
    int rc;
    struct config *config;
    char *errors;
};

static struct outcome load_path(const char *path, const char *const overrides[])
{
    struct outcome outcome = {0};
    size_t bytes, count = 0;
    FILE *errors = open_memstream(&outcome.errors, &bytes);

    assert_non_null(errors);
    while (overrides[count] != NULL)
        count++;
    outcome.rc = config_load(&outcome.config, path, overrides, count, errors);
    assert_int_equal(fclose(errors), 0);
    replace(outcome.errors, conf_path, "F");
    replace(outcome.errors, folder, "T");
    /* Errors and a configuration exclude each other, and each error is a line. */
    assert_true(outcome.rc == 0 || outcome.rc == -EINVAL);
    assert_int_equal(outcome.rc == 0, outcome.config != NULL);
    assert_int_equal(outcome.rc == 0, outcome.errors[0] == '\0');
    assert_true(outcome.rc == 0 || outcome.errors[strlen(outcome.errors) - 1] == '\n');
    return outcome;
}

static void drop(struct outcome *outcome)
{
    config_free(outcome->config);
    free(outcome->errors);
}

/* Loads `text` as a file (NULL: none) and then up to three overrides (NULL: no more). */
static struct outcome load(const char *text, const char *a, const char *b, const char *c)
{
    const char *const overrides[] = {output_override, a, b, c, NULL};

    if (text != NULL)
        write_text(conf_path, text);
    return load_path(text != NULL ? conf_path : NULL, overrides);
}

static void assert_errors(const char *text, const char *a, const char *b, const char *c,
                          const char *errors)
{
    struct outcome outcome = load(text, a, b, c);

    assert_string_equal(outcome.errors, errors);
    drop(&outcome);
}

static char *print(const struct config *config)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    config_print(config, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void test_quantities(void **state)
{
    static const struct {
        const char *text, *problem;
        uint64_t value;
        const char *back; /* as it is written */
    } sizes[] =
        {
            {"0", NULL, 0, "0"},
            {"17", NULL, 17, "17B"},
            {"100MB", NULL, 100000000, "100MB"},
            {"100 MB", NULL, 100000000, "100MB"},
            {"64KiB", NULL, 65536, "64KiB"},
            {"1kB", NULL, 1000, "1kB"},
            {"2GiB", NULL, (uint64_t)2 << 30, "2GiB"},
            {"3TiB", NULL, (uint64_t)3 << 40, "3TiB"},
            {"1024KiB", NULL, 1 << 20, "1MiB"},
            {"18446744073709551615", NULL, UINT64_MAX, "18446744073709551615B"},
            {"18446744073709551616", "is too large", 0, NULL},
            {"16777216TiB", "is too large", 0, NULL},
            {"1.5GB", "has a fraction, take a smaller unit", 0, NULL},
            {"-1", "is negative", 0, NULL},
            {"", "has no number", 0, NULL},
            {"MB", "has no number", 0, NULL},
            {"+1", "has no number", 0, NULL},
            {"1mb", "has an unknown unit", 0, NULL},
            {"1K", "has an unknown unit", 0, NULL},
            {"1MB ", "has an unknown unit", 0, NULL},
            {"1s", "has an unknown unit", 0, NULL},
        },
      times[] = {
          {"10", NULL, 10000000000, "10s"},
          {"1ns", NULL, 1, "1ns"},
          {"5us", NULL, 5000, "5us"},
          {"100ms", NULL, 100000000, "100ms"},
          {"90s", NULL, 90000000000, "90s"},
          {"2min", NULL, 120000000000, "2min"},
          {"24h", NULL, 86400000000000, "1d"},
          {"1m", "has an unknown unit", 0, NULL},
          {"18446744074s", "is too large", 0, NULL},
      };
    char text[VALUE_TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes + sizeof times / sizeof *times; i++) {
        const bool size = i < sizeof sizes / sizeof *sizes;
        const size_t t = size ? i : i - sizeof sizes / sizeof *sizes;
        uint64_t value = 4711;
        const char *problem = size ? value_parse_size(sizes[t].text, &value)
                                   : value_parse_time(times[t].text, &value);
        const char *expected = size ? sizes[t].problem : times[t].problem;

        if (expected != NULL) {
            assert_non_null(problem);
            assert_string_equal(problem, expected);
            assert_int_equal(value, 4711);
        } else {
            assert_null(problem);
            assert_int_equal(value, size ? sizes[t].value : times[t].value);
            assert_string_equal(size ? value_format_size(value, text)
                                     : value_format_time(value, text),
                                size ? sizes[t].back : times[t].back);
        }
    }
}

static void test_defaults(void **state)
{
    struct outcome outcome = load(NULL, NULL, NULL, NULL);
    const struct config *c = outcome.config;

    (void)state;
    assert_string_equal(outcome.errors, "");
    assert_int_equal(c->buffer_capacity, 100000000);
    assert_int_equal(c->writer_count, 4);
    assert_false(c->debug_mode);
    assert_true(c->enable_stats);
    assert_int_equal(c->stats_interval, 10000000000);
    assert_int_equal(c->cpus_reader.kind, CPUS_AUTO);
    assert_int_equal(c->cpus_wait, WAIT_PARK);
    assert_string_equal(c->source_path, "");
    assert_int_equal(c->output_segment_size, 1 << 30);
    assert_int_equal(c->output_durability, 2);
    drop(&outcome);
}

static void test_file_values(void **state)
{
    struct outcome outcome = load("buffer_capacity = 2000000;\n"
                                  "stats_interval = 60\n" /* seconds; no semicolon needed */
                                  "debug_mode = True; // a comment\n"
                                  "source = { limit = 5000000000; max_block = 0x200L; /* \" */\n"
                                  "  seed = 9223372036854775807; min_block = \"0x\" \"\"; };\n",
                                  NULL, NULL, NULL);

    (void)state;
    assert_string_equal(
        outcome.errors,
        "F:5: source.min_block = \"0x\": has an unknown unit, must be a size, \"0\" to "
        "\"1MiB\" (" VALUE_SIZE_UNITS ", or an integer of bytes)\n");
    drop(&outcome);
    outcome =
        load("buffer_capacity = 2000000; stats_interval = 60\ndebug_mode = True;# no newline\n"
             "source = { limit = 5000000000; max_block = 0x200; seed = 9223372036854775807 };\n"
             "output: { min_free = 0x1FFFFFFFF; retain_size = 4294967296L } # end",
             NULL, NULL, NULL);
    assert_string_equal(outcome.errors, "");
    assert_int_equal(outcome.config->buffer_capacity, 2000000);
    assert_int_equal(outcome.config->stats_interval, 60000000000);
    assert_true(outcome.config->debug_mode);
    assert_int_equal(outcome.config->source_max_block, 512);
    /* Neither cut to 32 bits, whatever the version of libconfig. */
    assert_int_equal(outcome.config->source_limit, 5000000000);
    assert_int_equal(outcome.config->source_seed, INT64_MAX);
    assert_int_equal(outcome.config->output_min_free, 0x1FFFFFFFF);
    drop(&outcome);
    outcome = load("", NULL, NULL, NULL); /* an empty file is one without settings */
    assert_string_equal(outcome.errors, "");
    drop(&outcome);
}

static void test_overrides(void **state)
{
    const char *text = "writer_count = 7;\nsource: { type = \"pipe\"; path = \"x\"; };\n";
    struct outcome outcome = load(text, "source.type=random", "writer_count=8", "writer_count=9");

    (void)state;
    assert_string_equal(outcome.errors, "");
    assert_int_equal(outcome.config->writer_count, 9);
    assert_int_equal(outcome.config->source_type, 0);
    assert_string_equal(outcome.config->source_path, "x");
    drop(&outcome);
    outcome = load(NULL, "source.path=\"a\\\"=b \"", "debug_mode=TRUE", "source.limit=2GB");
    assert_string_equal(outcome.errors, "");
    assert_string_equal(outcome.config->source_path, "a\"=b ");
    assert_true(outcome.config->debug_mode);
    assert_int_equal(outcome.config->source_limit, 2000000000);
    drop(&outcome);
    /* What the file has wrong is told, even if an override covers it. */
    assert_errors("writer_count = 0;", "writer_count=1", NULL, NULL,
                  "F:1: writer_count = 0: must be 1 to 1024\n");
}

/* ---- Errors ---------------------------------------------------------------------------------- */

#define SIZE_WANTED(bounds)                                                                        \
    "must be a size, " bounds " (" VALUE_SIZE_UNITS ", or an integer of bytes)\n"
#define TIME_WANTED(bounds)                                                                        \
    "must be a time, " bounds " (" VALUE_TIME_UNITS ", or an integer of seconds)\n"
#define SYNTAX "syntax error, must be KEY = VALUE; or GROUP: { ... }; with strings in \"quotes\"\n"

/* Every kind of error, each alone in a file. */
static void test_file_errors(void **state)
{
    static const struct {
        const char *text, *errors;
    } cases[] = {
        {"\n\nwriter_count = 0;\n", "F:3: writer_count = 0: must be 1 to 1024\n"},
        {"writer_count = 1025;", "F:1: writer_count = 1025: must be 1 to 1024\n"},
        {"writer_count = -1;",
         "F:1: writer_count = -1: is negative, must be an integer, 1 to 1024\n"},
        {"writer_count = \"4\";",
         "F:1: writer_count = \"4\": is a string, must be an integer, 1 to 1024\n"},
        {"writer_count = 4294967300;", "F:1: writer_count = 4294967300: must be 1 to 1024\n"},
        {"writer_count = 1.5;",
         "F:1: writer_count = 1.5: is a number that is no 64-bit integer, must "
         "be an integer, 1 to 1024\n"},
        {"source: { seed = 99999999999999999999; };",
         "F:1: source.seed = 1e+20: is a number that is no 64-bit integer, must be an integer, 0 "
         "to "
         "9223372036854775807\n"},
        {"source: { seed = 0x8000000000000000; };", "F:1: source.seed = 1e+30: is a number that is "
                                                    "no 64-bit integer, must be an integer, 0 to "
                                                    "9223372036854775807\n"},
        {"writer_count = [1, 2];", "F:1: writer_count: is a list, must be an integer, 1 to 1024\n"},
        {"writer_count = { a = 1; };",
         "F:1: writer_count: is a group, must be an integer, 1 to 1024\n"},
        {"debug_mode = 1;", "F:1: debug_mode = 1: is an integer, must be true or false\n"},
        {"enable_stats = \"yes\";",
         "F:1: enable_stats = \"yes\": is a string, must be true or false\n"},
        {"buffer_capacity = \"1KiB\";",
         "F:1: buffer_capacity = \"1KiB\": must be \"64KiB\" to \"64GiB\"\n"},
        {"buffer_capacity = true;",
         "F:1: buffer_capacity = true: is a boolean, " SIZE_WANTED("\"64KiB\" to \"64GiB\"")},
        {"buffer_capacity = \"1.5GB\";", "F:1: buffer_capacity = \"1.5GB\": has a fraction, take a "
                                         "smaller unit, " SIZE_WANTED("\"64KiB\" to \"64GiB\"")},
        {"buffer_capacity = \"99999999999TB\";",
         "F:1: buffer_capacity = \"99999999999TB\": is too large, " SIZE_WANTED(
             "\"64KiB\" to \"64GiB\"")},
        {"stats_interval = \"1 year\";",
         "F:1: stats_interval = \"1 year\": has an unknown unit, " TIME_WANTED(
             "\"100ms\" to \"1d\"")},
        {"stats_interval = 0;", "F:1: stats_interval = 0: must be \"100ms\" to \"1d\"\n"},
        {"output_file_path = 3;",
         "F:1: output_file_path = 3: is an integer, must be a string, such "
         "as \"/var/lib/dbufd/dbufd.dbuf\"\n"},
        {"source: { type = \"pip\"; };",
         "F:1: source.type = \"pip\": must be \"random\", \"pipe\", \"unix\" or \"udp\"\n"},
        {"output: {\n durability = \"full\"; };",
         "F:2: output.durability = \"full\": must be \"none\", \"interval\" or \"half\"\n"},
        {"cpus: { writers = \"1-\"; };",
         "F:1: cpus.writers = \"1-\": must be \"auto\", \"none\" or a "
         "list of cores such as \"2-5,8\"\n"},
        {"cpus: { reader = 1; };",
         "F:1: cpus.reader = 1: is an integer, must be \"auto\", \"none\" "
         "or a list of cores such as \"2-5,8\"\n"},
        {"source = \"pipe\";",
         "F:1: source = \"pipe\": is a string, must be a group: source: { KEY "
         "= VALUE; ... }, or -o source.KEY=VALUE\n"},
        /* keys */
        {"writer_cout = 4;",
         "F:1: writer_cout = 4: there is no such key, did you mean writer_count?\n"},
        {"min_free = \"1GB\";",
         "F:1: min_free = \"1GB\": there is no such key, did you mean output.min_free?\n"},
        {"source: { min_free = 1; }",
         "F:1: source.min_free = 1: there is no such key, did you mean output.min_free?\n"},
        {"output: { sync_intervall = 1; }", "F:1: output.sync_intervall = 1: there is no such key, "
                                            "did you mean output.sync_interval?\n"},
        {"nothing_near_it = \"a\\nb\";",
         "F:1: nothing_near_it = \"a\\nb\": there is no such key; dbufd --help lists the keys\n"},
        {"sorce: { type = 7; };\n", "F:1: sorce: there is no such group, did you mean source?\n"},
        {"source: { type: { deeper = 1; }; };",
         "F:1: source.type: is a group, must be \"random\", \"pipe\", \"unix\" or \"udp\"\n"},
        /* syntax */
        {"a\n", "F:2: end of the file: " SYNTAX "F:2: nothing behind this line could be checked\n"},
        {"writer_count = = 4\n", "F:1: writer_count = = 4: " SYNTAX},
        {"writer_count =\ndebug_mode = true;\n", "F:1: writer_count =: " SYNTAX},
        {"writer_count 4\ndebug_mode = true;\n", "F:1: writer_count 4: " SYNTAX},
        {"writer_count = 4;\n\nwriter_count = 5;\n",
         "F:3: writer_count = 5;: duplicate setting name; a key must stand only once\n"},
        {"source: { rate = 1; };\nsource:\n{\n  limit = 1;\n};\n",
         "F:2: source:: duplicate setting name; a key must stand only once\n"
         "F:2: nothing behind this line could be checked\n"},
        {"source.type = \"pipe\";\n", "F:1: source.type = \"pipe\";: a key stands in its group, "
                                      "must be GROUP: { KEY = VALUE; };\n"},
        {"source: {\n  type = \"pipe\n};\n",
         "F:2: type = \"pipe: a string without its closing quote\n"},
        {"@include \"other\"\n",
         "F:1: @include \"other\": @include is not taken, one file has it all\n"},
        {"debug_mode = true;\n/* no end\n", "F:2: /* no end: a comment without its closing */\n"},
        {"source:\n{\n  type = \"random\";\n",
         "F:4: end of the file: " SYNTAX "F:4: nothing behind this line could be checked\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_errors(cases[i].text, NULL, NULL, NULL, cases[i].errors);
}

static void test_override_errors(void **state)
{
    static const struct {
        const char *override, *errors;
    } cases[] = {
        {"writer_count=0", "-o writer_count=0: must be 1 to 1024\n"},
        {"writer_count=", "-o writer_count=: has no number, must be an integer, 1 to 1024\n"},
        {"writer_count=4x", "-o writer_count=4x: is no integer, must be an integer, 1 to 1024\n"},
        {"writer_count=\"4\"",
         "-o writer_count=\"4\": is a string, must be an integer, 1 to 1024\n"},
        {"debug_mode=1", "-o debug_mode=1: must be true or false\n"},
        {"source.type=tcp",
         "-o source.type=tcp: must be \"random\", \"pipe\", \"unix\" or \"udp\"\n"},
        {"source.typ=pipe",
         "-o source.typ=pipe: there is no such key, did you mean source.type?\n"},
        {"source=pipe",
         "-o source=pipe: is a word, must be a group: source: { KEY = VALUE; ... }, or "
         "-o source.KEY=VALUE\n"},
        {"writer_count", "-o writer_count: must be KEY=VALUE, such as writer_count=4 or "
                         "source.type=pipe\n"},
        {"=4", "-o =4: must be KEY=VALUE, such as writer_count=4 or source.type=pipe\n"},
        {"", "-o : must be KEY=VALUE, such as writer_count=4 or source.type=pipe\n"},
        {"source.path=\"x",
         "-o source.path=\"x: must have its value in a pair of quotes, or in none\n"},
        {"source.path=\"x\"; writer_count = 3",
         "-o source.path=\"x\"; writer_count = 3: must have its value in a pair of quotes, or in "
         "none\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_errors(NULL, cases[i].override, NULL, NULL, cases[i].errors);
}

/* All errors of a file at once, whatever their kind, and those of the command line. */
static void test_all_at_once(void **state)
{
    (void)state;
    assert_errors(
        "# many errors\n"
        "writer_count = 0;\n"
        "writer_cout = 4;\n"
        "stats_interval = = 4;\n"
        "debug_mode =\n"
        "buffer_capacity = \"lots\"; source: { type = \"pip\";\n"
        "    path = \"x;\n"
        "    rate = -1; };\n"
        "writer_count = 5;\n"
        "output: { durability = 3; }\n",
        "enable_stats=maybe", "foo", "cpus.wait=run",
        "F:7: path = \"x;: a string without its closing quote\n"
        "F:4: stats_interval = = 4;: " SYNTAX "F:5: debug_mode =: " SYNTAX
        "F:9: writer_count = 5;: duplicate setting name; a key must stand only once\n"
        "-o foo: must be KEY=VALUE, such as writer_count=4 or source.type=pipe\n"
        "F:2: writer_count = 0: must be 1 to 1024\n"
        "F:3: writer_cout = 4: there is no such key, did you mean writer_count?\n"
        "F:6: buffer_capacity = \"lots\": has no number, " SIZE_WANTED(
            "\"64KiB\" to \"64GiB\"") "F:6: source.type = \"pip\": must be \"random\", \"pipe\", "
                                      "\"unix\" or \"udp\"\n"
                                      "F:8: source.rate = -1: is negative, " SIZE_WANTED(
                                          "\"0\" to \"1TB\"") "F:10: output.durability = 3: is an "
                                                              "integer, must be \"none\", "
                                                              "\"interval\" or "
                                                              "\"half\"\n"
                                                              "-o enable_stats=maybe: must be true "
                                                              "or false\n"
                                                              "-o cpus.wait=run: must be \"park\" "
                                                              "or \"spin\"\n");
    /* Values that are good are held against each other, whatever else is wrong. */
    assert_errors(
        "writer_count = 0;\nsource: { min_block = 20; max_block = 10; };\n", NULL, NULL, NULL,
        "F:1: writer_count = 0: must be 1 to 1024\n"
        "F:2: source.min_block = 20: source.min_block 20 must be at most source.max_block "
        "10\n");
}

static void test_unreadable(void **state)
{
    const char *const overrides[] = {output_override, "writer_count=0", NULL};
    struct outcome outcome = load_path("/nonexistent/x.conf", overrides);
    FILE *file;

    (void)state;
    assert_string_equal(
        outcome.errors,
        "/nonexistent/x.conf: cannot be read: No such file or directory; give another "
        "file with -c FILE\n-o writer_count=0: must be 1 to 1024\n");
    drop(&outcome);
    outcome = load_path(folder, (const char *const[]){NULL});
    assert_string_equal(outcome.errors,
                        "T: cannot be read: Is a directory; give another file with -c FILE\n");
    drop(&outcome);
    file = fopen(conf_path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite("writer_count = 4;\0 = 5;", 1, 24, file), 24);
    assert_int_equal(fclose(file), 0);
    outcome = load_path(conf_path, overrides);
    assert_true(strncmp(outcome.errors, "F: cannot be read: it is no text", 32) == 0);
    drop(&outcome);
    outcome = load_path("/dev/zero", overrides);
    assert_non_null(strstr(outcome.errors, "/dev/zero: cannot be read: it is no text"));
    drop(&outcome);
}

/* ---- Values against each other, and against the machine -------------------------------------- */

static void test_cross_checks(void **state)
{
    static const struct {
        const char *a, *b, *c, *errors;
    } cases[] = {
        {"source.max_block=5", NULL, NULL,
         "-o source.max_block=5: source.min_block 10 must be at most source.max_block 5\n"},
        {"source.min_block=10", "source.max_block=10", NULL, ""},
        {"output.segment_size=4194303", NULL, NULL,
         "-o output.segment_size=4194303: must be \"0\" (one file without an end) or at least "
         "\"4MiB\"\n"},
        {"output.segment_size=4MiB", NULL, NULL, ""},
        {"output.segment_size=0", NULL, NULL, ""},
        {"output.segment_size=0", "output.retain_size=1GB", NULL,
         "-o output.retain_size=1GB: output.retain_size deletes segments and needs "
         "output.segment_size, which is \"0\"\n"},
        {"output.retain_size=2147483647", NULL, NULL,
         "-o output.retain_size=2147483647: output.retain_size must be \"0\" or at least twice "
         "output.segment_size\n"},
        {"output.retain_size=2GiB", NULL, NULL, ""},
        {"output.format=raw", "output.retain_size=4GiB", NULL, ""},
        {"metrics.listen=unix:/tmp/m.sock", NULL, NULL, ""},
        {"metrics.listen=localhost:80", NULL, NULL,
         "-o metrics.listen=localhost:80: must be empty, or a numeric address with a port such as "
         "\"127.0.0.1:9471\" or \"[::1]:9471\", or \"unix:\" and an absolute path of at most 107 "
         "bytes, such as \"unix:/run/dbufd/metrics.sock\"\n"},
        {"output.failover_path=/tmp/", NULL, NULL,
         "-o output.failover_path=/tmp/: must be the path of a file, like output_file_path\n"},
        {"output_file_path=/tmp/a.dbuf", "output.failover_path=/tmp/../tmp/b.dbuf", NULL,
         "-o output.failover_path=/tmp/../tmp/b.dbuf: must be in another directory than "
         "output_file_path, best on another disk\n"},
        {"output_file_path=/dev/null", "output.failover_path=/tmp/b.dbuf", NULL,
         "-o output.failover_path=/tmp/b.dbuf: must be empty: output_file_path is a character "
         "device and has no segments\n"},
        {"output.failover_path=/nonexistent-dbufd/b.dbuf", NULL, NULL,
         "-o output.failover_path=/nonexistent-dbufd/b.dbuf: the directory /nonexistent-dbufd is "
         "missing, make it or name another\n"},
        {"output.segment_age=999ms", NULL, NULL,
         "-o output.segment_age=999ms: must be \"0\" (never) or at least \"1s\"\n"},
        {"output.retain_age=1ms", NULL, NULL,
         "-o output.retain_age=1ms: must be \"0\" (never) or at least \"1s\"\n"},
        {"output.segment_size=0", "output.retain_age=1h", NULL,
         "-o output.retain_age=1h: output.retain_age deletes segments and needs "
         "output.segment_size, which is \"0\"\n"},
        {"output.segment_size=0", "output.disk_full=rotate", NULL,
         "-o output.disk_full=rotate: output.disk_full \"rotate\" deletes segments and needs "
         "output.segment_size, which is \"0\"\n"},
        {"output.segment_size=0", "output.segment_age=1h", "output.retain_size=1MB", ""},
        {"output.segment_age=1h", "output.retain_age=30d", "output.disk_full=rotate", ""},
        {"output.format=raw", "output.io=pwrite", NULL,
         "-o output.io=pwrite: output.io \"uring\" and \"pwrite\" are for segments, with "
         "output.format "
         "\"raw\" it must be \"auto\" or \"buffered\"\n"},
        {"output.format=raw", "output.io=buffered", NULL, ""},
        {"source.framing=lines", NULL, NULL,
         "-o source.framing=lines: source.framing \"lines\" needs source.type \"pipe\" or "
         "\"unix\"\n"},
        {"source.type=pipe", NULL, NULL,
         "-o source.type=pipe: source.type \"pipe\" needs source.path: a FIFO, or \"-\" for "
         "standard "
         "input\n"},
        {"source.type=pipe", "source.path=-", NULL,
         "-o source.path=-: writer_count must be 1 with source.path \"-\": one pipe feeds one "
         "writer; "
         "or put %w into the path, which gives each of the 4 writers a FIFO of its own\n"},
        {"source.type=pipe", "source.path=-", "writer_count=1", ""},
        {"source.type=pipe", "source.path=/nonexistent/%w", NULL,
         "-o source.path=/nonexistent/%w: there is no FIFO /nonexistent/0 and it cannot be made: "
         "the "
         "directory /nonexistent is missing, make it or name another\n"},
        {"source.type=pipe", "source.path=/", "writer_count=1",
         "-o source.path=/: / is a directory, must be a FIFO, a file, a character device or "
         "\"-\"\n"},
        {"source.type=pipe", "source.path=/dev/null", "writer_count=1", ""},
        {"cpus.wait=spin", "cpus.writers=none", NULL,
         "-o cpus.wait=spin: cpus.wait \"spin\" needs cores of its own, cpus.writers must not be "
         "\"none\"\n"},
        {"cpus.wait=spin", NULL, NULL, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_errors(NULL, cases[i].a, cases[i].b, cases[i].c, cases[i].errors);
}

/* Too small a buffer: the error says what is enough, and that is true. */
static void test_capacity(void **state)
{
    struct outcome outcome =
        load(NULL, "buffer_capacity=1MB", "writer_count=1024", "source.max_block=1MiB");
    char enough[64] = "buffer_capacity=";
    char *least;

    (void)state;
    assert_non_null(strstr(outcome.errors,
                           "-o buffer_capacity=1MB: buffer_capacity \"1MB\" is too "
                           "small for writer_count 1024 and source.max_block 1048576, "
                           "must be at least \""));
    least = strstr(outcome.errors, "at least \"") + strlen("at least \"");
    strncat(enough, least, strcspn(least, "\""));
    drop(&outcome);
    assert_errors(NULL, enough, "writer_count=1024", "source.max_block=1MiB", "");
    /* Blamed is what the user has set. */
    outcome = load(NULL, "writer_count=1024", NULL, NULL);
    if (outcome.rc < 0)
        assert_true(strncmp(outcome.errors, "-o writer_count=1024: buffer_capacity", 37) == 0);
    drop(&outcome);
}

static void test_cores(void **state)
{
    struct cpus_system system;
    char allowed[256], first[64], expected[512];
    size_t core = 0;

    (void)state;
    assert_int_equal(cpus_read_system("/sys/devices/system/cpu", &system), 0);
    while (!CPU_ISSET(core, &system.allowed))
        core++;
    snprintf(first, sizeof first, "cpus.reader=%zu", core);
    assert_errors(NULL, first, NULL, NULL, "");
    if (CPU_ISSET(1023, &system.online)) {
        printf("# skipped: this machine has a core 1023\n");
        skip();
    }
    snprintf(expected, sizeof expected,
             "-o cpus.writers=%zu,1023: core 1023 is offline, must be of \"%s\"\n", core,
             cpus_format(&system.allowed, allowed, sizeof allowed));
    snprintf(first, sizeof first, "cpus.writers=%zu,1023", core);
    assert_errors(NULL, first, NULL, NULL, expected);
    assert_errors(NULL, "cpus.reader=1022-1023", NULL, NULL,
                  (snprintf(expected, sizeof expected,
                            "-o cpus.reader=1022-1023: must be one core, there is one reader\n"
                            "-o cpus.reader=1022-1023: core 1022 is offline, must be of \"%s\"\n",
                            allowed),
                   expected));
}

/* output_file_path, with T for the folder in both. */
static void assert_output(const char *path, const char *errors)
{
    char override[PATH_MAX + 64] = "output_file_path=", expected[PATH_MAX + 256];

    snprintf(override, sizeof override, "output_file_path=%s%s", path[0] == 'T' ? folder : "",
             path[0] == 'T' ? path + 1 : path);
    const char *const overrides[] = {override, NULL};
    struct outcome outcome = load_path(NULL, overrides);

    if (errors[0] != '\0')
        snprintf(expected, sizeof expected, "-o output_file_path=%s: %s\n", path, errors);
    assert_string_equal(outcome.errors, errors[0] != '\0' ? expected : "");
    drop(&outcome);
}

/* `wanted` has T for the folder. */
static void assert_crash_buffer(const char *value, const char *wanted)
{
    const char *name = strstr(value, folder);
    char override[256], line[600] = "";

    snprintf(override, sizeof override, "crash_buffer=%s", value);
    if (*wanted != '\0' && name != NULL)
        snprintf(line, sizeof line, "-o crash_buffer=%.*sT%s: %s\n", (int)(name - value), value,
                 name + strlen(folder), wanted);
    else if (*wanted != '\0')
        snprintf(line, sizeof line, "-o %s: %s\n", override, wanted);
    assert_errors(NULL, override, NULL, NULL, line);
}

static void test_crash_buffer(void **state)
{
    static const char choices[] = "must be \"auto\", \"fdstore\", \"off\" or \"file:PATH\"";
    char given[128], path[96];

    (void)state;
    assert_crash_buffer("auto", "");
    assert_crash_buffer("fdstore", "");
    assert_crash_buffer("off", "");
    assert_crash_buffer("", choices);
    assert_crash_buffer("file:", choices);
    assert_crash_buffer("/tmp/region", choices);
    assert_crash_buffer("file:region",
                        "must have an absolute path, so that the next start finds it");
    snprintf(given, sizeof given, "file:%s/region", folder);
    assert_crash_buffer(given, "");
    snprintf(given, sizeof given, "file:%s", folder);
    assert_crash_buffer(given, "T is a directory, must be the path of a file");
    snprintf(given, sizeof given, "file:%s/no/region", folder);
    assert_crash_buffer(given, "the directory T/no is missing, make it or name another");
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(given, sizeof given, "file:%s", path);
    assert_crash_buffer(given, "T/pipe is a FIFO, must be the path of a file");
    assert_int_equal(unlink(path), 0);
}

static void test_output(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[96];
    int fd;

    (void)state;
    assert_output("", "is empty, must be the path of a file");
    assert_output("T/new.dbuf", "");
    assert_output("T", "is a directory, must be the path of a file, a FIFO or a character device");
    assert_output("T/new/", "ends like a directory, must be the path of a file");
    assert_output("T/no/new", "the directory T/no is missing, make it or name another");
    snprintf(path, sizeof path, "%s/file", folder);
    write_text(path, "kept");
    assert_output("T/file", "");
    assert_output("T/file/new", "T/file is no directory, name another");
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_output("T/fifo", "");
    assert_output("/dev/null", "");
    snprintf(address.sun_path, sizeof address.sun_path, "%s/sock", folder);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    assert_output("T/sock",
                  "is a socket, must be the path of a file, a FIFO or a character device");
}

static void test_no_permission(void **state)
{
    const bool root = geteuid() == 0;
    char path[96];

    (void)state;
    snprintf(path, sizeof path, "%s/mine", folder);
    write_text(path, "");
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0); /* root may everything */
    assert_output("T/new", "the directory T must be writable for this user: Permission denied");
    const char *const overrides[] = {"output_file_path=/dev/null", NULL};
    struct outcome outcome = load_path(NULL, overrides);
    assert_string_equal(outcome.errors, "");
    drop(&outcome);
    snprintf(path, sizeof path, "output_file_path=%s/mine", folder);
    outcome = load_path(NULL, (const char *const[]){path, NULL});
    assert_string_equal(
        outcome.errors,
        "-o output_file_path=T/mine: must be writable for this user: Permission "
        "denied\n-o output_file_path=T/mine: the directory T must be writable for this "
        "user: Permission denied\n");
    drop(&outcome);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(folder, 0755), 0);
}

static void test_long_path(void **state)
{
    char *override = malloc(PATH_MAX + 64);
    struct outcome outcome;

    (void)state;
    assert_non_null(override);
    strcpy(override, "source.path=");
    memset(override + 12, 'x', PATH_MAX);
    override[12 + PATH_MAX] = '\0';
    outcome = load(NULL, override, NULL, NULL);
    assert_non_null(strstr(outcome.errors, "xxx: is longer than a path can be, must be"));
    assert_true(strlen(outcome.errors) < 500); /* it is not repeated in full */
    drop(&outcome);
    override[12 + PATH_MAX - 1] = '\0';
    outcome = load(NULL, override, NULL, NULL);
    assert_string_equal(outcome.errors, "");
    drop(&outcome);
    free(override);
}

/* A path that is good for the first writers and too long for the hundredth. */
static void test_long_numbered_path(void **state)
{
    char *override = calloc(1, PATH_MAX + 64);
    const size_t bytes = strlen("source.path=");
    struct outcome outcome;

    (void)state;
    assert_non_null(override);
    strcpy(override, "source.path=/tmp");
    while (strlen(override) < bytes + PATH_MAX - 5)
        strcat(override, "/.");
    strcat(override, "/%w");
    assert_in_range(strlen(override) - bytes, PATH_MAX - 2, PATH_MAX - 1);
    outcome = load(NULL, "source.type=pipe", "writer_count=9", override);
    assert_string_equal(outcome.errors, "");
    drop(&outcome);
    outcome =
        load("buffer_capacity = \"1GB\"; writer_count = 500;", "source.type=pipe", override, NULL);
    assert_non_null(strstr(outcome.errors, "is too long with the writer's index in it"));
    drop(&outcome);
    free(override);
}

/* ---- Out and in again ------------------------------------------------------------------------ */

static void assert_round_trip(const struct config *config)
{
    char *first = print(config);
    struct outcome outcome;
    char *second;

    write_text(conf_path, first);
    outcome = load_path(conf_path, (const char *const[]){NULL});
    assert_string_equal(outcome.errors, "");
    second = print(outcome.config);
    assert_string_equal(second, first);
    free(first);
    free(second);
    drop(&outcome);
}

/* Two configurations in which every key has a value other than its default. */
static const char *const other_pipe[] = {"buffer_capacity=30000001",
                                         "writer_count=1",
                                         "output_file_path=/dev/null",
                                         "debug_mode=true",
                                         "enable_stats=false",
                                         "stats_interval=1500ms",
                                         "crash_buffer=file:/tmp/region",
                                         "cpus.writers=0",
                                         "cpus.reader=none",
                                         "cpus.wait=spin",
                                         "source.type=pipe",
                                         "source.min_block=0",
                                         "source.max_block=65537",
                                         "source.rate=1TB",
                                         "source.limit=7",
                                         "source.seed=9223372036854775807",
                                         "source.path=\"/tmp/\\x01\\\"\\\\\\n\\t\xc3\xa9\"",
                                         "source.address=[::1]:5514",
                                         "source.framing=lines",
                                         "output.segment_size=5MiB",
                                         "output.segment_age=90s",
                                         "output.retain_size=1TiB",
                                         "output.retain_age=7d",
                                         "output.durability=interval",
                                         "output.sync_interval=1h",
                                         "output.flush_interval=999999999ns",
                                         "output.io=uring",
                                         "output.min_free=0",
                                         "output.disk_full=rotate",
                                         "metrics.listen=[::1]:9471",
                                         NULL};
static const char *const other_raw[] = {"output_file_path=/tmp/other.dbuf",
                                        "output.failover_path=/dev/shm/other.dbuf",
                                        "output.format=raw", NULL};

static char *next_line(char **rest)
{
    return strsep(rest, "\n");
}

static void test_round_trip(void **state)
{
    struct outcome plain = load(NULL, NULL, NULL, NULL), pipe = load_path(NULL, other_pipe),
                   raw = load_path(NULL, other_raw);
    char *texts[3], *rest[3], *lines[3];
    size_t keys = 0;

    (void)state;
    assert_string_equal(pipe.errors, "");
    assert_string_equal(raw.errors, "");
    assert_round_trip(plain.config);
    assert_round_trip(pipe.config);
    assert_round_trip(raw.config);
    rest[0] = texts[0] = print(plain.config);
    rest[1] = texts[1] = print(pipe.config);
    rest[2] = texts[2] = print(raw.config);
    while (rest[0] != NULL) {
        for (size_t i = 0; i < 3; i++)
            lines[i] = next_line(&rest[i]);
        if (strchr(lines[0], '=') == NULL)
            continue;
        keys++;
        if (strcmp(lines[0], lines[1]) == 0 && strcmp(lines[0], lines[2]) == 0)
            fail_msg("no other value was tried than the default: %s", lines[0]);
    }
    assert_int_equal(keys, OPTION_COUNT);
    for (size_t i = 0; i < 3; i++)
        free(texts[i]);
    drop(&plain);
    drop(&pipe);
    drop(&raw);
}

static void test_help(void **state)
{
    char *text = NULL, *rest, *line;
    size_t bytes, count = 0;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    assert_non_null(out);
    config_print_help(out);
    assert_int_equal(fclose(out), 0);
    rest = text;
    while ((line = next_line(&rest)) != NULL && *line != '\0') {
        const struct config_option *option = &config_options[count++];
        const size_t key = strlen(option->key);
        const char *help = strstr(line, option->help);

        assert_true(strncmp(line, "  ", 2) == 0 && strncmp(line + 2, option->key, key) == 0);
        assert_non_null(strstr(line, option->dflt));
        assert_non_null(help);
        assert_int_equal(help - line, strstr(text, config_options[0].help) - text); /* aligned */
    }
    assert_int_equal(count, OPTION_COUNT);
    free(text);
}

/* ---- The files that come with it ------------------------------------------------------------- */

#define SHIPPED_PATH "etc/dbufd.conf"
#define MANUAL_PATH  "man/dbufd.conf.5"

/* What the shipped file must say for a key. */
static const char *shipped_value(const struct config_option *option)
{
    if (option == &config_options[OPTION_source_rate])
        return "50MB";
    return option == &config_options[OPTION_output_retain_size] ? "4GiB" : option->dflt;
}

/* "KEY = VALUE;" to key (with its group) and value without quotes. False: no such line. */
static bool split_line(char *line, const char *group, char key[static 64], char **ret_value)
{
    char *equals, *end;

    line += strspn(line, " ");
    equals = strstr(line, " = ");
    if (*line == '#' || equals == NULL)
        return false;
    *equals = '\0';
    snprintf(key, 64, "%s%s%s", group, *group != '\0' ? "." : "", line);
    *ret_value = equals + 3;
    end = *ret_value + strlen(*ret_value) - 1;
    assert_int_equal(*end, ';');
    *end = '\0';
    if (**ret_value == '"') {
        assert_int_equal(end[-1], '"');
        end[-1] = '\0';
        ++*ret_value;
    }
    return true;
}

/* Every key stands in it once, in the order of the table, with one line of help above it. */
static void test_shipped_file(void **state)
{
    char *text = read_text(SHIPPED_PATH), *rest = text, *line, *value;
    char group[64] = "", key[64];
    bool help = false;
    size_t count = 0;

    (void)state;
    while ((line = next_line(&rest)) != NULL) {
        assert_true(strlen(line) <= 100);
        if (split_line(line, group, key, &value)) {
            assert_true(count < OPTION_COUNT);
            assert_string_equal(key, config_options[count].key);
            assert_string_equal(value, shipped_value(&config_options[count]));
            assert_true(help);
            count++;
        } else if (isalpha((unsigned char)line[0])) {
            line[strcspn(line, ":")] = '\0';
            snprintf(group, sizeof group, "%s", line);
        } else if (line[0] == '}') {
            group[0] = '\0';
        }
        help = line[strspn(line, " ")] == '#';
    }
    assert_int_equal(count, OPTION_COUNT);
    free(text);
}

/* And dbufd reads it as that, and nothing else. */
static void test_shipped_values(void **state)
{
    const char *const overrides[] = {output_override, NULL};
    struct outcome shipped = load_path(SHIPPED_PATH, overrides);
    struct outcome defaults = load(NULL, "source.rate=50MB", "output.retain_size=4GiB", NULL);
    char *shipped_text, *default_text;

    (void)state;
    assert_string_equal(shipped.errors, "");
    shipped_text = print(shipped.config);
    default_text = print(defaults.config);
    assert_string_equal(shipped_text, default_text);
    free(shipped_text);
    free(default_text);
    drop(&shipped);
    drop(&defaults);
}

/* The manual has an entry for every key, with its default. */
static void test_manual(void **state)
{
    char *text = read_text(MANUAL_PATH);

    (void)state;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *option = &config_options[i];
        const bool bare = option->kind == KIND_BOOL || option->kind == KIND_COUNT;
        char entry[160];

        snprintf(entry, sizeof entry, "\n.It Cm %s No = %s%s\n", option->key, bare ? "" : "Qq ",
                 option->dflt[0] != '\0' ? option->dflt : "\\&");
        if (strstr(text, entry) == NULL)
            fail_msg("%s lacks the line%s", MANUAL_PATH, entry);
    }
    free(text);
}

/* ---- Nonsense -------------------------------------------------------------------------------- */

/* The shipped file with some bytes changed: it is taken or refused with words, never more. */
static void test_mutations(void **state)
{
    static const char bytes[] = "\"{}[]();:=,@#/*\\\n 09-+.xLe";
    const char *given = getenv("SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    char *text = read_text(SHIPPED_PATH), *copy = calloc(1, strlen(text) + 1);
    const char *const overrides[] = {output_override, NULL};
    size_t refused = 0;

    (void)state;
    print_message("# SEED=%u\n", seed);
    assert_non_null(copy);
    for (int round = 0; round < 2000; round++) {
        struct outcome outcome;

        strcpy(copy, text);
        for (int change = rand_r(&seed) % 4; change >= 0; change--)
            copy[(size_t)rand_r(&seed) % strlen(text)] =
                bytes[(size_t)rand_r(&seed) % (sizeof bytes - 1)];
        write_text(conf_path, copy);
        outcome = load_path(conf_path, overrides);
        refused += outcome.rc < 0;
        drop(&outcome);
    }
    assert_true(refused > 100);
    free(copy);
    free(text);
}

/* Loads a file of so many keys that are none. */
static struct outcome load_unknown(int keys)
{
    enum { LINE_BYTES = 32 };
    const char *const overrides[] = {output_override, NULL};
    char *text = calloc((size_t)keys, LINE_BYTES), *end = text;

    assert_non_null(text);
    for (int i = 1; i <= keys; i++)
        end += snprintf(end, LINE_BYTES, "unknown%d = %d;\n", i, i);
    write_text(conf_path, text);
    free(text);
    return load_path(conf_path, overrides);
}

/* So many keys that a look at all of them for each would take minutes: the first ones are told of, each
 * with what it is, and then that these are too many. */
static void test_too_many(void **state)
{
    enum { KEYS = 30000, TOLD = 500 };
    struct outcome outcome = load_unknown(KEYS);
    char last[160];
    size_t lines = 0;

    (void)state;
    assert_int_equal(outcome.rc, -EINVAL);
    for (const char *at = outcome.errors; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, TOLD + 2);
    snprintf(last, sizeof last,
             "F:%d: unknown%d = %d: there is no such key; dbufd --help lists the keys\n", TOLD,
             TOLD, TOLD);
    assert_non_null(strstr(outcome.errors, last));
    snprintf(last, sizeof last, "F:%d: unknown%d = %d;: more than %d settings; ", TOLD + 1,
             TOLD + 1, TOLD + 1, TOLD);
    assert_non_null(strstr(outcome.errors, last));
    drop(&outcome);
}

/* As many as there may be are all looked at, each alone. */
static void test_many(void **state)
{
    struct outcome outcome = load_unknown(500);

    (void)state;
    assert_non_null(strstr(outcome.errors, "F:500: unknown500"));
    assert_null(strstr(outcome.errors, "more than"));
    drop(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantities),   cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_file_values),  cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_file_errors),  cmocka_unit_test(test_override_errors),
        cmocka_unit_test(test_all_at_once),  cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_cross_checks), cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_cores),        cmocka_unit_test(test_crash_buffer),
        cmocka_unit_test(test_output),       cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_long_path),    cmocka_unit_test(test_long_numbered_path),
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_help),
        cmocka_unit_test(test_shipped_file), cmocka_unit_test(test_shipped_values),
        cmocka_unit_test(test_manual),       cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_too_many),     cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
