/* SPDX-License-Identifier: MIT
 *
 * The store's two places: the stream's own, and the one for when that is dead.
 *
 * Happy path: there is one place, or the other one is never needed.
 *
 * Failure modes: a segment cannot be begun at the stream's own place, or two in a row had to be left
 * there: the next one is begun at the other place, with the number and the sequences that are due. Each
 * segment that is begun tries the own place again, and so does the next run. A disk that is only full is
 * not dead. If both are, the call fails and is made again, as with one.
 *
 * A place that is dead is let go of, its lock too, and taken again each time that it is tried: whoever
 * has gone on with the stream meanwhile is seen then. One that refuses us alone is kept.
 *
 * At the start both places must be there: which has the stream's end is seen from their files alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"
#include "store_state.h"

enum {
    FAILURES_MAX = 2
}; /* segments left in a row, before the own place is not trusted to go on */

const char *store_place(const struct store *store)
{
    return store->away ? store->options.failover_path : store->options.path;
}

bool store_is_home(const struct store *store, const char *path)
{
    const char *slash = strrchr(store->options.path, '/');
    size_t length = slash ? (size_t)(slash - store->options.path) + 1 : 0;

    return strncmp(path, store->options.path, length) == 0 && !strchr(path + length, '/');
}

/* Whether the error is one of the place, and another one may be better. */
static bool is_dead(int rc)
{
    return rc < 0 && !no_room(rc) && rc != -EAGAIN && rc != -ENOMEM && rc != -EINTR &&
           rc != -EMFILE && rc != -ENFILE && rc != -EBUSY && rc != -ENOTUNIQ;
}

/* Whether it must be unmounted to get better; one that is only not ours to write to need not. */
static bool must_be_let_go(int rc)
{
    return is_dead(rc) && rc != -EACCES && rc != -EPERM;
}

static bool uuid_of(const struct stream_file *file, uint8_t uuid[static 16])
{
    struct scan *scan;

    if (scan_open(&scan, file->path) < 0)
        return false;
    memcpy(uuid, scan_header(scan)->stream_uuid, 16);
    scan_close(scan);
    return true;
}

/* The newest of our segments at the place where segments are begun now; NULL: there is none. */
static const struct stream_file *newest_here(const struct store *store,
                                             const struct stream_files *files)
{
    for (size_t i = files->count; i > 0; i--) {
        const struct stream_file *file = &files->files[i - 1];
        uint8_t uuid[16];
        if (store_is_home(store, file->path) == !store->away &&
            (store->options.format == STORE_RAW ||
             (uuid_of(file, uuid) && memcmp(uuid, store->uuid, sizeof(uuid)) == 0)))
            return file;
    }
    return NULL;
}

static bool is_closed(const char *path)
{
    struct scan *scan;
    struct scan_extent extent;
    bool closed = false;

    if (scan_open(&scan, path) < 0)
        return false;
    while (scan_skim(scan, &extent) == 1)
        if (extent.fault == SCAN_OK)
            closed = extent.header->flags & EXTENT_CLOSE;
    scan_close(scan);
    return closed;
}

/* Whether another run has gone on with the stream at this place, whose lock we had let go of: there is a later
 * segment than we have begun, or the last that we had is longer now, or closed. */
static bool others_went_on(const struct store *store, const struct stream_files *files)
{
    const struct stream_file *newest = newest_here(store, files);
    const struct left *left = &store->left[store->away];

    if (!newest || newest->number < store->begun_number[store->away])
        return false;
    if (newest->number > store->begun_number[store->away])
        return true;
    return left->any && newest->number == left->number &&
           (newest->bytes > left->bytes || (store->options.format == STORE_SEGMENTS &&
                                            !store->closing && is_closed(newest->path)));
}

/* Takes the place's lock again, if it was let go of, or lies elsewhere by now: another disk is mounted
 * there. -EBUSY: another process has the place. -ENOTUNIQ: one had it, and has gone on with the stream. */
