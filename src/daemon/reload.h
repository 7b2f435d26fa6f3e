/* SPDX-License-Identifier: MIT
 *
 * What the parts of a reload share: reload.c looks at the file and answers, reload_prepare.c makes what
 * is new beside what runs, reload_switch.c puts it in its place. The main thread's alone, but while it is
 * prepared: then all but `preparation` is the preparing thread's.
 */
#ifndef DBUFD_DAEMON_RELOAD_H
#define DBUFD_DAEMON_RELOAD_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "config_change.h"
#include "cpus.h"
#include "crash.h"
#include "dbufd.h"
#include "thread.h"

/* A disk may be slow to open the new output, or hang: a thread of its own makes what is new, while the
 * main loop goes on, and undoes it again if it is not wanted any more. It announces itself when all is
 * there, waits then for the main thread's verdict, and once more when there is nothing. */
struct preparation {
    struct thread thread;
    struct dbufd *d;   /* of it the thread uses notify, fds and stop_fd, which stay as they are */
    _Atomic int stage; /* enum preparation_stage; the thread's */
    sem_t verdict;     /* the main thread's, once, of what is READY_MADE: */
    bool judged, wanted;
    const char *missing; /* UNMADE: what could not be had; NULL: it was not wanted */
    int missing_status;  /* of why_not */
    int missing_rc;
    uint64_t begun_ns; /* CLOCK_MONOTONIC */
    uint64_t told_ns;  /* that it takes long; 0: not yet */
};

enum preparation_stage { BEING_MADE, READY_MADE, UNMADE /* the thread has no more to do */ };

/* What is in force once the reader has stored all that was there before. */
struct reload {
    struct config *config;
    bool changed[OPTION_COUNT];
    unsigned needs;     /* of all that has changed: enum change_needs */
    char *description;  /* of the changes */
    uint64_t paused_ns; /* CLOCK_MONOTONIC */
    uint64_t seed;
    uint8_t uuid[16]; /* of the stream that there is */
    struct db_geometry geometry;
    struct cpus_plan cpus;
    struct crash crash;
    enum crash_kind kind;        /* of the crash buffer before */
    struct db *db;               /* NULL: the one that is there */
    struct store *store;         /* likewise */
    struct output *uring;        /* of that store */
    unsigned kept;               /* writers below this one hand their source over to the next one */
    struct crew_sockets sockets; /* of the sources that there are */
    struct crew crew;
    struct metrics *metrics; /* the main thread's; NULL: they are as they are, or none are wanted */
    struct preparation preparation;
};

/* ---- reload.c ---- */

/* Tells that it is in force; `paused_ns`: for so long the writers were; 0: they were not. */
void reload_tell(const struct dbufd *d, const char *description, uint64_t paused_ns);
/* Metrics are served as the configuration, by now the new one, says. */
void reload_serve(struct dbufd *d, struct reload *r);
/* With all that it still has; NULL is fine. */
void reload_free(struct reload *r);

/* ---- reload_prepare.c ---- */

/* Has a thread make what is new; it announces itself by FD_RELOAD_PREPARED. -errno: there is none. */
int reload_prepare(struct dbufd *d, struct reload *r);
enum preparation_stage reload_stage(const struct reload *r);
/* Of what is READY_MADE. Wanted: the thread has no more to do. If not: it undoes all, and announces itself
 * once more. Once; then without effect. Does not wait. */
void reload_judge(struct reload *r, bool wanted);
/* Of a thread that has no more to do: all is the main thread's. */
void reload_join(struct reload *r);
/* Frees all that was made and is not in use. Waits for the disk. */
void reload_undo(struct reload *r);

/* ---- reload_switch.c ---- */

/* Begins to go over to what d->reload has prepared; reload_go_on is the rest of it. */
void reload_pause(struct dbufd *d);

#endif
