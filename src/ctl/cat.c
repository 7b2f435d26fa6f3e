/* SPDX-License-Identifier: MIT
 *
 * dbufctl cat: the blocks of a stream, in the order in which they are stored.
 *
 * Happy path: every extent is checked, then its blocks are written out in the form asked for. As
 * raw bytes, with the newline that stood behind a line, that is just what the source gave.
 * Failure modes: a damaged place is told on standard error and left out, and so is what is there
 * twice; the exit status then is 1. A reader that goes away ends it in silence.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cat.h"
#include "ctl.h"
#include "when.h"

/* ---- Extents ----------------------------------------------------------------------------------
 */

static const char *words_for(enum scan_fault fault)
{
    static const char *const words[] = {
        [SCAN_NO_EXTENT] = "no extent in these bytes",
        [SCAN_HEADER_CHANGED] = "an extent's header is damaged",
        [SCAN_DATA_CHANGED] = "blocks are changed",
        [SCAN_PADDING_CHANGED] = "padding is changed, the blocks are whole",
        [SCAN_MISPLACED] = "an extent of another place",
        [SCAN_BAD_BLOCKS] = "an extent's blocks do not add up",
        [SCAN_CUT] = "the file ends inside an extent",
        [SCAN_IO_ERROR] = "reading failed",
    };
    return words[fault];
}

static void tell_fault(struct cat *cat)
{
    const struct scan_extent *fault = &cat->fault;
    if (!cat->has_fault) {
        return;
    }
    cat->has_fault = false;
    cat->status = EXIT_DAMAGED;
    fprintf(stderr, "dbufctl: %s: offset %" PRIu64 ", %" PRIu64 " bytes: %s%s%s\n", cat->path,
            fault->offset, fault->bytes, words_for(fault->fault), fault->error != 0 ? ": " : "",
            fault->error != 0 ? strerror(fault->error) : "");
}

/* Whether the block was not given out yet, and that it is now: what was missing may turn up later. */
static bool is_new(struct cat *cat, unsigned writer, uint64_t number)
{
    struct cat_writer *given = &cat->writers[writer];
    if (!given->known || number == given->next_block) {
        given->known = true;
        given->next_block = number + 1;
        return true;
    }
    if (number < given->next_block) {
        int rc = ranges_take(&given->missing, number, number + 1);
        cat->error = rc < 0 ? rc : cat->error;
        return rc == 1;
    }
    const struct range range = {.first = given->next_block, .end = number};
    int rc = ranges_add(&given->missing, range);
    cat->error = rc < 0 ? rc : cat->error;
    given->next_block = number + 1;
    return true;
}

static void count_writers(struct cat *cat, const struct scan_extent *extent)
{
    const struct checkpoint_writer *writers;
    unsigned count = extent->header->writer + 1u;
    if (extent->header->flags & EXTENT_CHECKPOINT) {
        const struct checkpoint *checkpoint =
            scan_checkpoint(extent->data, extent->header->used, &writers);
        count = checkpoint == NULL ? 0 : checkpoint->writer_count;
    }
    cat->writer_count = count > cat->writer_count ? count : cat->writer_count;
}

void cat_put_item(struct cat *cat, const struct cat_item *item)
{
    bool wanted = cat->writer < 0 || item->writer == (unsigned)cat->writer;
    if (wanted && item->block->time_ns >= cat->from_ns && item->block->time_ns < cat->to_ns) {
        cat->put(cat->print, item);
    }
}

static void put_blocks(struct cat *cat, const struct scan_extent *extent)
{
    const struct extent_header *header = extent->header;
    struct cat_item item = {.writer = header->writer, .number = header->first_block};
    size_t position = 0;

    count_writers(cat, extent);
    if ((header->flags & EXTENT_CHECKPOINT) ||
        (cat->writer >= 0 && header->writer != cat->writer)) {
        return;
    }
    while (cat->print->error == 0 &&
           scan_block(extent->data, header->used, &position, &item.block, &item.data) == 1) {
        if (!cat->once || is_new(cat, item.writer, item.number)) {
            cat_put_item(cat, &item);
        }
        item.number++;
    }
}

