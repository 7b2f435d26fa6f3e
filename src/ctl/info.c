/* SPDX-License-Identifier: MIT
 *
 * dbufctl info: what is in a stream, without reading it all.
 *
 * Happy path: a closed segment's header and its last pages tell everything, by its checkpoint.
 * Failure modes: of a segment that was not closed only the extents' headers are read, and bytes of
 * data are not known; a damaged place is passed over and counted: dbufctl verify tells more.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "print.h"
#include "survey.h"

enum { CHECKPOINT_PAGES_MAX = 5 }; /* pages that the largest checkpoint takes */

static_assert(sizeof(struct extent_header) + sizeof(struct checkpoint) +
                      FORMAT_WRITERS_MAX * sizeof(struct checkpoint_writer) <=
                  CHECKPOINT_PAGES_MAX * FORMAT_ALIGN,
              "the largest checkpoint lies in the last pages");

/* What is known up to some place of the stream. */
struct known {
    uint64_t extents, blocks, bytes;
    bool has_bytes;
    unsigned writers;
};

struct info {
    struct known first, last;   /* at the beginning and the end of what is there */
    bool has_first;             /* else only first.extents is known: its checkpoint is damaged */
    uint64_t first_ns, last_ns; /* of extents */
    uint64_t created_ns;        /* of the first segment */
    uint32_t last_flags;
    uint64_t damaged_places;
    bool random;
};

static void take_checkpoint(struct info *info, const struct scan_extent *extent)
{
    const struct checkpoint_writer *writers;
    const struct checkpoint *checkpoint =
        scan_checkpoint(extent->data, extent->header->used, &writers);
    if (checkpoint == NULL) {
        return; /* scan_next has looked at it: cannot be */
    }
    info->last = (struct known){.extents = extent->header->seq,
                                .blocks = checkpoint->blocks,
                                .bytes = checkpoint->bytes,
                                .has_bytes = true,
                                .writers = checkpoint->writer_count};
    info->random = checkpoint->random == 1;
    if (extent->header->seq == info->first.extents) {
        info->first = info->last;
        info->has_first = true;
    }
    info->last.extents = extent->header->seq + 1;
}

static void take_extent(struct info *info, const struct scan_extent *extent)
{
    const struct extent_header *header = extent->header;
    if (extent->fault == SCAN_EMPTY_TAIL) {
        return;
    }
    if (extent->fault != SCAN_OK) {
        info->damaged_places++;
        return;
    }
    info->last_flags = header->flags;
    if (header->time_ns > info->last_ns) {
        info->last_ns = header->time_ns;
    }
    if (header->flags & EXTENT_CHECKPOINT) {
        if (extent->data != NULL) {
            take_checkpoint(info, extent);
        }
        return;
    }
    if (info->first_ns == 0) {
        info->first_ns = header->time_ns;
    }
    info->last.extents = header->seq + 1;
    info->last.blocks += header->block_count;
    info->last.has_bytes = false;
    if (header->writer >= info->last.writers) {
        info->last.writers = header->writer + 1u;
    }
}

/* The checkpoint that ends a closed segment. */
static bool read_end(struct info *info, struct scan *scan)
{
    struct scan_extent extent;
    uint64_t pages = scan_file_bytes(scan) / FORMAT_ALIGN;
    uint64_t page = pages > CHECKPOINT_PAGES_MAX ? pages - CHECKPOINT_PAGES_MAX : 1;
    bool found = false;
    if (scan_file_bytes(scan) % FORMAT_ALIGN != 0) {
        return false;
    }
    scan_seek(scan, page * FORMAT_ALIGN);
    /* The first answer may be the end of an extent whose beginning was not read. */
    while (scan_next(scan, &extent) == 1) {
        bool ends = extent.fault == SCAN_OK &&
                    (extent.header->flags & (EXTENT_END | EXTENT_CLOSE)) &&
                    extent.offset + extent.bytes == scan_file_bytes(scan);
        if (ends) {
            take_extent(info, &extent);
            found = true;
        }
    }
    return found;
}

static void read_segment(struct info *info, struct scan *scan, bool last)
{
    struct scan_extent extent;
    /* The first two say where the stream begins, and when. */
    for (int i = 0; !info->has_first || info->first_ns == 0; i++) {
        if (i == 2 || scan_next(scan, &extent) == 0) {
            break;
        }
        take_extent(info, &extent);
    }
    if (!last || read_end(info, scan)) {
        return;
    }
    info->damaged_places = 0; /* from the start again */
    scan_seek(scan, FORMAT_ALIGN);
    if (scan_next(scan, &extent) == 1) {
        take_extent(info, &extent);
    }
    while (scan_skim(scan, &extent) == 1) {
        take_extent(info, &extent);
    }
}

static int read_info(const struct survey *survey, struct info *info)
{
    for (size_t i = 0; i < survey->readable; i++) {
        bool last = i + 1 == survey->readable;
        if (i > 0 && !last && info->first_ns != 0) {
            continue; /* what it holds is known by the last checkpoint */
        }
        struct scan *scan;
        int rc = survey_open(&survey->files[i], &scan);
        if (rc < 0) {
            return cannot(survey->files[i].path, -rc);
        }
        if (i == 0) {
            info->created_ns = scan_header(scan)->created_ns;
            info->first.extents = info->last.extents = scan_header(scan)->first_seq;
        }
        read_segment(info, scan, last);
        scan_close(scan);
    }
    return 0;
}

