/* SPDX-License-Identifier: MIT
 *
 * cat --follow: what is being written, as it comes.
 *
 * Happy path: ten times a second it looks whether the next extent's header has come; when that is there
 * and the blocks match it, they are given out. When a newer segment is there, this one is final: its rest
 * is read, and the newer one is gone on with. It ends when the stream is closed and no daemon has it.
 *
 * Failure modes:
 *   - an extent that is not yet whole is waited for: what is on its way is no damage. If whole ones
 *     stand behind it and it is still not whole after some seconds, it is damage, and told;
 *   - retention is faster than whoever reads us: what is gone is told, and the oldest that is there comes
 *     next;
 *   - a failing disk makes the daemon write some of it again, in the next segment: no block is given out
 *     twice;
 *   - nobody reads any more, which is noticed while waiting too; or a signal ends it: everything that was
 *     whole is out by then.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../disk/stream.h"
#include "cat.h"

enum {
    LOOK_MS = 100,
    LIST_LOOKS = 10, /* a segment may come in the same tick of the folder's clock: list it anyway */
    DOUBT_LOOKS = 50 /* without a whole extent, until what lies there is doubted */
};

struct follow {
    struct cat *cat;
    struct scan *scan;
    struct survey_file file; /* path and number, ours */
    struct stat status;      /* of the file when it was opened */
    unsigned idle;           /* looks since something came */
};

/* ---- The newest segment ------------------------------------------------------------------------
 */

/* Gives out what has become whole. Whether there was anything. */
static bool take_whole(struct follow *f)
{
    struct scan_extent extent;
    bool refreshed = false, any = false;
    while (f->cat->print->error == 0 && scan_comes(f->scan)) {
        const uint64_t offset = scan_offset(f->scan);
        if (scan_next(f->scan, &extent) == 1 && extent.fault == SCAN_OK) {
            cat_extent(f->cat, f->scan, &extent, false);
            any = true;
            refreshed = false;
            continue;
        }
        scan_seek(f->scan, offset);
        if (refreshed || scan_refresh(f->scan) < 0) {
            break; /* it is still on its way */
        }
        refreshed = true; /* it was read ahead before it was there */
    }
    return any;
}

/* Whether whole extents stand behind a place that is not: then nothing is on its way to it. */
static bool is_damage(struct follow *f, struct scan_extent *ret)
{
    struct scan_extent behind;
    const uint64_t offset = scan_offset(f->scan);
    bool damage = scan_refresh(f->scan) == 0 && scan_next(f->scan, ret) == 1 &&
                  ret->fault != SCAN_OK && ret->fault != SCAN_EMPTY_TAIL &&
                  scan_next(f->scan, &behind) == 1 && behind.fault == SCAN_OK;
    scan_seek(f->scan, offset);
    return damage;
}

static void doubt(struct follow *f)
{
    struct scan_extent fault;
    struct stat now;
    if (f->idle % DOUBT_LOOKS != 0 || stat(f->file.path, &now) < 0 ||
        memcmp(&now.st_mtim, &f->status.st_mtim, sizeof(now.st_mtim)) == 0) {
        return; /* nothing was written since it was looked at last */
    }
    f->status.st_mtim = now.st_mtim;
    if (is_damage(f, &fault)) {
        fault.header = NULL; /* it was the scan's, which has moved on */
        fault.data = NULL;
        fault.fault = fault.fault == SCAN_DATA_CHANGED ? SCAN_NO_EXTENT : fault.fault;
        scan_seek(f->scan, fault.offset + fault.bytes);
        cat_extent(f->cat, f->scan, &fault, false);
    }
}

/* ---- The next one ------------------------------------------------------------------------------
 */

static bool is_newer(const struct follow *f, const struct stream_file *file)
{
    struct stat status;
    if (file->number != f->file.number) {
        return file->number > f->file.number;
    }
    /* It was moved away, and another one has its name. */
    return stat(file->path, &status) == 0 &&
           (status.st_ino != f->status.st_ino || status.st_dev != f->status.st_dev);
}

/* The oldest segment that is newer than the one that is open. 1: *ret has it, with a path to be freed. */
static int find_next(const struct follow *f, struct survey_file *ret)
{
    struct stream_files files;
    int rc = stream_list(f->cat->follow, &files), found = 0;
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; found == 0 && i < files.count; i++) {
        struct scan *scan;
        if (!is_newer(f, &files.files[i]) || scan_open(&scan, files.files[i].path) < 0) {
            continue; /* gone again, or nothing of ours */
        }
        *ret = (struct survey_file){.path = strdup(files.files[i].path),
                                    .number = files.files[i].number,
                                    .first_seq = scan_header(scan)->first_seq};
        found = ret->path == NULL ? -ENOMEM : 1;
        scan_close(scan);
    }
    stream_files_free(&files);
    return found;
}

