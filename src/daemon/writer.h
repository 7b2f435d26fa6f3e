/* SPDX-License-Identifier: MIT
 *
 * A writer: the thread that runs produce_data -> db_write -> account_data.
 *
 * Opened by whoever prepares it, let go and closed by the main thread. It ends by itself when its source
 * ends, when its share of source.limit is reached, or, soon after stop_fd became readable, if *stop is set
 * or writer_order has told it to; it then adds 1 to ended_fd. The source of a writer that was paused can
 * go on in another one.
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
    uint64_t rate;  /* bytes a second of this writer, to begin with; 0: as fast as it goes */
    uint64_t limit; /* bytes of this writer; UINT64_MAX: no end */
    const _Atomic bool *stop; /* read before every block */
    int ended_fd;             /* eventfd */
};

struct writer;

/* Makes it ready, with a thread that waits for writer_go; `core`: to be pinned to; < 0: nowhere.
 * Allocates. -errno: *ret untouched, nothing left behind. */
int writer_open(struct writer **ret, int core);

/* From here on it works; the source is the writer's. NULL: its source has ended already, and the writer
 * with it: it does not count in ended_fd. Cannot fail. */
void writer_go(struct writer *writer, const struct writer_options *options, struct source *source);

/* What it has to do when it is to end: */
enum writer_order {
    WRITER_GO,    /* nothing: it goes on */
    WRITER_PAUSE, /* end at the next block; what its source has read stays in it */
    WRITER_END    /* end as for *stop: what its source has read comes out first */
};
void writer_order(struct writer *writer, enum writer_order order);

/* Another rate, from now on. */
void writer_set_rate(struct writer *writer, uint64_t rate);

/* Waits for the thread to end. Its source, if it was paused: the caller's from then on. NULL: it has
 * ended, and *ret_rc is 0 or the -errno that broke it. */
struct source *writer_take_source(struct writer *writer, int *ret_rc);

/* The socket of its source, if it has one that another source may go on with; else -1. Main thread. */
int writer_descriptor(const struct writer *writer);

/* Before it is ordered to end, while others go on: see source_leave. */
void writer_leave(const struct writer *writer);

/* Waits for the thread, if it was let go, to end, closes the source and frees it. Returns 0, or the
 * -errno that broke its source. */
int writer_close(struct writer *writer);

/* What account_data keeps. Blocks and bytes are counted by db_write itself (see db_account). */
struct writer_account {
    uint64_t sizes[SIZE_CLASSES]; /* blocks by size class */
    uint64_t lines_cut;           /* blocks that end inside a line, frame or datagram */
    uint64_t kernel_drops;        /* datagrams that the kernel dropped */
};
void writer_account(const struct writer *writer, struct writer_account *ret);

/* How often it was preempted; reads a file. */
uint64_t writer_preemptions(const struct writer *writer);

#endif
