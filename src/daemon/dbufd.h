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
#include "command_line.h"
#include "config.h"
#include "crash.h"
#include "crew.h"
#include "metrics.h"
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
    FD_RELOAD_PREPARED, /* what a reload needs is there, or will not be */
    FD_COUNT
};

struct reload;

/* Metrics: see serve.c. */
struct served {
    struct metrics *metrics; /* NULL: they are not served */
    uint64_t tried_ns;       /* when they could not be: CLOCK_MONOTONIC */
    bool told;               /* that they could not be */
    uint64_t looked_ns;      /* for preemptions, which were then: */
    uint64_t writer_preemptions, reader_preemptions;
};

struct dbufd {
    const struct command_line *line; /* its settings stay in force over another file */
    const char *config_path;         /* of the file that is in force; NULL: there is none */
    struct config *config;
    struct notify notify;
    struct cpus_plan cpus;
    struct crash crash;
    struct output *uring; /* NULL: none */
    struct store *store;
    struct db *db;
    struct reader *reader;
    struct writer **writers;
    unsigned writer_count;
    unsigned writers_ended;
    int fds[FD_COUNT];
    int stop_fd;        /* eventfd, readable from stop on: the writers' sources watch it */
    _Atomic bool stop;  /* the writers look at it before each block */
    bool stop_asked;    /* a signal asked for it */
    uint64_t stop_ns;   /* when: CLOCK_MONOTONIC */
    bool left;          /* it had to end with blocks in memory, which the next start finds */
    uint64_t seed;      /* of the random source */
    struct stall stall; /* of the reader, in the disk */
    int status;         /* of the exit: why it ends, if that is no good reason */
    struct stats ticked, reported, begun;
    struct served served;
    struct stats carried;     /* the counters of parts that were replaced */
    struct reload *preparing; /* what another configuration needs is being made; NULL: nothing is */
    struct reload *reload;    /* it is being gone over to; NULL: it is not */
    bool reload_again;        /* one was asked for since, while either was */
};

/* ---- parts.c: each makes one part from a configuration. 0 or -errno. ---- */
int open_fds(struct dbufd *d, uint64_t duration_ns);
void set_report_timer(const struct dbufd *d);
int choose_seed(const struct config *config, uint64_t *ret);
int plan_cores(const struct config *config, struct cpus_plan *ret);
void cut_capacity(const struct config *config, struct db_geometry *ret);
/* For one store; *ret untouched: the configuration wants none, or takes it as it is without. */
int make_uring(struct dbufd *d, const struct config *config, struct output **ret);
void free_uring(struct output *uring);
int make_store(struct dbufd *d, const struct config *config, uint64_t seed,
               const struct db_geometry *geometry, const struct output *uring, struct store **ret);
/* For blocks of this configuration, a store that is open. */
void change_store(struct store *store, const struct config *config, uint64_t seed,
                  const struct db_geometry *geometry);
/* In memory that can be found by crash->name, for blocks that go to the stream `uuid`; the writers' next
 * blocks are yet to be set. */
int make_buffer(const struct config *config, uint64_t seed, const struct db_geometry *geometry,
                const uint8_t uuid[static 16], struct crash *crash, struct db **ret);
struct reader_tuning reader_tuning(const struct config *config);

/* ---- loop.c ---- */

/* Makes the writers end; the rest follows from that. */
void ask_stop(struct dbufd *d);
/* Waits until everything is stored and the reader has ended; or, told to stop while the disk refuses
 * and goes on refusing, until what is in memory is where the next start finds it (d->left). */
void run(struct dbufd *d);

/* ---- reload.c ---- */

/* Reads the configuration again, and goes over to it, or begins to. Waits for no disk but that of the
 * file. */
void reload(struct dbufd *d);
/* FD_RELOAD_PREPARED is readable. */
void reload_prepared(struct dbufd *d);
/* The reader has ended. False: because dbufd ends. */
bool reload_go_on(struct dbufd *d);
/* To be called each second. */
void reload_tick(const struct dbufd *d, uint64_t now_ns);
/* dbufd ends: what is being made comes to nothing. Waits a moment for that; d->preparing is still there
 * if it hangs, and then uses d's notify, fds and config until the process is gone. */
void reload_give_up(struct dbufd *d);

/* ---- serve.c ---- */

/* Listens where metrics.listen says, if it does not yet; tells how that went. */
void serve(struct dbufd *d);
/* To be called each second. */
void serve_tick(struct dbufd *d, uint64_t now_ns);
/* Before it ends: clients are gone, and the socket's file is. */
void serve_end(struct dbufd *d);
/* For a reload: listens at another address beside the one that is served. -errno: all is as it was. ""
 * gives none. */
int serve_open(struct dbufd *d, const char *listen, struct metrics **ret);
/* What an error of it means, and what to do. */
const char *serve_why_not(int rc);
/* Serves these and no others from here on; d->config names their address. NULL: none. */
void serve_change(struct dbufd *d, struct metrics *metrics);

/* ---- config_errors.c ---- */

/* Reads and checks the configuration; its errors go where a person looks for them: to stderr as they
 * are, or to the journal as events. NULL: *ret_rc has why, and that was told. */
struct config *load_config(const struct notify *notify, const struct command_line *line,
                           const char *path, int *ret_rc);

/* Tells each of the errors that config_load has written: a line each, and more that begin with a
 * space if it has more to say. */
void tell_config_errors(const struct notify *notify, const char *errors);

/* ---- announce.c ---- */

/* The parts' accounts, for stats_gather. */
struct stats_sources stats_sources(const struct dbufd *d);
/* Tells why dbufd cannot start; returns `status`, the exit status. */
int cannot(const struct dbufd *d, int status, const char *what, const char *where, int rc);
/* The errno in words; of an output, with what to do. */
const char *why_not(const struct config *config, int status, int rc);
/* What of the memory is not as it could be. */
void tell_memory(const struct dbufd *d);
void tell_cores(const struct dbufd *d);
void tell_started(const struct dbufd *d, const struct db_geometry *geometry);
void tell_stopped(const struct dbufd *d);

#endif