static int open_next(struct follow *f, struct survey_file next)
{
    struct scan *scan;
    int rc = scan_open(&scan, next.path);
    if (rc < 0) {
        free(next.path);
        return rc == -ENOENT ? 0 : rc; /* retention was faster: there is a newer one */
    }
    scan_close(f->scan);
    free(f->file.path);
    f->scan = scan;
    f->file = next;
    f->cat->path = f->file.path;
    f->cat->last_flags = 0;
    if (next.first_seq < f->cat->next_seq) {
        f->cat->next_seq = next.first_seq; /* it repeats what was given up in the one before */
    }
    return stat(next.path, &f->status) < 0 && errno != ENOENT ? -errno : 0;
}

/* The rest of the open segment, and then the next one, if there is one. 1: there was. */
static int go_on(struct follow *f)
{
    struct survey_file next;
    int rc = find_next(f, &next);
    if (rc != 1) {
        return rc;
    }
    rc = scan_refresh(f->scan);
    if (rc == 0) {
        next.state = SURVEY_GOOD;
        cat_rest(f->cat, f->scan, &next, false);
        rc = open_next(f, next);
    } else {
        free(next.path);
    }
    return rc < 0 ? rc : 1;
}

/* ---- Waiting -----------------------------------------------------------------------------------
 */

/* It ended there, and no daemon has it. */
static bool is_closed(const struct follow *f)
{
    pid_t pid;
    return (f->cat->last_flags & EXTENT_CLOSE) && stream_holder(f->cat->follow, &pid) == 0;
}

static bool has_failed(const struct follow *f)
{
    return f->cat->print->error != 0 || f->cat->error < 0;
}

/* Sleeps for a moment. False: nobody reads any more. */
static bool rest(struct follow *f)
{
    struct pollfd reader = {.fd = f->cat->print->fd};
    print_flush(f->cat->print);
    return f->cat->print->error == 0 &&
           !(poll(&reader, 1, LOOK_MS) > 0 && (reader.revents & POLLERR));
}

/* Whether the folder has changed since it was asked for last. */
static bool folder_changed(const struct follow *f, struct timespec *last)
{
    const char *slash = strrchr(f->cat->follow, '/');
    char *folder =
        slash == NULL ? strdup(".") : strndup(f->cat->follow, (size_t)(slash - f->cat->follow) + 1);
    struct stat status;
    bool changed = folder == NULL || stat(folder, &status) < 0 ||
                   memcmp(last, &status.st_mtim, sizeof(*last)) != 0;
    if (changed && folder != NULL) {
        *last = status.st_mtim;
    }
    free(folder);
    return changed;
}

/* Until it is over. -errno. */
static int follow(struct follow *f)
{
    struct timespec folder = {0};
    int rc = 0;
    while (rc >= 0 && !has_failed(f)) {
        f->idle = take_whole(f) ? 0 : f->idle + 1;
        const bool closed = is_closed(f); /* before it looks for what a daemon has done since */
        rc = 0;
        if (folder_changed(f, &folder) || closed || f->idle % LIST_LOOKS == LIST_LOOKS - 1) {
            rc = go_on(f);
        }
        if (rc != 0 || f->idle == 0) {
            continue;
        }
        doubt(f);
        if ((closed && !scan_comes(f->scan)) || !rest(f)) {
            break;
        }
    }
    return rc < 0 ? rc : 0;
}

void cat_follow(struct cat *cat, struct scan *scan, const struct survey_file *file)
{
    struct follow f = {.cat = cat, .scan = scan, .file = *file};
    f.file.path = strdup(file->path);
    f.file.number = file->name_number;
    int rc = f.file.path == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        (void)stat(f.file.path, &f.status); /* if it is gone already, whatever comes is newer */
        cat->path = f.file.path;
        rc = follow(&f);
    }
    if (rc < 0) {
        fprintf(stderr, "dbufctl: %s: %s\n", cat->follow, strerror(-rc));
        cat->error = rc;
    }
    cat->path = cat->follow;
    scan_close(f.scan);
    free(f.file.path);
}
