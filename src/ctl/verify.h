/* SPDX-License-Identifier: MIT
 *
 * The proof that a stream's files are whole: every extent, block and byte, in order, once.
 *
 * What is not whole is told as findings, one call each, with ranges already put together. The
 * calling thread judges and tells; others may read ahead for it, and are gone when it returns. Waits
 * for the disk, allocates, prints nothing. The memory in use does not depend on the files' size,
 * but on how many gaps are in their sequences.
 */
#ifndef DBUFD_CTL_VERIFY_H
#define DBUFD_CTL_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "survey.h"

/* Every kind of finding: its name for programs, and what is said to people. */
#define VERIFY_FINDINGS(X)                                                                         \
    X(UNREADABLE, "unreadable", "cannot be read")                                                  \
    X(NO_SEGMENT, "no-segment", "no segment of the stream")                                        \
    X(SEGMENT_EMPTY, "segment-empty", "the file is empty")                                         \
    X(SEGMENT_HEADER, "segment-header-changed", "the segment's header is damaged")                 \
    X(SEGMENT_WRONG, "segment-header-wrong", "the segment's header says that it starts behind")    \
    X(SEGMENT_FOREIGN, "segment-foreign", "the segment belongs to another stream")                 \
    X(SEGMENT_DOUBLED, "segment-doubled", "the segment is there twice")                            \
    X(SEGMENT_ORDER, "segment-order", "the file's name is another segment's")                      \
    X(SEGMENT_MISSING, "segment-missing", "missing")                                               \
    X(NO_EXTENT, "no-extent", "there is no extent in these bytes")                                 \
    X(HEADER_CHANGED, "extent-header-changed", "the extent's header is damaged")                   \
    X(DATA_CHANGED, "blocks-changed", "changed: they do not match their checksum")                 \
    X(PADDING_CHANGED, "padding-changed", "the padding behind the blocks is not zero")             \
    X(MISPLACED, "extent-misplaced", "the extent was written for another place")                   \
    X(MALFORMED, "extent-malformed", "the extent's blocks do not add up")                          \
    X(CUT, "extent-cut", "the file ends inside the extent")                                        \
    X(READ_ERROR, "read-error", "reading failed")                                                  \
    X(EXTENTS_MISSING, "extents-missing", "missing")                                               \
    X(EXTENTS_DOUBLED, "extents-doubled", "there already")                                         \
    X(EXTENTS_REORDERED, "extents-reordered", "out of order")                                      \
    X(BLOCKS_MISSING, "blocks-missing", "missing")                                                 \
    X(BLOCKS_DOUBLED, "blocks-doubled", "there already")                                           \
    X(BLOCKS_REORDERED, "blocks-reordered", "out of order")                                        \
    X(CHECKPOINT_MISSING, "checkpoint-missing", "the segment does not start with a checkpoint")    \
    X(CHECKPOINT_WRONG, "checkpoint-wrong", "the checkpoint disagrees")                            \
    X(AFTER_END, "extents-after-end", "the segment had ended before")                              \
    X(RANDOM_WRONG, "random-wrong", "not what the random source makes")                            \
    X(RANDOM_UNKNOWN, "random-unknown",                                                            \
      "not known to be the random source's: cannot be made again")                                 \
    X(NOT_CLOSED, "not-closed", "not closed: cut, crashed or still being written")                 \
    X(NOT_CONTINUED, "not-continued", "the stream goes on in a segment that is not there")

enum finding_kind {
#define X(kind, name, text) FINDING_##kind,
    VERIFY_FINDINGS(X)
#undef X
        FINDING_KINDS
};

struct finding {
    enum finding_kind kind;
    const char *path; /* of the file */
    bool has_offset;  /* the finding has a place: */
    uint64_t offset, bytes;
    int writer; /* -1: none */
    uint64_t first_block, block_count;
    uint64_t first_extent, extent_count;
    uint64_t first_segment, segment_count;
    const char
        *field; /* CHECKPOINT_WRONG: of what, what was counted and what the checkpoint says */
    uint64_t counted, stated;
    int error; /* UNREADABLE, READ_ERROR: errno */
};

const char *finding_name(enum finding_kind kind);
const char *finding_text(enum finding_kind kind);

struct verify_options {
    bool random;      /* make every block again and compare it */
    unsigned workers; /* threads that read ahead; 0: the caller reads alone. The same is found */
    /* What a worker takes at a time, a multiple of FORMAT_ALIGN; 0: the default. */
    size_t piece_bytes;
    void (*on_finding)(void *context, const struct finding *finding);
    void (*on_progress)(void *context, uint64_t bytes, uint64_t all_bytes); /* may be NULL */
    void *context;
};

enum verify_end {
    VERIFY_CLOSED,  /* the last extent says that everything was stored */
    VERIFY_RUNNING, /* a daemon is writing it: whole so far */
    VERIFY_GOES_ON, /* in a segment that was not asked for */
    VERIFY_NOT_CLOSED
};

struct verify_result {
    uint64_t findings;
    uint64_t unreadable; /* of them: files that could not be read */
    uint64_t segments, extents, blocks, bytes, file_bytes;
    uint64_t dropped;                  /* blocks, by the extents that were read */
    unsigned writers;                  /* that have blocks in it */
    uint64_t first_ns, last_ns;        /* times of blocks; 0 if there is none */
    uint64_t first_segment, first_seq; /* proven from here on; 0: from the stream's beginning */
    uint64_t
        superseded_bytes; /* left behind by a failing disk and written again in a later segment */
    enum verify_end end;
};

/* The workers that this process has processors for. */
unsigned verify_workers(void);

/* Reads all that the survey has found. -ENOMEM. */
int verify(const struct survey *survey, const struct verify_options *options,
           struct verify_result *ret);

#endif
