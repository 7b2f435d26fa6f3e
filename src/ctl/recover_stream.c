/* SPDX-License-Identifier: MIT
 *
 * dbufctl recover STREAM: what dbufd does at its start, for a stream that no dbufd will go on with.
 *
 * Happy path: the last whole extent is found; what is torn behind it is kept in a file of its own and cut
 * off, room that was never used is given back; each is told.
 * Failure modes: a daemon that has the stream will do it itself, or has done so; damage with whole
 * extents behind it is no torn tail and stays; a last segment that says nothing of where it belongs is
 * for a person to look at: nothing is changed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../disk/output.h"
#include "../disk/recover.h"
#include "../disk/segment.h"
#include "../disk/stream.h"
#include "ctl.h"
#include "recover_stream.h"

static int has_it(const char *path)
{
    fprintf(stderr, "dbufctl: %s: a dbufd that runs has it, and recovers it by itself\n", path);
    return EXIT_CANNOT;
}

/* The number of the file that a torn tail was put into last: 1 is PATH.torn, 2 PATH.torn.2. */
static int torn_number(const char *path)
{
    char name[4096];
    int number = 2;
    while (snprintf(name, sizeof(name), "%s.torn.%d", path, number) < (int)sizeof(name) &&
           access(name, F_OK) == 0) {
        number++;
    }
    return number - 1;
}

static void say_cut(void *context, const char *path, uint64_t offset, uint64_t bytes, bool torn)
{
    (void)context;
    if (!torn) {
        printf("%s: %" PRIu64 " bytes of room that was never used were cut off at offset %" PRIu64
               "\n",
               path, bytes, offset);
        return;
    }
    int number = torn_number(path);
    printf("%s: a torn tail of %" PRIu64 " bytes was cut off at offset %" PRIu64
           " and kept in %s.torn",
           path, bytes, offset, path);
    printf(number > 1 ? ".%d\n" : "\n", number);
}

static void say_end(const struct recovery *recovery, const char *stream)
{
    bool cut = recovery->hollow_count > 0 || recovery->bytes > recovery->end;
    if (!cut) {
        printf("%s: there was nothing to cut off\n", stream);
    }
    if (recovery->found) {
        printf("%s: ends behind extent %" PRIu64 ", offset %" PRIu64
               " of %s; whether all before it is "
               "whole, dbufctl verify tells\n",
               stream, recovery->tally.next_seq - 1, recovery->end, recovery->path);
    }
}

static int refused(const char *stream, int rc)
{
    switch (rc) {
    case -EWOULDBLOCK:
        return has_it(stream);
    case -EBADMSG:
        fprintf(stderr,
                "dbufctl: %s: the last segment is damaged where it begins; nothing was changed: "
                "dbufctl verify names the damage\n",
                stream);
        return EXIT_CANNOT;
    case -ENOTSUP:
        fprintf(stderr, "dbufctl: %s: was written by another version of dbufd\n", stream);
        return EXIT_CANNOT;
    default:
        return cannot(stream, -rc);
    }
}

static int cut(const char *stream, const struct stream_files *files, struct recovery *recovery)
{
    int rc = recover_look(files, NULL, &output_pwrite, recovery);
    if (rc < 0) {
        return refused(stream, rc);
    }
    if (recovery->path != NULL) {
        rc = segment_probe(recovery->path); /* under another name it may have another lock */
    }
    if (rc == 0) {
        rc = recover_cut(recovery, &output_pwrite, say_cut, NULL);
    }
    if (rc < 0) {
        return refused(stream, rc);
    }
    say_end(recovery, stream);
    return 0;
}

int recover_stream(const char *stream)
{
    struct stream_files files;
    struct stream_lock lock;
    struct recovery *recovery = calloc(1, sizeof(*recovery)); /* it is large */
    int rc = recovery == NULL ? -ENOMEM : stream_list(stream, &files);
    if (rc == 0 && files.count == 0) {
        stream_files_free(&files);
        rc = -ENOENT;
    }
    if (rc < 0) {
        free(recovery);
        return cannot(stream, -rc);
    }
    rc = stream_lock(stream, &lock);
    int status = rc < 0 ? refused(stream, rc) : cut(stream, &files, recovery);
    if (rc == 0) {
        stream_unlock(&lock);
    }
    recover_free(recovery);
    free(recovery);
    stream_files_free(&files);
    return status;
}