static int take_lock(struct store *store, struct stream_lock *lock)
{
    struct stream_files files;

    if (stream_has_lock(lock))
        return 0;
    stream_drop_lock(lock);
    int rc = stream_lock(store_place(store), lock);
    if (rc == 0)
        rc = store_list(store, &files);
    if (rc < 0)
        return rc == -EWOULDBLOCK ? -EBUSY : rc;
    if (others_went_on(store, &files))
        rc = -ENOTUNIQ;
    stream_files_free(&files);
    if (rc < 0)
        stream_drop_lock(lock); /* theirs to take again, and ours to look at again */
    return rc;
}

/* A disk that is dead is let go of altogether: so it can be unmounted, and mounted anew, which brings
 * many a one back. */
static int begin_at(struct store *store, bool away, int (*begin)(struct store *store))
{
    struct stream_lock *lock = away ? &store->other_lock : &store->lock;
    struct segment next;

    store->away = away;
    if (away && store->prepare && prepare_take(store->prepare, &next))
        (void)segment_discard(&next); /* it was made ready at the own place */
    int rc = take_lock(store, lock);
    if (rc == 0)
        rc = begin(store);
    if (must_be_let_go(rc))
        stream_drop_lock(lock);
    return rc;
}

int store_choose_place(struct store *store, int (*begin)(struct store *store))
{
    bool was_away = store->away;
    bool trusted = store->failures < FAILURES_MAX;

    if (!store->options.failover_path)
        return begin_at(store, false, begin);
    int first = trusted ? begin_at(store, false, begin) : -EIO;
    int rc = is_dead(first) ? begin_at(store, true, begin) : first;
    if (rc < 0 && !trusted)
        rc = begin_at(store, false, begin);
    if (rc < 0) {
        store->away = was_away;
        return rc;
    }
    if (store->away == was_away)
        return 0;
    store_report(store, (struct store_event){
                            .kind = store->away ? STORE_FAILED_OVER : STORE_CAME_BACK,
                            .path = store->segment.path,
                            .number = store->number,
                            .error = store->away ? (trusted ? -first : store->failure) : 0});
    return 0;
}

void store_note_left(struct store *store, uint64_t number, uint64_t bytes)
{
    store->left[store->away] = (struct left){.any = true, .number = number, .bytes = bytes};
}

void store_note_begun(struct store *store, uint64_t number)
{
    if (number > store->begun_number[store->away])
        store->begun_number[store->away] = number;
}

void store_note_failure(struct store *store, int error)
{
    if (!store->away && store->failures < FAILURES_MAX)
        store->failures++;
    store->failure = error;
}

void store_note_success(struct store *store)
{
    if (!store->away)
        store->failures = 0;
}

void store_try_home(struct store *store)
{
    if (store->away)
        store->failures = FAILURES_MAX - 1;
}

/* ---- The files of both ---- */

/* The stream that the files belong to, by the newest that says so. */
static bool uuid_of_newest(const struct stream_files *files, uint8_t uuid[static 16])
{
    for (size_t i = files->count; i > 0; i--)
        if (uuid_of(&files->files[i - 1], uuid))
            return true;
    return false;
}

/* Forgets what is of another stream than `uuid`: it is not ours. */
static void keep_ours(struct stream_files *files, const uint8_t uuid[static 16])
{
    size_t kept = 0;

    for (size_t i = 0; i < files->count; i++) {
        uint8_t theirs[16];
        struct stream_file file = files->files[i];
        if (uuid_of(&file, theirs) && memcmp(theirs, uuid, 16) == 0)
            files->files[kept++] = file;
        else
            free(file.path);
    }
    files->count = kept;
}

int store_list(const struct store *store, struct stream_files *ret)
{
    const struct store_options *options = &store->options;
    struct stream_files own = {0}, other;
    uint8_t uuid[16];

    int rc = stream_list(options->path, &own);
    if (!options->failover_path)
        goto out;
    if (rc < 0 && !store->away)
        return rc;
    rc = stream_list(options->failover_path, &other);
    if (rc < 0) {
        stream_files_free(&own);
        return rc;
    }
    if (options->format == STORE_SEGMENTS && uuid_of_newest(&own, uuid))
        keep_ours(&other, uuid);
    rc = stream_files_merge(&own, &other);
out:
    if (rc == 0)
        *ret = own;
    return rc;
}
