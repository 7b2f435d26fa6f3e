/* SPDX-License-Identifier: MIT
 *
 * Happy path: a region is found, replay stores what it holds, it is forgotten.
 * Failure modes:
 *   - the disk refuses: it is asked again until it does not, the service manager is told each time;
 *     a stop meanwhile leaves the region where the next start finds it
 *   - no way to store it where its run did (another stream, a file of another kind, a path that is no
 *     longer configured): a rescue file beside the output, for dbufctl recover
 *   - a region of another version, or three starts that died while they stored it: likewise
 *   - a damaged region: a rescue file first, then what can be read of it is stored
 * A rescue file is written for as long as it takes, too.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "dbufd.h"
#include "disk_events.h"
#include "replay.h"

enum {
    ATTEMPTS_MAX = 3,
    RETRY_MS = 200,
    RESCUE_NAMES_MAX = 1000, /* rescue files of one output */
    BYTES_TEXT_BYTES = 24
};

static const uint64_t second_ns = 1000000000;
static const uint64_t repeat_ns = 60 * 1000000000ULL;  /* between two messages about one trouble */
static const uint64_t slowest_bytes_per_sec = 1000000; /* of a disk that is still one */

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * second_ns + (uint64_t)now.tv_nsec;
}

/* ---- Waiting for the disk ---------------------------------------------------------------------- */

/* A disk that refuses. */
struct trouble {
    uint64_t since_ns; /* 0: none yet */
    uint64_t told_ns;
    int told_error;
};

