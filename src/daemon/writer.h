/* SPDX-License-Identifier: MIT
 *
 * A writer: the thread that runs produce_data -> db_write -> account_data.
 *
 * Opened, started and closed by the main thread. It ends by itself when its source ends, when its share of
 * source.limit is reached, or soon after stop_fd became readable and writer_stop was called; it then
 * adds 1 to ended_fd.
 */
#ifndef DBUFD_DAEMON_WRITER_H
#define DBUFD_DAEMON_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "../buffer/db.h"
#include "../source/source.h"
#include "notify.h"

enum { SIZE_CLASSES = 22 }; /* blocks by size: 0, 1, 2..3, 4..7, ... 1 MiB */

struct writer_options {
    struct db_writer *db_writer;
    const struct notify *notify;
    struct source_options source;
    int core;                /* to be pinned to; < 0: nowhere */
    uint64_t rate;           /* bytes a second of this writer; 0: as fast as it goes */
    uint64_t limit;          /* bytes of this writer; UINT64_MAX: no end */
    const _Atomic bool *stop; /* read before every block */
    int ended_fd;            /* eventfd */
};

struct writer;

/* Opens the source. -errno: *ret untouched, nothing left behind. */
int writer_open(struct writer **ret, const struct writer_options *options);

/* Starts the thread. -errno: it is as if it had not been called. */
int writer_start(struct writer *writer);

/* Waits for the thread, if there is one, to end, closes the source and frees it. Returns 0, or the
 * -errno that broke its source. */
int writer_close(struct writer *writer);

/* What account_data keeps. Blocks and bytes are counted by db_write itself (see db_account). */
struct writer_account {
    uint64_t sizes[SIZE_CLASSES]; /* blocks by size class */
    uint64_t lines_cut;           /* blocks that end inside a line */
};
void writer_account(const struct writer *writer, struct writer_account *ret);

/* How often it was preempted; reads a file. */
uint64_t writer_preemptions(const struct writer *writer);

#endif
