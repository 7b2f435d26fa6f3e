/* SPDX-License-Identifier: MIT
 *
 * What a kind of source is made of. Private to src/source: others use source.h.
 *
 * A kind's own struct starts with a struct source, so that source.c can call it without knowing it.
 * The functions keep the promises that source.h makes.
 */
#ifndef DBUFD_SOURCE_KIND_H
#define DBUFD_SOURCE_KIND_H

#include "source.h"

struct source_ops {
    const char *name; /* as in the configuration */
    int (*open)(struct source **ret, const struct source_options *options);
    void (*begin_at)(struct source *source, uint64_t next_block); /* NULL: it does not matter */
    void (*close)(struct source *source);                         /* never called with NULL */
    int (*wait)(struct source *source, int timeout_ms);
    int (*produce)(struct source *source, void *room, size_t room_bytes, struct block_info *ret);
    void (*stop)(struct source *source);
    int (*descriptor)(const struct source *source); /* NULL: it has none to hand over */
    void (*leave)(const struct source *source); /* NULL: it shares with nobody, or takes no more */
};

struct source {
    const struct source_ops *ops; /* [I] */
    struct source_account account;
};

/* The path with the writer's index for each %w. To be freed; NULL: no memory. */
char *source_expand_path(const char *path, unsigned writer);

/* Waits until `fd` has something to say, which a read will tell: 1; or until stop_fd has (-1: none), or until
 * `until_ms` (see clock.h): 0. -errno. */
int source_wait_readable(int fd, int stop_fd, int64_t until_ms);

extern const struct source_ops source_random_ops; /* random.c */
extern const struct source_ops source_pipe_ops;   /* pipe.c */
extern const struct source_ops source_unix_ops;   /* unix.c */
extern const struct source_ops source_udp_ops;    /* udp.c */

#endif
