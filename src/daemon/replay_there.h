/* SPDX-License-Identifier: MIT
 *
 * How much of what a region holds is on the disk already. Looks at the files, changes nothing; one
 * thread; waits for the disk, allocates.
 */
#ifndef DBUFD_DAEMON_REPLAY_THERE_H
#define DBUFD_DAEMON_REPLAY_THERE_H

#include "../buffer/region_read.h"
#include "../disk/store.h"
#include "../disk/stream.h"

/* The extents of the view's oldest epoch and of the next, in the order in which they are stored. */
struct there_extents {
    struct extent_header *const *items;
    size_t count;
};

/* Segments: how many of the extents are whole in the files of the stream, from the first one on; the run
 * has stored the half of target->epoch from `target` on. *ret only on success. -errno. */
int there_in_segments(const struct stream_files *files, const struct store_target *target,
                      const struct there_extents *extents, size_t *ret);

/* Raw: how many bytes of them. -ESTALE: what is in the file behind `target` is something else. */
int there_in_raw(const struct stream_files *files, const struct store_target *target,
                 const struct there_extents *extents, uint64_t *ret);

#endif
