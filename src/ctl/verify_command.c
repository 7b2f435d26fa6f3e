/* SPDX-License-Identifier: MIT
 *
 * dbufctl verify: what the proof has found, for people and for programs.
 *
 * Findings are written as they come; the verdict is the last line. A reader that goes away changes
 * nothing in the exit status: that is the verdict, too.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "print.h"
#include "verify.h"

enum { FINDING_LINES_MAX = 100 }; /* for people; programs get all */

struct report {
    struct print *print;
    bool json, random, progress;
    uint64_t told;
    uint64_t start_ns, shown_ns; /* CLOCK_MONOTONIC */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double megabytes_per_second(uint64_t bytes, uint64_t ns)
{
    return ns == 0 ? 0.0 : (double)bytes * 1000 / (double)ns;
}

/* ---- One finding ------------------------------------------------------------------------------
 */

static void say_range(struct print *print, const char *noun, uint64_t first, uint64_t count,
                      const char **separator)
{
    if (count == 1) {
        print_format(print, "%s%s %" PRIu64, *separator, noun, first);
    } else if (count > 1) {
        print_format(print, "%s%ss %" PRIu64 " to %" PRIu64, *separator, noun, first,
                     first + count - 1);
    } else {
        return;
    }
    *separator = ", ";
}

static void say_finding(struct print *print, const struct finding *finding)
{
    const char *separator = ": ";
    print_text(print, finding->path);
    if (finding->has_offset) {
        print_format(print, ": offset %" PRIu64, finding->offset);
        if (finding->bytes > 0) {
            print_format(print, ", %" PRIu64 " bytes", finding->bytes);
        }
    }
    if (finding->writer >= 0) {
        print_format(print, "%swriter %d", separator, finding->writer);
        separator = ", ";
    }
    say_range(print, "block", finding->first_block, finding->block_count, &separator);
    say_range(print, "extent", finding->first_extent, finding->extent_count, &separator);
    say_range(print, "segment", finding->first_segment, finding->segment_count, &separator);
    print_format(print, ": %s", finding_text(finding->kind));
    if (finding->field != NULL) {
        print_format(print, ": %s is %" PRIu64 " by it and %" PRIu64 " by count", finding->field,
                     finding->stated, finding->counted);
    }
    if (finding->error != 0) {
        print_format(print, ": %s", strerror(finding->error));
    }
    print_text(print, "\n");
}

static void member_string(struct print *print, const char *name, const char *value)
{
    print_format(print, ",\"%s\":", name);
    print_json_string(print, value, strlen(value));
}

static void member_range(struct print *print, const char *noun, uint64_t first, uint64_t count)
{
    if (count > 0) {
        print_format(print, ",\"first_%s\":%" PRIu64 ",\"last_%s\":%" PRIu64, noun, first, noun,
                     first + count - 1);
    }
}

static void print_finding(struct print *print, const struct finding *finding, bool first)
{
    print_format(print, "%s\n  {\"kind\":\"%s\"", first ? "" : ",", finding_name(finding->kind));
    member_string(print, "file", finding->path);
    if (finding->has_offset) {
        print_format(print, ",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64, finding->offset,
                     finding->bytes);
    }
    if (finding->writer >= 0) {
        print_format(print, ",\"writer\":%d", finding->writer);
    }
    member_range(print, "block", finding->first_block, finding->block_count);
    member_range(print, "extent", finding->first_extent, finding->extent_count);
    member_range(print, "segment", finding->first_segment, finding->segment_count);
    if (finding->field != NULL) {
        member_string(print, "field", finding->field);
        print_format(print, ",\"counted\":%" PRIu64 ",\"stated\":%" PRIu64, finding->counted,
                     finding->stated);
    }
    if (finding->error != 0) {
        member_string(print, "error", strerror(finding->error));
    }
    member_string(print, "text", finding_text(finding->kind));
    print_text(print, "}");
}

static void clear_progress(struct report *report)
{
    if (report->progress && report->shown_ns != 0) {
        fputs("\r\033[K", stderr);
        report->shown_ns = 0;
    }
}

static void on_finding(void *context, const struct finding *finding)
{
    struct report *report = context;
    clear_progress(report);
    if (report->json) {
        print_finding(report->print, finding, report->told == 0);
    } else if (report->told < FINDING_LINES_MAX) {
        say_finding(report->print, finding);
        print_flush(report->print);
    }
    report->told++;
}

static void on_progress(void *context, uint64_t bytes, uint64_t all_bytes)
{
    struct report *report = context;
    uint64_t now = now_ns();
    char done[24], all[24], bar[41];
    if (now - report->shown_ns < 100000000) {
        return;
    }
    report->shown_ns = now;
    size_t filled = all_bytes > 0 && bytes < all_bytes
                        ? (size_t)(40 * ((double)bytes / (double)all_bytes))
                        : 40;
    memset(bar, ' ', 40);
    memset(bar, '=', filled);
    bar[40] = '\0';
    fprintf(stderr, "\r[%s] %s of %s, %.0f MB/s\033[K", bar, format_bytes(bytes, done),
            format_bytes(all_bytes, all), megabytes_per_second(bytes, now - report->start_ns));
}

/* ---- The verdict ------------------------------------------------------------------------------
 */

static int status_of(const struct verify_result *result)
{
    if (result->findings > result->unreadable) {
        return EXIT_DAMAGED;
    }
    return result->unreadable > 0 ? EXIT_CANNOT : 0;
}

static const char *verdict_of(int status)
{
    return status == 0 ? "whole" : status == EXIT_DAMAGED ? "damaged" : "unreadable";
}

static const char *end_name(enum verify_end end)
{
    static const char *const names[] = {
        [VERIFY_CLOSED] = "closed",
        [VERIFY_RUNNING] = "still-being-written",
        [VERIFY_GOES_ON] = "goes-on",
        [VERIFY_NOT_CLOSED] = "not-closed",
    };
    return names[end];
}

static void say_count(struct print *print, uint64_t count, const char *noun)
{
    print_format(print, "%" PRIu64 " %s%s, ", count, noun, count == 1 ? "" : "s");
}

static void say_result(const struct report *report, const struct verify_result *result, int status,
                       uint64_t ns)
{
    struct print *print = report->print;
    char from[40], to[40], bytes[24];

    if (report->told > FINDING_LINES_MAX) {
        print_format(print, "... and %" PRIu64 " more; --json names them all\n",
                     report->told - FINDING_LINES_MAX);
    }
    print_format(print, "%s: ", verdict_of(status));
    if (status != 0) {
        say_count(print, result->findings, "finding");
    }
    say_count(print, result->segments, "segment");
    say_count(print, result->extents, "extent");
    say_count(print, result->blocks, "block");
    print_format(print, "%s of data, ", format_bytes(result->bytes, bytes));
    say_count(print, result->writers, "writer");
    if (result->blocks > 0) {
        print_format(print, "%s to %s, ", format_time(result->first_ns, from),
                     format_time(result->last_ns, to));
    }
    say_count(print, result->dropped, "dropped block");
    print_format(print, "read at %.0f MB/s\n", megabytes_per_second(result->file_bytes, ns));
    if (result->first_seq > 0) {
        print_format(print,
                     "from segment %" PRIu64 " (extent %" PRIu64
                     ") on: what was before is not there\n",
                     result->first_segment, result->first_seq);
    }
    if (result->superseded_bytes > 0) {
        print_format(print,
                     "%" PRIu64 " bytes were given up by dbufd and written again elsewhere\n",
                     result->superseded_bytes);
    }
    if (status == 0 && report->random) {
        print_text(print, "every block is what the random source makes\n");
    }
    if (result->end == VERIFY_RUNNING) {
        print_format(print, "still being written%s\n", status == 0 ? ": whole so far" : "");
    } else if (result->end == VERIFY_GOES_ON) {
        print_text(print, "the stream goes on in a segment that was not asked for\n");
    }
}

static void print_result(const struct report *report, const struct verify_result *result,
                         int status, uint64_t ns)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"segments", result->segments},
        {"extents", result->extents},
        {"blocks", result->blocks},
        {"bytes", result->bytes},
        {"file_bytes", result->file_bytes},
        {"writers", result->writers},
        {"dropped", result->dropped},
        {"first_ns", result->first_ns},
        {"last_ns", result->last_ns},
        {"first_segment", result->first_segment},
        {"first_extent", result->first_seq},
        {"superseded_bytes", result->superseded_bytes},
        {"unreadable_files", result->unreadable},
        {"elapsed_ns", ns},
    };
    print_format(report->print, "%s],\"verdict\":\"%s\",\"end\":\"%s\",\"random\":%s",
                 report->told > 0 ? "\n" : "", verdict_of(status), end_name(result->end),
                 report->random ? "true" : "false");
    bool first = false;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        print_json_number(report->print, &first, members[i].name, members[i].value);
    }
    print_text(report->print, "}\n");
}

