/* SPDX-License-Identifier: MIT
 *
 * Happy path: the region is a sealed memfd, and the service manager gets a copy of its descriptor
 * before the first writer runs; it gives it back to the next process. Or the region lies in a file,
 * which stays where it is.
 * Failure modes: nobody keeps it: "auto" says so and goes on, with data that dies with the process;
 * "fdstore" was asked for and does not start.
 * On stop: everything is stored, and the region is let go of. If the disk refuses then, its content is
 * put where the next start finds it.
 */
#include "crash.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "dbufd.h"

int crash_parse(const char *text, enum crash_kind *ret, const char **ret_path)
{
    static const char file[] = "file:";

    *ret_path = NULL;
    if (strcmp(text, "off") == 0)
        *ret = CRASH_OFF;
    else if (strcmp(text, "auto") == 0)
        *ret = CRASH_AUTO;
    else if (strcmp(text, "fdstore") == 0)
        *ret = CRASH_FDSTORE;
    else if (strncmp(text, file, sizeof(file) - 1) == 0 && text[sizeof(file) - 1] != '\0') {
        *ret = CRASH_FILE;
        *ret_path = text + sizeof(file) - 1;
    } else
        return -EINVAL;
    return 0;
}

const char *crash_kind_name(enum crash_kind kind)
{
    static const char *const names[] = {"off", "auto", "fdstore", "file"};
    return names[kind];
}

/* The next start may have another working directory. A path too long to be made absolute is one that
 * cannot be opened either. */
static void make_absolute(const char *path, char to[static REGION_PATH_BYTES])
{
    char directory[REGION_PATH_BYTES];
    const bool absolute = path[0] == '/' || getcwd(directory, sizeof(directory)) == NULL;

    int length = absolute ? snprintf(to, REGION_PATH_BYTES, "%s", path)
                          : snprintf(to, REGION_PATH_BYTES, "%s/%s", directory, path);
    if (length >= REGION_PATH_BYTES)
        (void)snprintf(to, REGION_PATH_BYTES, "%.*s", REGION_PATH_BYTES - 1, path);
}

/* A name that no other region has. */
static int name_region(struct crash *crash, const struct config *config)
{
    uint64_t unique;

    if (getrandom(&unique, sizeof(unique), 0) != (ssize_t)sizeof(unique))
        return -errno;
    make_absolute(config->output_file_path, crash->output_path);
    crash->failover_path[0] = '\0';
    if (*config->output_failover_path != '\0')
        make_absolute(config->output_failover_path, crash->failover_path);
    (void)snprintf(crash->name, sizeof(crash->name), "dbufd-%016" PRIx64, unique);
    return 0;
}

int crash_open(struct dbufd *d)
{
    struct crash *crash = &d->crash;
    int rc = crash_parse(d->config->crash_buffer, &crash->kind, &crash->path);

    assert(rc == 0); /* config_load has checked it */
    rc = name_region(crash, d->config);
    if (rc < 0)
        return cannot(d, EX_OSERR, "get", "a name for the buffer", rc);
    if (crash->kind == CRASH_FILE) {
        crash->file = region_open_file(crash->path);
        if (crash->file < 0)
            return cannot(d, EX_IOERR, "take crash_buffer", crash->path, crash->file);
    }
    return EX_OK;
}

void crash_describe(const struct crash *crash, const struct config *c, uint64_t seed,
                    const uint8_t uuid[static 16], struct region_run *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    *ret = (struct region_run){
        .begun_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
        .segment_bytes = c->output_segment_size,
        .seed = seed,
        .random = c->source_type == SOURCE_RANDOM,
        .min_block = (uint32_t)c->source_min_block,
        .max_block = (uint32_t)c->source_max_block,
        .format = (uint32_t)c->output_format,
    };
    memcpy(ret->stream_uuid, uuid, sizeof(ret->stream_uuid));
    memcpy(ret->name, crash->name, sizeof(ret->name));
    memcpy(ret->path, crash->output_path, sizeof(ret->path));
    memcpy(ret->failover_path, crash->failover_path, sizeof(ret->failover_path));
}

int crash_make_region(struct crash *crash, size_t bytes, struct region *ret)
{
    if (crash->kind != CRASH_FILE)
        return region_open(ret, bytes);
    int rc = region_open_in(ret, crash->file, bytes);
    if (rc == 0)
        crash->file = -1;
    return rc;
}