/* Whether a stop was asked for in the next RETRY_MS. */
static bool stop_comes(const struct dbufd *d)
{
    struct pollfd wait = {.fd = d->fds[FD_SIGNAL], .events = POLLIN};
    struct signalfd_siginfo info;
    bool stop = false;

    (void)poll(&wait, 1, RETRY_MS);
    while (read(wait.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        stop = stop || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
    return stop;
}

/* Gives the next step the time that it may take. */
static void extend(const struct found *found)
{
    notify_extend((60 + found->region.bytes / slowest_bytes_per_sec) * 1000000);
}

/* Tells of the trouble, at once and then once a minute, and waits a little. True: a stop was asked
 * for. */
static bool wait_for_disk(const struct dbufd *d, const struct found *found, struct trouble *trouble,
                          const char *path, int error)
{
    const uint64_t now = now_ns();
    char status[160];
    if (trouble->since_ns == 0)
        trouble->since_ns = now;
    const uint64_t seconds = (now - trouble->since_ns) / second_ns;
    if (error != trouble->told_error || now - trouble->told_ns >= repeat_ns) {
        const struct event_field fields[] = {
            {"PATH", path, 0}, {"ERRNO", NULL, (uint64_t)error}, {"SECONDS", NULL, seconds}};
        notify_event(&d->notify, EVENT_DISK_HELD, fields, 3,
                     "cannot store at %s what an earlier run has left in memory: %s; nothing is "
                     "lost, it waits (for %" PRIu64 " s now) and goes on by itself: %s",
                     path, strerror(error), seconds, disk_remedy(error));
        trouble->told_ns = now;
        trouble->told_error = error;
    }
    (void)snprintf(status, sizeof(status), "recovering; disk refuses for %" PRIu64 " s: %s",
                   seconds, strerror(error));
    notify_status(status);
    extend(found);
    return stop_comes(d);
}

/* ---- The rescue file --------------------------------------------------------------------------- */

/* Beside the output, or, if there is no writing there, in the runtime directory. Returns the path. */
static int write_rescue(const struct dbufd *d, const struct found *found, char **ret_path)
{
    const char *directories = getenv("RUNTIME_DIRECTORY");
    int rc = -EEXIST;
    char *path = NULL;
    for (int n = 1; n <= RESCUE_NAMES_MAX && rc == -EEXIST; n++) {
        free(path);
        int length = n == 1 ? asprintf(&path, "%s.rescue", d->config->output_file_path)
                            : asprintf(&path, "%s.rescue.%d", d->config->output_file_path, n);
        if (length < 0)
            return -ENOMEM;
        rc = region_save(&found->region, path);
    }
    if (rc < 0 && directories != NULL) {
        free(path);
        if (asprintf(&path, "%.*s/%s.rescue", (int)strcspn(directories, ":"), directories,
                     d->crash.name) < 0)
            return -ENOMEM;
        rc = region_save(&found->region, path);
    }
    if (rc == 0)
        *ret_path = path;
    else
        free(path);
    return rc;
}

/* 0; -EINTR: a stop was asked for before it was written. */
static int rescue(const struct dbufd *d, const struct found *found, const char *why)
{
    struct trouble trouble = {0};
    char *path = NULL;
    int rc;
    while ((rc = write_rescue(d, found, &path)) < 0)
        if (wait_for_disk(d, found, &trouble, d->config->output_file_path, -rc))
            return -EINTR;
    const struct event_field fields[] = {{"PATH", path, 0}, {"BYTES", NULL, found->region.bytes}};
    notify_event(&d->notify, EVENT_RESCUED, fields, 2,
                 "%s: what an earlier run has left in memory is kept in %s; 'dbufctl recover %s "
                 "OUTPUT' gets the blocks out",
                 why, path, path);
    free(path);
    return 0;
}

/* ---- One region -------------------------------------------------------------------------------- */

static void tell_recovered(const struct dbufd *d, const struct replay_account *account)
{
    char bytes[BYTES_TEXT_BYTES];
    const struct event_field fields[] = {{"PATH", account->path, 0},
                                         {"BLOCKS", NULL, account->blocks},
                                         {"BYTES", NULL, account->bytes},
                                         {"BLOCKS_THERE", NULL, account->blocks_there},
                                         {"BLOCKS_LOST", NULL, account->blocks_lost}};
    notify_event(&d->notify, EVENT_RECOVERED, fields, 5,
                 "an earlier run ended before it had stored everything: %" PRIu64
                 " blocks, %s, were still in memory and are stored now (%" PRIu64
                 " more were stored already)",
                 account->blocks, stats_bytes(account->bytes, bytes, sizeof(bytes)),
                 account->blocks_there);
    if (account->blocks_lost > 0)
        notify_event(&d->notify, EVENT_BLOCKS_LOST, fields, 5,
                     "%" PRIu64 " blocks that an earlier run had stored at %s are not there any "
                     "more; dbufctl verify names them",
                     account->blocks_lost, account->path);
}

/* What replay says when the region cannot go where its run stored; NULL: it says something else. */
static const char *why_not_there(const struct dbufd *d, const struct found *found, int rc)
{
    if (rc == -ESTALE)
        return "its output is another one by now, or has gone on without it";
    if (rc == -EBADMSG || rc == -ENOTSUP)
        return "what is there now was not written by dbufd, or by another version";
    const struct region_run *run = &found->view.control->run;
    if (strcmp(run->path, d->crash.output_path) != 0 ||
        strcmp(run->failover_path, d->crash.failover_path) != 0)
        return "its output cannot be written, and is configured no more";
    return NULL;
}

/* Stores all of it. 0; -EINTR: a stop came first; else what replay cannot get over. */
static int store_all(struct dbufd *d, struct found *found)
{
    const char *path = found->view.control->run.path;
    const struct replay_options options = {.min_free_bytes = d->config->output_min_free,
                                           .on_event = disk_event,
                                           .context = &d->notify};
    struct trouble trouble = {0};
    struct replay *replay;
    struct replay_account account;
    int rc = replay_open(&replay, &found->view, &options);

    while (rc == 0) {
        extend(found);
        rc = replay_step(replay);
        if (rc == 0 || rc == -EBUSY || (rc < 0 && why_not_there(d, found, rc) != NULL))
            break;
        if (rc < 0) {
            /* It has run through: what is counted is starts that died in here. */
            atomic_store(&found->view.control->attempts, 0);
            if (wait_for_disk(d, found, &trouble, path, -rc)) {
                rc = -EINTR;
                break;
            }
        }
        rc = 0;
    }
    if (rc == 0) {
        replay_account(replay, &account);
        tell_recovered(d, &account);
    }
    replay_free(replay);
    return rc;
}

static void tell_begin(const struct found *found)
{
    char status[160], bytes[BYTES_TEXT_BYTES];
    const struct region_content content = region_content(&found->view);

    (void)snprintf(status, sizeof(status), "recovering: %s that an earlier run has left in memory",
                   stats_bytes(content.bytes, bytes, sizeof(bytes)));
    notify_status(status);
}

/* 0; -EINTR; or what is to be told as the reason for not starting. */
static int recover_one(struct dbufd *d, struct found *found)
{
    if (found->look == -ENOTSUP)
        return rescue(d, found, "its memory is that of another version of dbufd");
    struct control *control = found->view.control;
    if (atomic_fetch_add(&control->attempts, 1) >= ATTEMPTS_MAX)
        return rescue(d, found, "three starts have died while they stored it");
    tell_begin(found);
    if (region_content(&found->view).damaged > 0) {
        int rc = rescue(d, found, "some of it is damaged, and what is not is stored");
        if (rc < 0)
            return rc;
    }
    int rc = store_all(d, found);
    const char *why = rc < 0 && rc != -EINTR && rc != -EBUSY ? why_not_there(d, found, rc) : NULL;
    return why != NULL ? rescue(d, found, why) : rc;
}

/* ---- All of them ------------------------------------------------------------------------------- */

/* A stop was asked for: what the service manager would drop goes where it is found again. False: it
 * cannot be put there. */
static bool leave(const struct dbufd *d, const struct founds *founds)
{
    for (size_t i = 0; i < founds->count; i++) {
        const struct found *found = &founds->items[i];
        if (found->region.map == NULL || found->where != FOUND_AT_MANAGER)
            continue;
        int rc = crash_save(&found->region, found->name);
        if (rc < 0) {
            const struct event_field fields[] = {{"ERRNO", NULL, (uint64_t)-rc}};
            notify_event(&d->notify, EVENT_STILL_UNSAVED, fields, 1,
                         "cannot stop yet: what an earlier run has left in memory is not stored, "
                         "and cannot be copied into the runtime directory: %s",
                         strerror(-rc));
            return false;
        }
    }
    notify_event(&d->notify, EVENT_LEFT, NULL, 0,
                 "stopping: what an earlier run has left in memory is stored at the next start");
    return true;
}

int crash_recover(struct dbufd *d)
{
    struct founds founds = {0};
    int status = EX_OK;
    int rc = crash_find(d, &founds);

    if (rc == -EBADMSG)
        status = cannot(d, EX_IOERR,
                        "keep the buffer's memory where somebody else's file lies (move that away, "
                        "or choose another crash_buffer):",
                        d->config->crash_buffer, -EEXIST);
    else if (rc < 0)
        status = cannot(d, EX_IOERR, "take over what an earlier run has left in memory, by",
                        "the service manager", rc);
    for (size_t i = 0; i < founds.count && status == EX_OK;) {
        struct found *found = &founds.items[i];
        rc = recover_one(d, found);
        if (found->look == 0 && rc < 0)
            atomic_store(&found->view.control->attempts, 0);
        if (rc == 0) {
            crash_forget(found);
            i++;
        } else if (rc != -EINTR)
            status = cannot(d, EX_IOERR, "store what an earlier run has left in memory, at",
                            found->view.control->run.path, rc == -EBUSY ? -EWOULDBLOCK : rc);
        else if (leave(d, &founds))
            status = EX_TEMPFAIL;
    }
    crash_founds_free(&founds);
    d->crash.recovered = status == EX_OK;
    return status;
}

void crash_save_found(const struct notify *notify)
{
    struct notify_fd *fds;
    size_t count;

    if (notify_take_fds(&fds, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct region region;
        struct region_view view;
        if (region_adopt(&region, fds[i].fd) < 0)
            continue;
        int rc =
            region_look(region.map, region.bytes, &view) == 0 && region_content(&view).blocks > 0
                ? crash_save(&region, view.control->run.name)
                : 1;
        const struct event_field fields[] = {{"REGION", fds[i].name, 0}};
        if (rc == 0)
            notify_event(notify, EVENT_LEFT, fields, 1,
                         "what an earlier run has left in memory is kept in the runtime directory "
                         "and stored at the next start");
        else if (rc < 0)
            notify_event(notify, EVENT_STILL_UNSAVED, fields, 1,
                         "what an earlier run has left in memory cannot be copied into the runtime "
                         "directory: %s; it is lost if the service manager lets go of it",
                         strerror(-rc));
        region_close(&region);
    }
    notify_fds_free(fds, count);
}