static const char *state_of(const struct survey *survey, const struct info *info)
{
    if (info->last_flags & EXTENT_CLOSE) {
        return "closed";
    }
    if (survey->running) {
        return "being written";
    }
    return info->last_flags & EXTENT_END ? "goes on in another segment" : "not closed";
}

static void format_uuid(const uint8_t *uuid, char room[static 37])
{
    for (size_t i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            room[at++] = '-';
        }
        at += (size_t)snprintf(room + at, 37 - at, "%02x", uuid[i]);
    }
}

static void say_info(struct print *print, const struct survey *survey, const struct info *info)
{
    char uuid[37], bytes[24], from[40], to[40];
    format_uuid(survey->uuid, uuid);
    print_format(print, "stream    %s, %s%s\n", uuid, state_of(survey, info),
                 info->random ? ", of the random source" : "");
    for (size_t i = 0; i < survey->readable; i++) {
        const struct survey_file *file = &survey->files[i];
        print_format(print, "segment   %" PRIu64 ", %s: %s%s\n", file->number,
                     format_bytes(file->bytes, bytes), file->path,
                     file->state == SURVEY_HEADER_CHANGED ? " (its header is damaged)" : "");
    }
    const struct known *first = &info->first, *last = &info->last;
    print_format(print, "extents   %" PRIu64 "\n", last->extents - first->extents);
    if (!info->has_first) {
        print_text(print, "blocks    not known: the first checkpoint is damaged");
    } else {
        print_format(print, "blocks    %" PRIu64, last->blocks - first->blocks);
    }
    if (info->has_first && last->has_bytes) {
        print_format(print, ", %s of data", format_bytes(last->bytes - first->bytes, bytes));
    }
    print_format(print, "\nwriters   %u\n", last->writers);
    if (info->first_ns != 0) {
        print_format(print, "time      %s to %s\n", format_time(info->first_ns, from),
                     format_time(info->last_ns, to));
    }
    if (first->extents > 0) {
        print_format(print, "before    %" PRIu64 " extents that are not here\n", first->extents);
    }
    if (info->damaged_places > 0) {
        print_format(print, "damaged   %" PRIu64 " places were passed over: see dbufctl verify\n",
                     info->damaged_places);
    }
}

static void print_info(struct print *print, const struct survey *survey, const struct info *info)
{
    char uuid[37];
    bool comma = true;
    format_uuid(survey->uuid, uuid);
    print_format(print, "{\"stream\":\"%s\",\"state\":\"%s\",\"random\":%s,\"segments\":[", uuid,
                 state_of(survey, info), info->random ? "true" : "false");
    for (size_t i = 0; i < survey->readable; i++) {
        const struct survey_file *file = &survey->files[i];
        print_format(print, "%s\n  {\"number\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"file\":",
                     i > 0 ? "," : "", file->number, file->bytes);
        print_json_string(print, file->path, strlen(file->path));
        print_text(print, "}");
    }
    print_text(print, "]");
    comma = false;
    print_json_number(print, &comma, "extents", info->last.extents - info->first.extents);
    if (info->has_first) {
        print_json_number(print, &comma, "blocks", info->last.blocks - info->first.blocks);
    }
    if (info->has_first && info->last.has_bytes) {
        print_json_number(print, &comma, "bytes", info->last.bytes - info->first.bytes);
    }
    print_json_number(print, &comma, "writers", info->last.writers);
    print_json_number(print, &comma, "created_ns", info->created_ns);
    print_json_number(print, &comma, "first_ns", info->first_ns);
    print_json_number(print, &comma, "last_ns", info->last_ns);
    print_json_number(print, &comma, "extents_before", info->first.extents);
    print_json_number(print, &comma, "damaged_places", info->damaged_places);
    print_text(print, "}\n");
}

static int run(const struct survey *survey, bool json)
{
    struct info info = {0};
    int status = survey_complain(survey, stderr) ? EXIT_DAMAGED : 0;
    if (survey->readable == 0) {
        return EXIT_CANNOT;
    }
    int read_status = read_info(survey, &info);
    if (read_status != 0) {
        return read_status;
    }
    struct print *print = print_begin(STDOUT_FILENO);
    if (print == NULL) {
        return cannot("output", ENOMEM);
    }
    if (json) {
        print_info(print, survey, &info);
    } else {
        say_info(print, survey, &info);
    }
    int rc = print_end(print);
    if (rc < 0 && rc != -EPIPE) {
        return cannot("standard output", -rc);
    }
    return status == 0 && info.damaged_places > 0 ? EXIT_DAMAGED : status;
}

int info_command(const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct survey survey;
    bool json = false;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            json = true;
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
        return cannot("info", -rc);
    }
    int status = run(&survey, json);
    survey_free(&survey);
    return status;
}
