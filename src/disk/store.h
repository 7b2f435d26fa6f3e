/* SPDX-License-Identifier: MIT
 *
 * The store: puts a half's extents into the segments of a stream, in order, each once.
 *
 * It belongs to one thread, the reader's. It waits for the disk, and allocates only in store_open.
 * It never prints and never gives up: a call that fails says -errno and leaves everything as it
 * was after the last extent that is whole on disk; the same call made again goes on from there.
 */
#ifndef DBUFD_DISK_STORE_H
#define DBUFD_DISK_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

enum store_format { STORE_SEGMENTS, STORE_RAW };
enum store_durability { DURABILITY_NONE, DURABILITY_INTERVAL, DURABILITY_HALF };

/* Something that the user should know and that is no failure of a call. */
enum store_event_kind {
    STORE_NO_DIRECT,      /* O_DIRECT refused (error, path): buffered writes from here on */
    STORE_NO_OVERLAP,     /* several writes in flight refused (error, path): one at a time from here
                              on */
    STORE_NO_PREALLOCATE, /* fallocate refused (error, path): segments grow as they are written */
    STORE_SEGMENT_OPENED, /* path, number */
    STORE_SEGMENT_CLOSED, /* path, number, bytes */
    STORE_SEGMENT_DELETED, /* path, number, bytes, reason */
    STORE_SEGMENT_LEFT,    /* error, path, offset, bytes: no longer trusted after a failed write or
                              sync, or (ENOENT) deleted. What was not yet released is written again
                              in the next segment. The `bytes` bytes from offset on were released
                              before: they may be whole, but nobody has them to write again */
    STORE_FAILED_OVER, /* error, path, number: the segment is at the other place, for the stream's
                              own cannot be written */
    STORE_CAME_BACK,   /* path, number: the segment is at the stream's own place again */
    STORE_UNCLOSED,    /* path, number, offset, goes_on: at open; the last run ended there without
                              closing the stream, and what it still had is not known (see store_before) */
    STORE_TAIL_CUT,    /* path, offset, bytes: a torn tail at open; kept in PATH.torn */
    STORE_TAIL_FREED   /* path, offset, bytes: unused preallocated room cut off at open */
};

enum store_reason { STORE_RETAIN_BYTES, STORE_RETAIN_AGE, STORE_DISK_FULL };

struct store_event {
    enum store_event_kind kind;
    const char *path; /* valid during the call */
    uint64_t number;  /* of the segment */
    uint64_t offset;  /* bytes */
    uint64_t bytes;
    int error; /* errno, positive */
    enum store_reason reason;
    bool goes_on; /* by what is there, in a segment that is not there */
};

/* Where a half is being stored: its bytes from `position` on, as they are stored, are at `offset` and
 * behind it in the stream's file `number` (by its name; 0: without one). */
struct store_target {
    uint32_t epoch; /* of the half */
    uint64_t number, offset, position;
};

/* What memory that outlived the run before knows of it. All of what that run had not released is
 * still there, from first_blocks on. What it had released may be gone: then a writer's blocks go on
 * with a later one than the stream's next, and verifying the stream shows the gap. */
struct store_before {
    const uint8_t *uuid;          /* of the stream that it stored to, 16 bytes */
    const uint64_t *first_blocks; /* [writer_count]: with these a new stream begins */
    /* The half that it was storing; NULL: none. Segments: damage behind this place is a torn end. Raw:
     * `position` bytes of the half are in the output, and are not written again. */
    const struct store_target *target;
};

struct output;

struct store_options {
    const char *path;          /* output_file_path: see stream.h for the segments' names */
    const char *failover_path; /* where segments go while that cannot be written; NULL: nowhere */
    enum store_format format;
    enum store_durability durability;
    /* DURABILITY_INTERVAL: the longest that stored bytes stay unsynced. */
    uint64_t sync_interval_ns;
    uint64_t segment_bytes;  /* 0: one file without an end, if segment_age_ns is 0 too */
    uint64_t segment_age_ns; /* a segment that holds blocks ends after this time; 0: never */
    uint64_t retain_bytes;   /* 0: keep everything; else the oldest closed segments go */
    uint64_t retain_age_ns;  /* 0: keep everything; else closed segments go after this time */
    bool full_deletes;       /* while there is no room the oldest closed segment goes, one a call */
    uint64_t min_free_bytes; /* of the file system; less left counts as ENOSPC */
    size_t extent_bytes_max; /* the largest extent that will come */
    unsigned writer_count;
    bool own_thread;  /* to make the next segment ready; `output` is called from there, too */
    bool buffered;    /* do not try O_DIRECT */
    bool direct_only; /* do not go without: -EINVAL. Of segments in files only */
    bool random;      /* the blocks are the random source's, with these parameters: */
    uint64_t seed;
    uint32_t min_block, max_block;
    void (*on_event)(void *context, const struct store_event *event);
    void *context;
    /* Called before the first byte of a half is written, and before it goes on in another file (of a
     * device, which cannot be asked for its size: after every write); NULL: nobody wants to know. */
    void (*on_target)(void *target_context, const struct store_target *target);
    void *target_context;
    const struct store_before *before; /* until store_open returns; NULL: nothing is known */
    const struct output *output;       /* how files are touched; NULL: by the system's own calls */
};

