/* SPDX-License-Identifier: MIT
 *
 * What becomes of the blocks in memory when dbufd dies, and when it starts again.
 *
 * crash.c keeps the region where it outlives the process; crash_recover.c stores what an earlier
 * process has left; crash_found.c finds it. Main thread only, but for another buffer, which may be begun
 * or dropped by whoever prepares it.
 */
#ifndef DBUFD_DAEMON_CRASH_H
#define DBUFD_DAEMON_CRASH_H

#include <stdbool.h>
#include <stddef.h>

#include "../buffer/control.h"
#include "../buffer/region.h"
#include "../buffer/region_read.h"

struct config;
struct db;
struct dbufd;
struct notify;

/* What crash_buffer may say. */
enum crash_kind {
    CRASH_OFF,     /* the region dies with the process */
    CRASH_AUTO,    /* the service manager keeps it, if there is one that does */
    CRASH_FDSTORE, /* the service manager keeps it */
    CRASH_FILE     /* it lies in a file */
};

/* Reads it. *ret_path: of CRASH_FILE, points into `text`. -EINVAL: neither of them. Pure. */
int crash_parse(const char *text, enum crash_kind *ret, const char **ret_path);

struct crash {
    enum crash_kind kind;         /* in force */
    const char *path;             /* CRASH_FILE: the configuration's */
    int file;                     /* CRASH_FILE: it, locked, until the region is in it; else -1 */
    bool recovered;               /* nothing of an earlier run is left */
    int why_not;                  /* kind OFF instead of AUTO: -errno of notify_keep_fd */
    char name[REGION_NAME_BYTES]; /* of the region */
    char output_path[REGION_PATH_BYTES];   /* output_file_path, absolute */
    char failover_path[REGION_PATH_BYTES]; /* likewise; "": none */
    bool beside; /* CRASH_FILE: renewed, and not yet in the place of the old one */
};

/* ---- crash.c ---- */

/* Chooses by the configuration, and takes the file, if it is to be one. 0, or the exit status with
 * the reason told. */
int crash_open(struct dbufd *d);

/* What whoever finds the region must know of this run, and of the stream, `uuid`. */
void crash_describe(const struct crash *crash, const struct config *config, uint64_t seed,
                    const uint8_t uuid[static 16], struct region_run *ret);

/* The memory for the double buffer. 0 or -errno. */
int crash_make_region(struct crash *crash, size_t bytes, struct region *ret);

/* Puts the region where it will be found, before the first writer runs. 0 or -errno. */
int crash_keep(struct crash *crash, const struct db *db);

/* ---- Another buffer, while dbufd runs: crash_renew, crash_make_region, crash_keep, and then either
 * crash_replace or crash_drop. Until then both regions would be found, and the new one is empty. ---- */

/* Begins one beside that of `now`, for this configuration. 0 or -errno. */
int crash_renew(const struct crash *now, const struct config *config, struct crash *ret);

/* The old region is empty for good, no writer runs yet: the new one takes its place. 0; -errno: it
 * is still found where it was made. */
int crash_replace(const struct crash *old, struct crash *renewed);

/* The new one comes to nothing. */
void crash_drop(struct crash *renewed);

/* Tells what is in force; its name for the report. */
void crash_tell(const struct dbufd *d);
const char *crash_kind_name(enum crash_kind kind);

/* dbufd must end while the disk refuses: puts what is in memory where the next start finds it. The
 * reader must be paused. 0; -errno: it cannot, draining is all that is left. */
int crash_leave(struct dbufd *d);

/* Everything is stored: the region need not be found any more. */
void crash_close(struct dbufd *d);

/* ---- crash_recover.c ---- */

/* Stores what earlier processes have left and the disk has not, however long the disk takes. 0, or the
 * exit status with the reason told: EX_TEMPFAIL if it was told to stop before it was through; what is
 * left will be found again. */
int crash_recover(struct dbufd *d);

/* There will be no start: a bad configuration. What the service manager hands over, and would drop
 * now, is copied to where the next start finds it. */
void crash_save_found(const struct notify *notify);

/* ---- crash_found.c ---- */

/* A region of an earlier process. */
struct found {
    enum found_where { FOUND_AT_MANAGER, FOUND_IN_RUNTIME, FOUND_IN_FILE } where;
    char *name; /* of the descriptor, or the file's path */
    struct region region;
    struct region_view view; /* with look == 0 */
    int look;                /* 0 or -ENOTSUP of region_look */
};

struct founds {
    struct found *items;
    size_t count;
};

/* All there are, the oldest first; those that hold nothing, and descriptors that are none of ours, are
 * put away at once. 0, or -errno: *ret is whatever was found until then. -EBADMSG: the file that
 * crash_buffer names is none of ours. */
int crash_find(const struct dbufd *d, struct founds *ret);

/* The region is done with: whoever keeps it can let go. */
void crash_forget(struct found *found);

/* Copies it into the runtime directory, where the next start finds it. -ENOENT: there is none. */
int crash_save(const struct region *region, const char *name);

void crash_founds_free(struct founds *founds);

#endif