/* Extents come once and in order. */
static bool is_due(struct cat *cat, const struct scan_extent *extent)
{
    uint64_t seq = extent->header->seq;
    if (seq < cat->next_seq) {
        fprintf(stderr,
                "dbufctl: %s: offset %" PRIu64 ": extent %" PRIu64
                " is there twice or out of order, %s\n",
                cat->path, extent->offset, seq,
                cat->damaged ? "only what was not there before is given out" : "left out");
        cat->status = EXIT_DAMAGED;
        return cat->damaged;
    }
    if (seq > cat->next_seq) {
        fprintf(stderr,
                "dbufctl: %s: offset %" PRIu64 ": extents %" PRIu64 " to %" PRIu64
                " are not there\n",
                cat->path, extent->offset, cat->next_seq, seq - 1);
        cat->status = EXIT_DAMAGED;
    }
    cat->next_seq = seq + 1;
    return true;
}

void cat_extent(struct cat *cat, struct scan *scan, const struct scan_extent *extent, bool lenient)
{
    bool blocks_are_whole = extent->fault == SCAN_OK || extent->fault == SCAN_PADDING_CHANGED ||
                            (extent->fault == SCAN_CUT && extent->data != NULL);
    if (extent->fault != SCAN_OK) {
        tell_fault(cat);
        cat->fault = *extent;
        cat->has_fault = true;
    }
    if (!lenient || extent->fault == SCAN_OK) {
        tell_fault(cat);
    }
    if (blocks_are_whole && is_due(cat, extent)) {
        cat->last_flags = extent->header->flags;
        put_blocks(cat, extent);
    } else if (extent->fault == SCAN_DATA_CHANGED) {
        cat->next_seq = extent->header->seq + 1; /* told already */
    }
    if (cat->damaged && !blocks_are_whole) {
        cat_salvage(cat, scan, extent->offset, extent->bytes);
    }
}

/* What the next segment holds again was given up here: see verify.c. */
static bool is_superseded(const struct cat *cat, const struct survey_file *next)
{
    return next != NULL && next->state == SURVEY_GOOD && cat->next_seq >= next->first_seq &&
           !(cat->last_flags & (EXTENT_END | EXTENT_CLOSE));
}

void cat_rest(struct cat *cat, struct scan *scan, const struct survey_file *next, bool lenient)
{
    struct scan_extent extent;
    while (cat->print->error == 0 && scan_next(scan, &extent) == 1) {
        if (extent.fault != SCAN_EMPTY_TAIL && !is_superseded(cat, next)) {
            cat_extent(cat, scan, &extent, lenient);
        }
    }
    cat->has_fault = false; /* still on its way to the disk */
}

/* 1: it is open, and its first extent is the next one. 0: it is left out. */
static int begin_segment(struct cat *cat, const struct survey_file *file, bool running,
                         struct scan **ret)
{
    cat->path = file->path;
    if (file->state == SURVEY_HEADER_CHANGED) {
        fprintf(stderr, "dbufctl: %s: the segment's header is damaged\n", file->path);
        cat->status = EXIT_DAMAGED;
    }
    int rc = survey_open(file, ret);
    if (rc == -ENOENT && running) {
        cat->started = false; /* retention has overtaken us */
        return 0;
    }
    if (rc < 0) {
        cat->status = cannot(file->path, -rc);
        return 0;
    }
    if (!cat->started) {
        cat->next_seq = file->first_seq;
        cat->started = true;
    }
    cat->last_flags = 0;
    return 1;
}

static void cat_stream(struct cat *cat, const struct survey *survey)
{
    for (size_t i = 0; cat->print->error == 0 && i < survey->readable; i++) {
        const struct survey_file *file = &survey->files[i];
        bool last = i + 1 == survey->readable;
        struct scan *scan;
        if (begin_segment(cat, file, survey->running, &scan) == 0) {
            continue;
        }
        if (last && cat->follow != NULL) {
            cat_follow(cat, scan, file); /* and it closes it */
        } else {
            cat_rest(cat, scan, last ? NULL : file + 1, last && survey->running);
            scan_close(scan);
        }
    }
}

/* Where the end is missing the reader of a pipe would not know. */
static void tell_end(struct cat *cat, const struct survey *survey)
{
    const uint32_t flags = cat->last_flags;
    if (cat->print->error != 0 || survey->running || !survey->whole || survey->readable == 0 ||
        cat->follow != NULL || (flags & EXTENT_CLOSE) != 0)
        return;
    fprintf(stderr, "dbufctl: %s: %s\n", cat->path,
            flags & EXTENT_END ? "the stream goes on in a segment that is not there"
                               : "the stream is not closed: its end may be missing");
    if (flags & EXTENT_END)
        cat->status = EXIT_DAMAGED;
}

/* ---- The command ------------------------------------------------------------------------------
 */

