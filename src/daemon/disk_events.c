/* SPDX-License-Identifier: MIT */
#include "disk_events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "notify.h"

enum { TEXT_BYTES = 512 };

static const char *reason_text(enum store_reason reason)
{
    switch (reason) {
    case STORE_RETAIN_BYTES:
        return "output.retain_size is reached";
    case STORE_RETAIN_AGE:
        return "output.retain_age has passed";
    case STORE_DISK_FULL:
        return "the disk is full, and output.disk_full says \"rotate\"";
    }
    __builtin_unreachable();
}

/* The journal's event for each of the store's, and the line's end behind the path. */
static enum event describe(const struct store_event *e, char *text)
{
    switch (e->kind) {
    case STORE_NO_DIRECT:
        (void)snprintf(
            text, TEXT_BYTES,
            "no O_DIRECT there (%s): written through the page cache, and out of it at once",
            strerror(e->error));
        return EVENT_NO_DIRECT_IO;
    case STORE_NO_OVERLAP:
        (void)snprintf(
            text, TEXT_BYTES,
            "no io_uring there (%s): one write at a time, and the disk rests between two",
            strerror(e->error));
        return EVENT_NO_URING;
    case STORE_NO_PREALLOCATE:
        (void)snprintf(text, TEXT_BYTES,
                       "room cannot be reserved there (%s): segments grow as they are written",
                       strerror(e->error));
        return EVENT_NO_PREALLOCATION;
    case STORE_SEGMENT_OPENED:
        (void)snprintf(text, TEXT_BYTES, "segment %" PRIu64 " opened", e->number);
        return EVENT_SEGMENT_OPENED;
    case STORE_SEGMENT_CLOSED:
        (void)snprintf(text, TEXT_BYTES, "segment %" PRIu64 " closed, %" PRIu64 " bytes", e->number,
                       e->bytes);
        return EVENT_SEGMENT_CLOSED;
    case STORE_SEGMENT_DELETED:
        (void)snprintf(text, TEXT_BYTES, "segment %" PRIu64 " deleted, %" PRIu64 " bytes: %s",
                       e->number, e->bytes, reason_text(e->reason));
        return EVENT_SEGMENT_DELETED;
    case STORE_SEGMENT_LEFT:
        (void)snprintf(
            text, TEXT_BYTES,
            "left at offset %" PRIu64 ": %s; it goes on in a new segment, and what is still in "
            "memory is written again there; %" PRIu64
            " bytes from there on had been let go unsynced: verify tells whether they are whole",
            e->offset, strerror(e->error), e->bytes);
        return EVENT_SEGMENT_LEFT;
    case STORE_FAILED_OVER:
        (void)snprintf(
            text, TEXT_BYTES,
            "the stream goes on here, in segment %" PRIu64
            ", for its own place cannot be written: %s; nothing is lost; name both places "
            "to dbufctl; it goes back when a segment ends, or at the next start",
            e->number, strerror(e->error));
        return EVENT_FAILED_OVER;
    case STORE_CAME_BACK:
        (void)snprintf(text, TEXT_BYTES,
                       "the stream goes on at its own place again, in segment %" PRIu64, e->number);
        return EVENT_CAME_BACK;
    case STORE_UNCLOSED:
        (void)snprintf(
            text, TEXT_BYTES,
            "%s, and no memory of the last run was found: what that had accepted and not "
            "synced, the bytes at risk of its last report, may be missing behind offset "
            "%" PRIu64 "; what comes now takes the sequences that are due there",
            e->goes_on ? "the stream goes on in a segment that is not there"
                       : "the last run ended without closing the stream",
            e->offset);
        return EVENT_UNCLOSED;
    case STORE_TAIL_CUT:
        (void)snprintf(
            text, TEXT_BYTES,
            "a torn tail of %" PRIu64 " bytes was cut off at offset %" PRIu64
            " and kept beside it as *.torn: the last run ended without closing the stream",
            e->bytes, e->offset);
        return EVENT_TAIL_CUT;
    case STORE_TAIL_FREED:
        (void)snprintf(text, TEXT_BYTES,
                       "%" PRIu64 " bytes of unused room were cut off at offset %" PRIu64, e->bytes,
                       e->offset);
        return EVENT_TAIL_FREED;
    }
    __builtin_unreachable();
}

void disk_event(void *context, const struct store_event *e)
{
    char text[TEXT_BYTES];
    const enum event event = describe(e, text);
    const struct event_field fields[] = {{"PATH", e->path, 0},
                                         {"SEGMENT", NULL, e->number},
                                         {"OFFSET", NULL, e->offset},
                                         {"BYTES", NULL, e->bytes},
                                         {"ERRNO", NULL, (uint64_t)e->error}};
    notify_event(context, event, fields, sizeof(fields) / sizeof(*fields), "%s: %s", e->path, text);
}

const char *disk_remedy(int error)
{
    switch (error) {
    case ENOSPC:
        return "free space there, lower output.min_free, which is kept free, or have "
               "output.retain_size or output.disk_full delete old segments";
    case EBUSY:
        return "another dbufd has it by now: stop that one, or this one, whose next start stores "
               "what it has";
    case ENOTUNIQ:
        return "another dbufd has gone on with this stream meanwhile: stop this one; with a crash "
               "buffer its next start keeps what is in memory in a rescue file";
    case EDQUOT:
        return "raise the quota, or free space under it";
    case EFBIG:
        return "raise the limit on file sizes (LimitFSIZE=), or lower output.segment_size";
    case EROFS:
        return "the file system is read-only: check the kernel log, remount it";
    case EACCES:
    case EPERM:
        return "let the user that dbufd runs as write there";
    case ENOENT:
        return "make the directory again";
    case EAGAIN:
    case EPIPE:
    case ENXIO:
        return "nobody takes anything from this pipe: see to its reader";
    default:
        return "check the device and the kernel log";
    }
}