struct store;

/* Opens the stream for going on, or starts a new one: locks it (-EWOULDBLOCK: another process has
 * it), finds the last whole extent, keeps a torn tail aside, opens a segment: a new one with rotation,
 * else the last one goes on. Other errors: -errno of the system, -EBADMSG if what is there is no
 * stream of ours, -ENOTSUP if of another version, -ESTALE if not the one of `before`. On failure
 * nothing is changed (but a torn tail may already be aside), *ret is untouched. A full disk is no
 * failure: store_write will say so, and open the segment when there is room. A character device or
 * FIFO is written straight, in either format, as a stream of its own; it is not locked. */
int store_open(struct store **ret, const struct store_options *options);

/* Whoever wants to read a stream that a killed process was writing must wait until what that had in
 * flight has arrived: until then nothing says what will be in the newest file. store_open does.
 * -EWOULDBLOCK: another process has the stream; -errno. A stream that is not there is no error. */
int store_await(const char *path);

/* The sequence with which each of the writers goes on. [writer_count], valid until store_close. */
const uint64_t *store_next_blocks(const struct store *store);

/* The stream's UUID, 16 bytes. */
const uint8_t *store_uuid(const struct store *store);

/* Completes the headers of `count` extents (of one half, in order), writes them, syncs them as the
 * durability asks. 0: all are stored (and durable, for DURABILITY_HALF). -errno: see above; call
 * again with the same extents. -ENOSPC, -EDQUOT and -EFBIG: nothing fits now; the file was cut back to
 * the last whole extent. */
int store_write(struct store *store, struct extent_header *const extents[], size_t count);

/* What can be done between halves, off the writers' path: end a segment that shall end or is old enough,
 * sync by interval, make the next segment ready, delete what retention no longer keeps. A segment goes
 * only when it is closed, and all that is in it durable. -errno if some of it failed; call again later. */
int store_housekeep(struct store *store);

/* How an open stream is stored may change, and whose blocks are. */
struct store_tuning {
    enum store_durability durability;
    uint64_t sync_interval_ns;
    uint64_t segment_bytes, segment_age_ns;
    uint64_t retain_bytes, retain_age_ns;
    bool full_deletes;
    uint64_t min_free_bytes;
};
struct store_change {
    size_t extent_bytes_max;
    unsigned writer_count;
    bool random;
    uint64_t seed;
    uint32_t min_block, max_block;
};

/* From now on it is stored like this; a half that was refused too. Wait-free. */
void store_tune(struct store *store, const struct store_tuning *tuning);

/* From the next half on the blocks are these; a checkpoint in front of them says so, where whoever
 * verifies the stream must know. store_next_blocks is anew what each writer goes on with. Between two
 * halves, by whichever thread stands in for the reader. Wait-free. */
void store_change(struct store *store, const struct store_change *change);

/* The segment shall end: the next store_housekeep, or store_write, closes it and begins a new one,
 * even if there is no block in it. False: a device has no segments. */
bool store_rotate(struct store *store);

/* Writes the last checkpoint, cuts the unused room off, syncs. -errno: call again, or free it. -EBUSY:
 * a store_write that has failed was not made again, so that not everything is stored. Afterwards
 * there is nothing left but store_free. */
int store_finish(struct store *store);

/* Closes the files and frees it; without store_finish the stream is left unclosed. NULL is fine. */
void store_free(struct store *store);

/* What was done so far. Written by the reader, read by anyone; wait-free. */
struct store_account {
    uint64_t blocks, bytes; /* persisted: data of stored blocks */
    uint64_t extents;
    uint64_t file_bytes;    /* written to files, headers and padding included */
    uint64_t durable_bytes; /* of `bytes`, those that a power cut cannot take */
    uint64_t segments;      /* opened */
    uint64_t segments_deleted;
    uint64_t write_ns, sync_ns; /* time spent in them */
    uint64_t syncs;
    uint32_t digest; /* CRC32C over the data_crc words of all block extents of the stream; raw: 0 */
};
struct store_account store_account(const struct store *store);

/* Where it writes now, for messages. Reader's thread only. */
const char *store_path(const struct store *store);
uint64_t store_offset(const struct store *store);

#endif
