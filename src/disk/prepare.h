/* SPDX-License-Identifier: MIT
 *
 * The next segment, made ready off the reader's path: a new file with its room, or an old segment's.
 *
 * One thread, the reader, asks; the work is done by a thread of our own, or, without one, while it
 * asks. Nothing here is a failure of the recording: what cannot be made ready now is asked for again.
 */
#ifndef DBUFD_DISK_PREPARE_H
#define DBUFD_DISK_PREPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "segment.h"

struct prepare;

/* What is asked for. */
struct prepare_order {
    struct segment_manner manner;
    uint64_t bytes;    /* room, or as much as there is ... */
    uint64_t min_free; /* ... but for this much of the file system */
    /* A segment that is kept no longer; NULL: none. Its file is used if it can be, else removed. Taken
     * over by prepare_ask. */
    char *old_path;
    uint64_t old_number, old_bytes;
    uint8_t uuid[16]; /* of the stream */
};

/* What became of it. */
struct prepare_answer {
    bool old_gone; /* old_path, old_number and old_bytes are as asked for, path to be freed */
    char *old_path;
    uint64_t old_number, old_bytes;
    int rc; /* 0: there is one; else -errno */
};

/* `path` is the name under which the next segment is made; copied. `own_thread`: `output` is called from
 * there, too. -ENOMEM, -EAGAIN: no thread. */
int prepare_open(struct prepare **ret, const struct output *output, const char *path,
                 bool own_thread);

/* Whether one may be asked for: none is ready, or being made, or has an answer that nobody has taken. */
bool prepare_is_idle(struct prepare *prepare);

/* Whether one is being made now. */
bool prepare_is_busy(struct prepare *prepare);

/* Asks for one. Only if idle. Does not wait, if there is a thread. */
void prepare_ask(struct prepare *prepare, const struct prepare_order *order);

/* Gives the answer of what was asked for, once. False: there is none (yet). */
bool prepare_answer(struct prepare *prepare, struct prepare_answer *ret);

/* Hands over the one that is ready, having waited for the one that is being made. False: there is none.
 */
bool prepare_take(struct prepare *prepare, struct segment *ret);

/* Waits, removes what is ready, ends the thread. NULL is fine. */
void prepare_close(struct prepare *prepare);

#endif
