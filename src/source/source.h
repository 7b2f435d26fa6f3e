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

enum source_kind { SOURCE_RANDOM, SOURCE_PIPE, SOURCE_UNIX, SOURCE_UDP };
enum source_framing { FRAMING_NONE, FRAMING_LINES, FRAMING_OCTET_COUNTED, FRAMING_U32 };

enum { SOURCE_CONNECTIONS_MAX = 256 }; /* unix: of one writer at a time */

struct source_options {
    enum source_kind kind;
    enum source_framing framing; /* pipe, unix */
    const char *path;            /* pipe: a FIFO or "-"; unix: the socket; %w: the writer's index */
    const char *address;         /* udp: ADDRESS:PORT */
    uint64_t seed;               /* random */
    size_t min_block, max_block; /* bytes of a block; min_block is the random source's alone */
    unsigned writer;             /* index of the writer that opens it */
    int stop_fd;                 /* readable when the writer shall stop; source_wait watches it */
    /* unix, udp: a socket of an earlier source, or of another writer's; a copy is used if it is the one
     * that path or address name, so that what waits in it is not lost. -1: there is none. */
    int handed_fd;
};

struct block_info {
    size_t bytes;
    uint32_t flags; /* enum block_flags of the format */
};

/* What a source has to tell beside its blocks: counted since it was opened. */
struct source_account {
    uint64_t kernel_drops;   /* udp: datagrams that found the receive buffer full */
    uint64_t senders_broken; /* unix: connections that ended because of a wrong count */
    /* Counted frames whose sender ended, or that stop cut, in the middle. */
    uint64_t frames_unfinished;
};

struct source;

/* Opens the writer's own source. Pipe: makes the FIFO if nothing is at the path (mode 0660).
 * Unix: listens at the path (mode 0660), in the place of a socket that nobody listens at any more;
 * -EADDRINUSE: somebody does; -ENOTSOCK: something else is there, and was left.
 * -errno on failure: *ret untouched, nothing left open. Allocates. */
int source_open(struct source **ret, const struct source_options *options);

/* Before the first block that a writer takes from it: the sequence of that one; else it is 0. Random blocks
 * are keyed by it; unix looks anew for connections that a writer which is gone has left; to the other kinds it
 * is all the same. Never waits, never allocates. */
void source_begin_at(struct source *source, uint64_t next_block);

/* Closes and frees it. NULL is fine. Removes neither FIFO nor socket. */
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

/* Its account: of the thread that calls source_wait. */
const struct source_account *source_account(const struct source *source);

/* The socket that others may use as handed_fd while this source is open; -1: it has none. Any thread. */
int source_descriptor(const struct source *source);

/* It ends soon, while others at the same address go on: what comes from now on is theirs; what has come still
 * comes out. Not if its socket was handed over. Any thread, also while another one waits or produces. Never
 * waits; if it fails nothing is changed. */
void source_leave(const struct source *source);

/* "random", "pipe"; NULL behind the last kind. */
const char *source_kind_name(enum source_kind kind);

#endif
