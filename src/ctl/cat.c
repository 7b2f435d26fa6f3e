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

#include "ctl.h"
#include "print.h"
#include "survey.h"
#include "when.h"

struct cat;

/* One block, and where it comes from. */
struct item {
    unsigned writer;
    uint64_t number;
    const struct block_header *block;
    const unsigned char *data;
};

struct cat {
    void (*put)(struct print *print, const struct item *item);
    int writer; /* -1: all */
    uint64_t from_ns, to_ns;
    struct print *print;
    int status;
    bool started; /* next_seq is known */
    uint64_t next_seq;
    uint32_t last_flags;
    const char *path;
    /* A fault that is not told yet: at the end of a file that is being written it is none. */
    struct scan_extent fault;
    bool has_fault;
};

/* ---- Forms ------------------------------------------------------------------------------------
 */

static void put_raw(struct print *print, const struct item *item)
{
    print_bytes(print, item->data, item->block->length);
    if (item->block->flags & BLOCK_LINE) {
        print_bytes(print, "\n", 1);
    }
}

static void put_json(struct print *print, const struct item *item)
{
    char time[40];
    uint32_t length = item->block->length;
    print_format(print,
                 "{\"writer\":%u,\"block\":%" PRIu64 ",\"time\":\"%s\",\"length\":%" PRIu32
                 ",\"flags\":%" PRIu32,
                 item->writer, item->number, format_time(item->block->time_ns, time), length,
                 item->block->flags);
    if (is_printable(item->data, length)) {
        print_text(print, ",\"data\":");
        print_json_string(print, (const char *)item->data, length);
    } else {
        print_text(print, ",\"data_base64\":\"");
        print_base64(print, item->data, length);
        print_text(print, "\"");
    }
    print_text(print, "}\n");
}

static void put_hex_line(struct print *print, const unsigned char *data, size_t at, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    char line[96];
    size_t to = (size_t)snprintf(line, sizeof(line), "%08zx ", at);
    for (size_t i = 0; i < 16; i++) {
        line[to++] = ' ';
        if (i == 8) {
            line[to++] = ' ';
        }
        line[to++] = i < count ? digits[data[at + i] >> 4] : ' ';
        line[to++] = i < count ? digits[data[at + i] & 15] : ' ';
    }
    line[to++] = ' ';
    line[to++] = ' ';
    line[to++] = '|';
    for (size_t i = 0; i < count; i++) {
        unsigned char c = data[at + i];
        line[to++] = c >= 0x20 && c < 0x7f ? (char)c : '.';
    }
    line[to++] = '|';
    line[to++] = '\n';
    print_bytes(print, line, to);
}

static void put_hex(struct print *print, const struct item *item)
{
    char time[40];
    size_t length = item->block->length;
    print_format(print, "writer %u, block %" PRIu64 ", %s, %zu bytes, flags %" PRIu32 "\n",
                 item->writer, item->number, format_time(item->block->time_ns, time), length,
                 item->block->flags);
    for (size_t at = 0; at < length; at += 16) {
        put_hex_line(print, item->data, at, length - at < 16 ? length - at : 16);
    }
}

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

static void put_blocks(struct cat *cat, const struct scan_extent *extent)
{
    const struct extent_header *header = extent->header;
    struct item item = {.writer = header->writer, .number = header->first_block};
    size_t position = 0;

    if ((header->flags & EXTENT_CHECKPOINT) ||
        (cat->writer >= 0 && header->writer != cat->writer)) {
        return;
    }
    while (cat->print->error == 0 &&
           scan_block(extent->data, header->used, &position, &item.block, &item.data) == 1) {
        if (item.block->time_ns >= cat->from_ns && item.block->time_ns < cat->to_ns) {
            cat->put(cat->print, &item);
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
                " is there twice or out of order, left out\n",
                cat->path, extent->offset, seq);
        cat->status = EXIT_DAMAGED;
        return false;
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

static void see_extent(struct cat *cat, const struct scan_extent *extent, bool lenient)
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
}

static void cat_segment(struct cat *cat, struct scan *scan, const struct survey_file *next,
                        bool lenient)
{
    struct scan_extent extent;
    cat->last_flags = 0;
    while (cat->print->error == 0 && scan_next(scan, &extent) == 1) {
        /* What the next segment holds again was given up here: see verify.c. */
        bool superseded = next != NULL && next->state == SURVEY_GOOD &&
                          cat->next_seq >= next->first_seq &&
                          !(cat->last_flags & (EXTENT_END | EXTENT_CLOSE));
        if (extent.fault != SCAN_EMPTY_TAIL && !superseded) {
            see_extent(cat, &extent, lenient);
        }
    }
    cat->has_fault = false; /* still on its way to the disk */
}

static void cat_stream(struct cat *cat, const struct survey *survey)
{
    for (size_t i = 0; cat->print->error == 0 && i < survey->readable; i++) {
        const struct survey_file *file = &survey->files[i];
        bool last = i + 1 == survey->readable;
        struct scan *scan;
        cat->path = file->path;
        if (file->state == SURVEY_HEADER_CHANGED) {
            fprintf(stderr, "dbufctl: %s: the segment's header is damaged\n", file->path);
            cat->status = EXIT_DAMAGED;
        }
        int rc = survey_open(file, &scan);
        if (rc == -ENOENT && survey->running) {
            cat->started = false; /* retention has overtaken us */
            continue;
        }
        if (rc < 0) {
            cat->status = cannot(file->path, -rc);
            continue;
        }
        if (!cat->started) {
            cat->next_seq = file->first_seq;
            cat->started = true;
        }
        cat_segment(cat, scan, last ? NULL : file + 1, last && survey->running);
        scan_close(scan);
    }
}

/* ---- The command ------------------------------------------------------------------------------
 */

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
    cat->print = print_begin(STDOUT_FILENO);
    if (cat->print == NULL) {
        cat->status = cannot("output", ENOMEM);
    } else {
        cat_stream(cat, &survey);
        rc = print_end(cat->print);
        if (rc < 0 && rc != -EPIPE) {
            cat->status = cannot("standard output", -rc);
        }
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
        {"help", no_argument, NULL, 'h'},       {0}};
    struct cat cat = {.put = put_raw, .writer = -1, .to_ns = UINT64_MAX};
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            cat.put = put_raw;
            break;
        case 'j':
            cat.put = put_json;
            break;
        case 'x':
            cat.put = put_hex;
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
        case 'h':
            return command_help(self);
        default:
            return option_error(self, argv);
        }
    }
    if (optind == argc) {
        return usage_error(self, "which FILE or STREAM?");
    }
    return run(&cat, argv + optind, (size_t)(argc - optind));
}