static void free_writers(struct cat *cat)
{
    for (unsigned i = 0; cat->writers != NULL && i < FORMAT_WRITERS_MAX; i++) {
        ranges_free(&cat->writers[i].missing);
    }
    free(cat->writers);
}

/* Reads all that the survey has found, into standard output. */
static void write_out(struct cat *cat, const struct survey *survey)
{
    cat->print = print_begin(STDOUT_FILENO);
    cat->writers = calloc(FORMAT_WRITERS_MAX, sizeof(*cat->writers));
    if (cat->print == NULL || cat->writers == NULL) {
        cat->status = cannot("output", ENOMEM);
    } else {
        cat_stream(cat, survey);
        tell_end(cat, survey);
    }
    int rc = print_end(cat->print);
    if (rc < 0 && rc != -EPIPE) {
        cat->status = cannot("standard output", -rc);
    }
    if (cat->error < 0) {
        cat->status = cannot("cat", -cat->error);
    }
    if (rc == 0 && survey->readable > 0 && cat->writer >= (int)cat->writer_count) {
        fprintf(stderr, "dbufctl: there is no writer %d: the stream has %u, from 0 on\n",
                cat->writer, cat->writer_count);
        cat->status = EXIT_CANNOT;
    }
    free_writers(cat);
}

static int run(struct cat *cat, char *const arguments[], size_t count)
{
    struct survey survey;
    int rc = survey_arguments(&survey, arguments, count);
    if (rc < 0) {
        return cannot("cat", -rc);
    }
    cat->status = survey_complain(&survey, stderr) ? EXIT_DAMAGED : 0;
    if (cat->status != 0 && survey.readable == 0) {
        cat->status = EXIT_CANNOT;
    }
    if (cat->follow != NULL && !survey.whole) {
        fprintf(stderr, "dbufctl: %s: is one segment: --follow takes a STREAM\n", cat->follow);
        cat->status = EXIT_USAGE;
    } else {
        write_out(cat, &survey);
    }
    survey_free(&survey);
    return cat->status;
}

static bool parse_writer(const char *text, int *ret)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0 || value >= FORMAT_WRITERS_MAX) {
        return false;
    }
    *ret = (int)value;
    return true;
}

int cat_command(const struct command *self, int argc, char **argv)
{
    static const char time_forms[] = "a time such as 2026-01-31T12:00:00Z, "
                                     "2026-01-31T12:00:00.5+01:00 or 1769860800.25 (seconds "
                                     "since 1970)";
    static const struct option options[] = {
        {"raw", no_argument, NULL, 'r'},        {"json", no_argument, NULL, 'j'},
        {"hex", no_argument, NULL, 'x'},        {"writer", required_argument, NULL, 'w'},
        {"from", required_argument, NULL, 'f'}, {"to", required_argument, NULL, 't'},
        {"follow", no_argument, NULL, 'F'},     {"damaged", no_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},       {0}};
    struct cat cat = {.put = cat_put_raw, .writer = -1, .to_ns = UINT64_MAX};
    bool follow = false;
    int option, forms = 0;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        forms += option == 'r' || option == 'j' || option == 'x';
        switch (option) {
        case 'r':
            cat.put = cat_put_raw;
            break;
        case 'j':
            cat.put = cat_put_json;
            break;
        case 'x':
            cat.put = cat_put_hex;
            break;
        case 'w':
            if (!parse_writer(optarg, &cat.writer)) {
                return usage_error(self, "--writer takes a number from 0 to %d, not '%s'",
                                   FORMAT_WRITERS_MAX - 1, optarg);
            }
            break;
        case 'f':
        case 't':
            if (!parse_when(optarg, option == 'f' ? &cat.from_ns : &cat.to_ns)) {
                return usage_error(self, "'%s' is not %s", optarg, time_forms);
            }
            break;
        case 'F':
            follow = true;
            break;
        case 'd':
            cat.damaged = true;
            break;
        case 'h':
            return command_help(self);
        default:
            return option_error(self, argv);
        }
    }
    if (forms > 1) {
        return usage_error(self, "only one of --raw, --json and --hex");
    }
    if (optind == argc) {
        return usage_error(self, "which FILE or STREAM?");
    }
    if (follow && argc - optind != 1) {
        return usage_error(self, "--follow takes one STREAM");
    }
    cat.follow = follow ? argv[optind] : NULL;
    cat.once = follow || cat.damaged;
    return run(&cat, argv + optind, (size_t)(argc - optind));
}