/* ---- The command ------------------------------------------------------------------------------
 */

static int run(const struct survey *survey, struct report *report)
{
    struct verify_result result;
    const struct verify_options options = {.random = report->random,
                                           .workers = verify_workers(),
                                           .on_finding = on_finding,
                                           .on_progress = report->progress ? on_progress : NULL,
                                           .context = report};
    report->print = print_begin(STDOUT_FILENO);
    if (report->print == NULL) {
        return cannot("output", ENOMEM);
    }
    if (report->json) {
        print_text(report->print, "{\"findings\":[");
    }
    report->start_ns = now_ns();
    int rc = verify(survey, &options, &result);
    uint64_t ns = now_ns() - report->start_ns;
    clear_progress(report);
    int status = rc < 0 ? cannot("verify", -rc) : status_of(&result);
    if (rc == 0 && report->json) {
        print_result(report, &result, status, ns);
    } else if (rc == 0) {
        say_result(report, &result, status, ns);
    }
    rc = print_end(report->print);
    if (rc < 0 && rc != -EPIPE) {
        cannot("standard output", -rc);
        status = status == 0 ? EXIT_CANNOT : status;
    }
    return status;
}

int verify_command(const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {{"random", no_argument, NULL, 'r'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct report report = {.progress = isatty(STDERR_FILENO)};
    struct survey survey;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            report.random = true;
            break;
        case 'j':
            report.json = true;
            break;
        case 'h':
            return command_help(self);
        default:
            return option_error(self, argv);
        }
    }
    if (optind == argc) {
        return usage_error(self, "which FILE or STREAM?");
    }
    int rc = survey_arguments(&survey, argv + optind, (size_t)(argc - optind));
    if (rc < 0) {
        return cannot("verify", -rc);
    }
    int status = run(&survey, &report);
    survey_free(&survey);
    return status;
}
