/* SPDX-License-Identifier: MIT
 *
 * The daemon as a whole: what main.c starts in order and stops in the reverse, loop.c waits on, and
 * announce.c tells about. The main thread's alone, but for `stop`, which the writers look at.
 */
#ifndef DBUFD_DAEMON_DBUFD_H
#define DBUFD_DAEMON_DBUFD_H

#include <stdbool.h>
#include <stdint.h>

#include "../disk/output.h"
#include "config.h"
#include "crash.h"
#include "notify.h"
#include "reader.h"
#include "stall.h"
#include "stats.h"
#include "writer.h"

/* What the main loop waits for. */
enum wait_fd {
    FD_SIGNAL,
    FD_TICK,          /* each second: STATUS, the watchdog */
    FD_REPORT,        /* each stats_interval */
    FD_DURATION,      /* the end of --duration */
    FD_WRITERS_ENDED, /* counts the writers that have ended */
    FD_READER_ENDED,
    FD_COUNT
};

struct dbufd {
    struct config *config;
    struct notify notify;
    struct cpus_plan cpus;
    struct crash crash;
    struct output uring; /* context NULL: none */
    struct store *store;
    struct db *db;
    struct reader *reader;
    struct writer **writers;
    unsigned writers_opened;
    unsigned writers_started;
    unsigned writers_ended;
    int fds[FD_COUNT];
    int stop_fd;       /* eventfd, readable from stop on: the writers' sources watch it */
    _Atomic bool stop; /* the writers look at it before each block */
    bool stop_asked;   /* a signal asked for it */
    uint64_t stop_ns;  /* when: CLOCK_MONOTONIC */
    bool left;         /* it had to end with blocks in memory, which the next start finds */
    uint64_t seed;     /* of the random source */
    struct stall stall; /* of the reader, in the disk */
    struct stats ticked, reported, begun;
};

/* ---- parts.c: each makes one part from the configuration. 0 or -errno. ---- */
int open_fds(struct dbufd *d, uint64_t duration_ns);
int plan_cores(struct dbufd *d);
int start_uring(struct dbufd *d);
int start_store(struct dbufd *d, const struct db_geometry *geometry);
int start_buffer(struct dbufd *d, const struct db_geometry *geometry);
int open_writers(struct dbufd *d);
int start_reader(struct dbufd *d);
int start_writers(struct dbufd *d);

/* ---- loop.c ---- */

/* Makes the writers end; the rest follows from that. */
void ask_stop(struct dbufd *d);
/* Waits until everything is stored and the reader has ended; or, told to stop while the disk refuses
 * and goes on refusing, until what is in memory is where the next start finds it (d->left). */
void run(struct dbufd *d);

/* ---- config_errors.c ---- */

/* Tells each of the errors that config_load has written: a line each, and more that begin with a
 * space if it has more to say. */
void tell_config_errors(const struct notify *notify, const char *errors);

/* ---- announce.c ---- */

/* The parts' accounts, for stats_gather. */
struct stats_sources stats_sources(const struct dbufd *d);
/* Tells why dbufd cannot start; returns `status`, the exit status. */
int cannot(const struct dbufd *d, int status, const char *what, const char *where, int rc);
void tell_started(const struct dbufd *d, const struct db_geometry *geometry);
void tell_stopped(const struct dbufd *d);

#endif
