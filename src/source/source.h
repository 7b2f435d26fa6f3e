/* SPDX-License-Identifier: MIT
 *
 * A source: where a writer's blocks come from. One table of kinds; every writer opens one of its
 * own and calls it from its own thread only. Nothing here prints, exits, or knows of the buffer.
 *
 * The two steps are apart because a block is produced right in the double buffer, and nobody may
 * wait for data while holding room there: source_wait waits, source_produce never does.
 */
#ifndef DBUFD_SOURCE_SOURCE_H
#define DBUFD_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum source_kind { SOURCE_RANDOM, SOURCE_PIPE };
enum source_framing { FRAMING_NONE, FRAMING_LINES };

struct source_options {
    enum source_kind kind;
    enum source_framing framing; /* pipe */
    const char *path;            /* pipe: a FIFO or "-"; %w stands for the writer's index */
    uint64_t seed;               /* random */
    size_t min_block, max_block; /* bytes of a block; min_block is the random source's alone */
    unsigned writer;             /* index of the writer that opens it */
    int stop_fd;                 /* readable when the writer shall stop; source_wait watches it */
};

struct block_info {
    size_t bytes;
    uint32_t flags; /* enum block_flags of the format */
};

struct source;

/* Opens the writer's own source. Pipe: makes the FIFO if nothing is at the path (mode 0660).
 * -errno on failure: *ret untouched, nothing left open. Allocates. */
int source_open(struct source **ret, const struct source_options *options);

/* Before its first block: the sequence of that one; else it is 0. Random blocks are keyed by it; to the
 * other kinds it is all the same. Never waits, never allocates. */
void source_begin_at(struct source *source, uint64_t next_block);

/* Closes and frees it. NULL is fine. Does not remove a FIFO. */
void source_close(struct source *source);

/* Waits until source_produce has something to say or stop_fd is readable; at most `timeout_ms`
 * milliseconds (-1: no limit). 1: go on; 0: time is up or stop. -errno: the source is broken. */
int source_wait(struct source *source, int timeout_ms);

/* Puts the next block at `room`, at most `room_bytes` (>= 1) of it. 1: one block, *ret says what.
 * 0: the source has ended and never gives a block again. -EAGAIN: nothing now, wait again.
 * Else -errno: the source is broken. Never waits, never allocates. */
int source_produce(struct source *source, void *room, size_t room_bytes, struct block_info *ret);

/* Tells the source that it is being stopped: what it has already taken from outside still comes out
 * of source_produce, which then says 0. Without it, bytes that were read but not yet published
 * would be lost. */
void source_stop(struct source *source);

/* "random", "pipe"; NULL behind the last kind. */
const char *source_kind_name(enum source_kind kind);

#endif
