/* SPDX-License-Identifier: MIT
 *
 * The crew: the reader, the writers and their sources of one configuration, all of them there before
 * any works. Whatever can fail has failed before the crew goes: at the start, and in a reload while the
 * crew before it still works.
 *
 * crew_open_sources and crew_open_threads are whoever's that prepares it, the rest is the main thread's.
 */
#ifndef DBUFD_DAEMON_CREW_H
#define DBUFD_DAEMON_CREW_H

#include <stdint.h>

struct config;
struct cpus_plan;
struct dbufd;
struct reader;
struct source;
struct writer;

/* All zero: nobody. */
struct crew {
    unsigned count; /* of writers */
    struct reader *reader;
    struct writer **writers; /* [count] */
    /* [count]; NULL: it comes from elsewhere before the crew goes, or has ended */
    struct source **sources;
};

/* Sockets of sources that there were or are, by writer; -1: none. */
struct crew_sockets {
    int *fds;
    unsigned count;
};

/* Opens the source of each writer but the first `kept`; `sockets`: goes on with those that fit. -errno:
 * what was opened is in the crew. */
int crew_open_sources(struct crew *crew, const struct dbufd *d, const struct config *config,
                      uint64_t seed, unsigned kept, const struct crew_sockets *sockets);

/* Copies of those of the daemon's writers. Main thread. -errno: nothing to close. */
int crew_copy_sockets(const struct dbufd *d, struct crew_sockets *ret);
void crew_close_sockets(struct crew_sockets *sockets);

/* The reader, for halves of so many extents, and the writers, each with its thread. -errno: those that
 * could be had are in the crew. */
int crew_open_threads(struct crew *crew, const struct config *config, const struct cpus_plan *cpus,
                      uint32_t extent_count);

/* Its reader and its writers are the daemon's and work, on the parts that the daemon has; `taken`
 * bytes of source.limit are used up. Leaves an empty crew. How many writers work. */
unsigned crew_go(struct dbufd *d, struct crew *crew, uint64_t taken);

/* Bytes a second of one writer, of what is configured for all; 0: as many as it can. Pure. */
uint64_t rate_of(const struct config *config, unsigned writer);

/* Sends home a crew that has not gone. */
void crew_close(struct crew *crew);

#endif
