/* SPDX-License-Identifier: MIT
 *
 * The files of a stream before they are read: which there are, what their headers say, and in which
 * order they belong.
 *
 * It waits for the disk and allocates; one thread. It reads headers only, but for a damaged one,
 * where it looks for an extent that proves which stream the file belongs to.
 */
#ifndef DBUFD_CTL_SURVEY_H
#define DBUFD_CTL_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../disk/scan.h"

enum survey_state {
    SURVEY_GOOD,
    SURVEY_HEADER_CHANGED, /* but its extents are of this stream, and can be read */
    SURVEY_DOUBLED,        /* the number of a segment that is there already */
    SURVEY_FOREIGN,        /* of another stream */
    SURVEY_EMPTY,          /* no byte in it */
    SURVEY_NO_SEGMENT,     /* neither a header nor an extent of this stream */
    SURVEY_UNREADABLE      /* error says why */
};

struct survey_file {
    char *path;
    uint64_t name_number; /* the segment's number by the file's name; 0: the name says nothing */
    uint64_t number;      /* by its header; 0: not known */
    uint64_t first_seq;
    uint64_t bytes;
    uint8_t uuid[16];
    enum survey_state state;
    bool has_magic; /* it begins as a segment does */
    int error;      /* SURVEY_UNREADABLE: errno */
};

struct survey {
    struct survey_file *files; /* first those that can be read, in the order of the stream */
    size_t count;
    size_t readable;
    uint8_t uuid[16]; /* the stream's, if readable > 0 */
    bool whole;       /* a stream was asked for, not files of it */
    bool running;     /* a daemon has it open */
};

/* Takes stock of FILEs and STREAMs. One that is not there is among the files, SURVEY_UNREADABLE.
 * -ENOMEM. */
int survey_arguments(struct survey *ret, char *const arguments[], size_t count);
void survey_free(struct survey *survey);

/* Says which files are left out, and why, one a line. False: none is. */
bool survey_complain(const struct survey *survey, FILE *out);

/* Opens one of the readable files. -errno. */
int survey_open(const struct survey_file *file, struct scan **ret);

#endif
