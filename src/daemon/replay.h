/* SPDX-License-Identifier: MIT
 *
 * replay: stores what a region of an earlier process still holds and the disk does not, each block
 * once, in order.
 *
 * One thread. It waits for the disk, allocates at its begin, never prints, and goes on after a failure
 * where it was. It may be killed at any moment and begun anew, by another process, any number of
 * times.
 */
#ifndef DBUFD_DAEMON_REPLAY_H
#define DBUFD_DAEMON_REPLAY_H

#include "../buffer/region_read.h"
#include "../disk/store.h"

struct replay_options {
    /* Store it here instead of where the region's run has stored; NULL: there. */
    const char *path;
    enum store_format format; /* with path */
    uint64_t min_free_bytes;  /* as for store_open */
    void (*on_event)(void *context, const struct store_event *event);
    void *context;
    const struct output *output; /* NULL: the system's own calls */
};

struct replay;

/* Begins it. The view's region stays the caller's, and must stay as it is. -ENOMEM. */
int replay_open(struct replay **ret, const struct region_view *view,
                const struct replay_options *options);

/* The next step: opens the stream, stores a half, or closes the stream. 1: there is more to do. 0:
 * everything is stored and durable, and the region knows it. -errno: as store_open (but -EBUSY:
 * another process has the stream; -ESTALE also: it has gone on without these blocks), store_write and
 * store_finish; nothing is lost, the same call again goes on. */
int replay_step(struct replay *replay);

/* How it stands. */
struct replay_account {
    uint64_t blocks, bytes;       /* stored by now; bytes of data */
    uint64_t blocks_there;        /* were on the disk already (of segments) */
    uint64_t blocks_lost;         /* were stored by the run before, and are gone from the disk */
    uint64_t blocks_doubtful;     /* not stored: they contradict others of their writer */
    uint64_t extents_damaged;     /* stored as far as they could be read */
    char path[REGION_PATH_BYTES]; /* where to: the segment, or the stream */
};
void replay_account(const struct replay *replay, struct replay_account *ret);

/* Frees it, at any point. NULL is fine. */
void replay_free(struct replay *replay);

#endif