int crash_keep(struct crash *crash, const struct db *db)
{
    if (crash->kind != CRASH_AUTO && crash->kind != CRASH_FDSTORE)
        return 0;
    int rc = notify_keep_fd(db_region(db)->fd, crash->name);
    if (rc < 0 && crash->kind == CRASH_FDSTORE)
        return rc;
    crash->why_not = rc;
    crash->kind = rc == 0 ? CRASH_FDSTORE : CRASH_OFF;
    return 0;
}

/* ---- Another buffer ---------------------------------------------------------------------------- */

/* Where a region is made that is to be at crash->path. A start that finds one there had better be one
 * that can take it: an empty file is all that it ever is while the other one is not. */
static int path_beside(const struct crash *crash, char **ret)
{
    return asprintf(ret, "%s.next", crash->path) < 0 ? -ENOMEM : 0;
}

int crash_renew(const struct crash *now, const struct config *config, struct crash *ret)
{
    struct crash renewed = *now;
    char *path;
    int rc = name_region(&renewed, config);

    if (rc == 0 && renewed.kind == CRASH_FILE) {
        rc = path_beside(now, &path);
        if (rc < 0)
            return rc;
        renewed.file = region_open_file(path);
        renewed.beside = true;
        free(path);
        if (renewed.file < 0)
            rc = renewed.file;
    }
    if (rc == 0)
        *ret = renewed;
    return rc;
}

int crash_replace(const struct crash *old, struct crash *renewed)
{
    char *path;

    if (old->kind == CRASH_FDSTORE)
        notify_forget_fd(old->name);
    if (!renewed->beside)
        return 0;
    int rc = path_beside(renewed, &path);
    if (rc < 0)
        return rc;
    rc = rename(path, renewed->path) < 0 ? -errno : 0;
    free(path);
    renewed->beside = rc < 0;
    return rc;
}

void crash_drop(struct crash *renewed)
{
    char *path;

    if (renewed->kind == CRASH_FDSTORE)
        notify_forget_fd(renewed->name);
    if (renewed->beside && path_beside(renewed, &path) == 0) {
        (void)unlink(path); /* if it stays, the next reload takes it over */
        free(path);
    }
    if (renewed->file >= 0)
        (void)close(renewed->file);
    renewed->file = -1;
}

void crash_tell(const struct dbufd *d)
{
    const struct crash *crash = &d->crash;
    const char *kind = crash_kind_name(crash->kind);
    const struct event_field fields[] = {{"CRASH_BUFFER", kind, 0},
                                         {"REGION", crash->name, 0},
                                         {"PATH", crash->path != NULL ? crash->path : "", 0}};

    if (crash->kind == CRASH_FDSTORE)
        notify_event(&d->notify, EVENT_CRASH_BUFFER, fields, 2,
                     "what is in memory survives a crash of dbufd: the service manager keeps it "
                     "(%s)",
                     crash->name);
    else if (crash->kind == CRASH_FILE)
        notify_event(&d->notify, EVENT_CRASH_BUFFER, fields, 3,
                     "what is in memory survives a crash of dbufd: it lies in %s", crash->path);
    else if (crash->why_not == -EOPNOTSUPP)
        notify_event(
            &d->notify, EVENT_NO_CRASH_BUFFER, fields, 1,
            "a crash of dbufd would lose what is in memory: there is no service manager to "
            "keep it; crash_buffer=file:PATH would do");
    else if (crash->why_not != 0)
        notify_event(&d->notify, EVENT_NO_CRASH_BUFFER, fields, 1,
                     "a crash of dbufd would lose what is in memory: the service manager does not "
                     "keep it (%s); FileDescriptorStoreMax=4 in the unit, or "
                     "crash_buffer=file:PATH, would do",
                     strerror(-crash->why_not));
    else
        notify_event(&d->notify, EVENT_NO_CRASH_BUFFER, fields, 1,
                     "a crash of dbufd would lose what is in memory: crash_buffer is off");
}

int crash_leave(struct dbufd *d)
{
    if (d->crash.kind == CRASH_FILE)
        return 0; /* it lies there already */
    int rc = crash_save(db_region(d->db), d->crash.name);
    if (rc == 0 && d->crash.kind == CRASH_FDSTORE)
        notify_forget_fd(d->crash.name); /* one of the two is enough */
    return rc;
}

void crash_close(struct dbufd *d)
{
    struct crash *crash = &d->crash;

    if (d->db != NULL && crash->kind == CRASH_FDSTORE)
        notify_forget_fd(crash->name);
    if (crash->kind == CRASH_FILE && crash->recovered)
        (void)unlink(crash->path); /* if it stays, the next start finds it empty */
    if (crash->file >= 0)
        (void)close(crash->file);
    crash->file = -1;
}
