/* SPDX-License-Identifier: MIT
 *
 * The files of a stream and their names.
 *
 * output_file_path is the stream's name. With rotation the segment's number stands before the
 * extension, six digits or more: "a/dbufd.dbuf" -> "a/dbufd.000001.dbuf"; a name without extension
 * gets it at the end: "a/log" -> "a/log.000001". Without rotation the one segment has the name
 * itself. Both may be there side by side, the unnumbered one first.
 *
 * Beside them there may be: "a/.dbufd.dbuf.lock" while a process has the stream (with its id),
 * "a/.dbufd.dbuf.next" (the segment that is being made), and "SEGMENT.torn" (what recovery cut
 * off).
 *
 * Functions may wait for the disk; they keep no state; any thread may call them.
 */
#ifndef DBUFD_DISK_STREAM_H
#define DBUFD_DISK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stream_file {
    char *path;
    uint64_t number;     /* by its name; 0 for the unnumbered one */
    uint64_t bytes;      /* size of the file */
    uint64_t changed_ns; /* CLOCK_REALTIME: when it was last written */
};

struct stream_files {
    struct stream_file *files; /* by number */
    size_t count;
};

/* The name of segment `number` (0: unnumbered). *ret is to be freed. -ENOMEM. */
int stream_segment_path(const char *stream_path, uint64_t number, char **ret);

/* The name under which the next segment is made. *ret is to be freed. -ENOMEM. */
int stream_next_path(const char *stream_path, char **ret);

/* The segments that are there, by number. None is no error: count 0. -errno if the directory cannot
 * be read; *ret untouched. */
int stream_list(const char *stream_path, struct stream_files *ret);

void stream_files_free(struct stream_files *files);

/* Adds the numbered ones of `more`, by number; all of `more` is freed. -ENOMEM: both are. */
int stream_files_merge(struct stream_files *files, struct stream_files *more);

/* The segments of a stream that is in two places, by number; other_path NULL: in one. */
int stream_list_both(const char *stream_path, const char *other_path, struct stream_files *ret);

/* Takes the stream for this process, by flock on a file of its own: a segment comes and goes, and
 * the directory may hold other streams. -EWOULDBLOCK: another process has it. *ret is to be given
 * to stream_unlock, which removes the file; one that a killed process left behind is taken over. */
struct stream_lock {
    int fd;
    char *path;
};
int stream_lock(const char *stream_path, struct stream_lock *ret);

/* Whether a process has the stream. 1: one has, *ret is its id, as it sees that itself, or 0 if it
 * could not leave it there. 0: none has. -errno: the lock cannot be looked at; *ret untouched. */
int stream_holder(const char *stream_path, pid_t *ret);

/* A lock that was never taken (path NULL) is left alone. */
void stream_unlock(struct stream_lock *lock);

/* Lets go of the file and leaves it where it is, on a disk that may be dead. */
void stream_drop_lock(struct stream_lock *lock);

/* Whether it is taken, and still the one that others would find. */
bool stream_has_lock(const struct stream_lock *lock);

#endif
