/* SPDX-License-Identifier: MIT
 *
 * Finding out where an existing stream goes on, and putting aside what a crash left behind its last
 * whole extent.
 *
 * One thread; waits for the disk; allocates.
 */
#ifndef DBUFD_DISK_RECOVER_H
#define DBUFD_DISK_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "output.h"
#include "store.h"
#include "stream.h"
#include "tally.h"

struct recovery {
    bool found;        /* there is a stream with at least one whole extent */
    uint8_t uuid[16];  /* of the stream */
    uint64_t number;   /* of the last segment, the highest by header or by name; 0: there is none */
    char *path;        /* the last segment that has a whole extent; NULL if none has */
    uint64_t end;      /* of its last whole extent: here it goes on */
    uint64_t bytes;    /* of the file */
    uint64_t torn_end; /* behind the last byte of it that is to be kept aside */
    bool closed;       /* that one says that the stream ended there in order */
    bool goes_on; /* that one says that the stream goes on in another segment, which is not there */
    bool torn;    /* behind `end` there is more than room that was never used */
    char **hollow; /* later files that hold no whole extent */
    size_t hollow_count;
    struct tally tally; /* of the stream */
};

/* Syncs and reads the stream's last segment. Changes nothing. `in_memory` (NULL: nothing is): whoever asks has
 * all that is stored from there on, so that the first damage behind it is the end. -EBADMSG: a file
 * that is no segment; -ENOTSUP: of another version; -errno. *ret untouched on failure. */
int recover_look(const struct stream_files *files, const struct store_target *in_memory,
                 const struct output *output, struct recovery *ret);

/* Called for each file that was cut: `torn` bytes from `offset` on, kept in PATH.torn if `torn`,
 * else unused room that was given back. */
typedef void recover_report(void *context, const char *path, uint64_t offset, uint64_t bytes,
                            bool torn);

/* Cuts the files as recover_look has found it right. Nothing that could be of use is lost: it is
 * copied aside and synced first. -errno: call again, or leave it. */
int recover_cut(const struct recovery *recovery, const struct output *output,
                recover_report *report, void *context);

void recover_free(struct recovery *recovery);

#endif
