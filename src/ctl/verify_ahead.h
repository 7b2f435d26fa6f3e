/* SPDX-License-Identifier: MIT
 *
 * The stream's files, looked at by several threads before it is their turn to be judged.
 *
 * The files are cut into pieces of equal length. Each worker takes the next piece, reads it, and keeps
 * of every whole extent (SCAN_OK) that begins in it what is needed for judging it. The thread that
 * judges asks for the extent at the very offset where it is: what a whole extent is depends on its own
 * bytes alone, so that it makes no difference who has read them. All else is for that thread to read: damage,
 * and what a worker took for an extent inside of another one.
 *
 * One thread calls these functions. ahead_start allocates; ahead_take waits for a worker. A worker's
 * memory, with pieces of 16 MiB: a window of 3 MiB, two slots that hold 0.7 MiB each if every page is an
 * extent, and 1 MiB to make random blocks in; less than 6 MiB, whatever is in the files.
 */
#ifndef DBUFD_CTL_VERIFY_AHEAD_H
#define DBUFD_CTL_VERIFY_AHEAD_H

#include "survey.h"
#include "verify_blocks.h"

struct ahead;

struct ahead_extent {
    uint64_t offset, bytes; /* as in struct scan_extent */
    struct extent_header header;
    const unsigned char *data; /* a checkpoint's; else NULL. Valid until the next call */
    struct block_sums sums;
    struct random_parameters random; /* what made every block; zeros: not compared, or not so */
};

struct ahead_options {
    unsigned workers;   /* at least 1 */
    size_t piece_bytes; /* a multiple of FORMAT_ALIGN */
    bool random;        /* compare the blocks with what the random source makes */
};

/* Starts as many of the workers as there can be. -ENOMEM; -EAGAIN: there can be none. The survey must stay
 * as long as they. */
int ahead_start(struct ahead **ret, const struct survey *survey,
                const struct ahead_options *options);

/* 1: *ret is the whole extent at `offset` of the survey's file `file`. 0: there is none, or nobody has seen
 * it. Goes forward only: what is before that is forgotten. *ret stays valid until the next call. */
int ahead_take(struct ahead *ahead, size_t file, uint64_t offset, const struct ahead_extent **ret);

/* Waits for the workers to end what they have begun. NULL is fine. */
void ahead_stop(struct ahead *ahead);

#endif
