/* SPDX-License-Identifier: MIT
 *
 * What the parts of a reload share: reload.c looks at the file and answers, reload_prepare.c makes what
 * is new beside what runs, reload_switch.c puts it in its place. The main thread's alone.
 */
#ifndef DBUFD_DAEMON_RELOAD_H
#define DBUFD_DAEMON_RELOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "config_change.h"
#include "cpus.h"
#include "crash.h"
#include "dbufd.h"

/* What is in force once the reader has stored all that was there before. */
struct reload {
    struct config *config;
    bool changed[OPTION_COUNT];
    unsigned needs;     /* of all that has changed: enum change_needs */
    char *description;  /* of the changes */
    uint64_t paused_ns; /* CLOCK_MONOTONIC */
    uint64_t seed;
    struct db_geometry geometry;
    struct cpus_plan cpus;
    struct crash crash;
    enum crash_kind kind; /* of the crash buffer before */
    struct db *db;        /* NULL: the one that is there */
    struct store *store;  /* likewise */
    struct output *uring; /* of that store */
    unsigned kept;        /* writers below this one hand their source over to the next one */
    struct crew crew;
};

/* ---- reload.c ---- */

/* Tells that it comes to nothing, and why; `why` may be "". */
void reload_refuse(const struct dbufd *d, const char *what, const char *why);
/* Tells that it is in force; `paused_ns`: for so long the writers were; 0: they were not. */
void reload_tell(const struct dbufd *d, const char *description, uint64_t paused_ns);
/* With all that it has; NULL is fine. */
void reload_free(struct reload *r);

/* ---- reload_prepare.c ---- */

/* Makes what is new; waits for the disk, and allocates. False: it could not, and that was told. */
bool reload_prepare(struct dbufd *d, struct reload *r);

/* ---- reload_switch.c ---- */

/* Begins to go over to what d->reload has prepared; reload_go_on is the rest of it. */
void reload_pause(struct dbufd *d);

#endif
