/* SPDX-License-Identifier: MIT
 *
 * The reader: the thread that runs db_read -> disk_write -> aux_work, and after db_close finishes the
 * stream, if that is not to go on. Opened by whoever prepares it, let go and joined by the main thread;
 * adds 1 to ended_fd when all is stored.
 */
#ifndef DBUFD_DAEMON_READER_H
#define DBUFD_DAEMON_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "../buffer/db.h"
#include "../disk/store.h"
#include "notify.h"

enum { TIME_CLASSES = 32 }; /* times by power of two of microseconds */

/* What may be another while it runs. */
struct reader_tuning {
    uint64_t flush_ns; /* the longest that db_read waits */
    bool self_check;   /* walk every block before it is stored: debug_mode */
    struct store_tuning store;
};

struct reader_options {
    struct db *db;
    struct store *store;
    const struct notify *notify;
    struct reader_tuning tuning; /* as the store is already */
    int ended_fd;                /* eventfd */
};

struct reader;

/* Makes it ready for halves of so many extents, with a thread that waits for reader_go; `core`: to be
 * pinned to; < 0: nowhere. Allocates. -errno: *ret untouched, nothing left behind. */
int reader_open(struct reader **ret, uint32_t extent_count, int core);

/* From here on it works. Cannot fail. */
void reader_go(struct reader *reader, const struct reader_options *options);

/* Stops it where it is, if that is while the disk refuses; then it neither stores nor frees anything
 * until reader_resume. False: it is about something else. */
bool reader_pause(struct reader *reader);
void reader_resume(struct reader *reader);

/* When db_close has it end, the stream is not finished: it will go on. Before db_close. */
void reader_keep_stream(struct reader *reader);

/* It goes by this from now on, even where it waits for a disk that refuses. */
void reader_tune(struct reader *reader, const struct reader_tuning *tuning);

/* Makes it end the segment and begin the next one as soon as it is between two halves: at once while
 * blocks come, else when flush_ns is over. Asked twice before that it does it once. */
void reader_rotate(struct reader *reader);

/* Waits for the thread, if it was let go, to end and frees it. True: it did not come to a rotation that
 * it was asked for. */
bool reader_join(struct reader *reader);

enum reader_state { READER_WAITING, READER_STORING, READER_DISK_HELD };

/* What it has done. Any thread; wait-free. */
struct reader_account {
    enum reader_state state;
    uint64_t progress;           /* grows whenever it gets anywhere, a counted retry included */
    uint64_t halves;             /* stored */
    uint64_t store_ns;           /* spent storing them */
    uint64_t last_bytes_per_sec; /* of the last half, by aux_work */
    uint64_t store_times[TIME_CLASSES]; /* halves by the time that they took */
    uint64_t disk_held_since_ns;        /* CLOCK_MONOTONIC; 0: the disk is well */
    int disk_error;                     /* errno, while held */
};
void reader_account(const struct reader *reader, struct reader_account *ret);

/* Processor time that it has used; 0: it has ended. */
uint64_t reader_cpu_ns(const struct reader *reader);

/* How often it was preempted; reads a file. */
uint64_t reader_preemptions(const struct reader *reader);

#endif
