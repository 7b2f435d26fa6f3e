/* SPDX-License-Identifier: MIT
 *
 * Where regions of earlier processes are found: at the service manager, by name; in the runtime
 * directory, where a process that had to end has copied its own; and in the file of crash_buffer.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash.h"
#include "dbufd.h"

static const char suffix[] = ".region";

/* ---- What was found ---------------------------------------------------------------------------- */

static int add(struct founds *founds, const struct found *found)
{
    struct found *grown = reallocarray(founds->items, founds->count + 1, sizeof(founds->items[0]));
    if (grown == NULL)
        return -ENOMEM;
    founds->items = grown;
    size_t at = founds->count++;
    /* The oldest first; what cannot be read comes before all. */
    const uint64_t begun_ns = found->look == 0 ? found->view.control->run.begun_ns : 0;
    for (; at > 0 && grown[at - 1].look == 0 && grown[at - 1].view.control->run.begun_ns > begun_ns;
         at--)
        grown[at] = grown[at - 1];
    grown[at] = *found;
    return 0;
}

static bool holds_something(const struct found *found)
{
    if (found->look != 0)
        return true;
    const struct region_content content = region_content(&found->view);
    return content.blocks + content.damaged > 0;
}

void crash_forget(struct found *found)
{
    region_close(&found->region);
    if (found->where == FOUND_AT_MANAGER)
        notify_forget_fd(found->name);
    else if (found->where == FOUND_IN_RUNTIME)
        (void)unlink(found->name); /* if it stays, it is found empty */
    free(found->name);
    *found = (struct found){0};
}

/* Takes the descriptor in, as a region to be recovered, or puts it away if it is empty; in any case it
 * is the caller's no more. -EBADMSG: it is none of ours. */
static int take_in(struct founds *founds, enum found_where where, const char *name, int fd)
{
    struct found found = {.where = where, .name = strdup(name)};
    int rc = found.name == NULL ? -ENOMEM : region_adopt(&found.region, fd);
    if (rc < 0)
        (void)close(fd);
    else
        found.look = region_look(found.region.map, found.region.bytes, &found.view);
    if (rc == 0 && found.look == -EBADMSG)
        rc = -EBADMSG;
    if (rc == 0 && found.look != -ENODATA && holds_something(&found))
        rc = add(founds, &found);
    else if (rc == 0) {
        crash_forget(&found);
        return 0;
    }
    if (rc < 0) {
        region_close(&found.region);
        free(found.name);
    }
    return rc;
}

/* ---- Where ------------------------------------------------------------------------------------- */

static bool is_found(const struct founds *founds, const char *name)
{
    for (size_t i = 0; i < founds->count; i++)
        if (founds->items[i].look == 0 &&
            strcmp(founds->items[i].view.control->run.name, name) == 0)
            return true;
    return false;
}

static void tell_foreign(const struct dbufd *d, const char *name)
{
    const struct event_field fields[] = {{"REGION", name, 0}};
    notify_event(
        &d->notify, EVENT_FOREIGN_DESCRIPTOR, fields, 1,
        "the service manager kept a descriptor that is none of dbufd's: %s; it is let go of", name);
}

static int find_at_manager(const struct dbufd *d, struct founds *founds)
{
    struct notify_fd *fds;
    size_t count;
    int rc = notify_take_fds(&fds, &count);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        int taken = take_in(founds, FOUND_AT_MANAGER, fds[i].name, fds[i].fd);
        if (taken == -EBADMSG) {
            tell_foreign(d, fds[i].name);
            notify_forget_fd(fds[i].name);
        } else if (taken < 0)
            rc = taken;
    }
    notify_fds_free(fds, count);
    return rc;
}

/* The first of the directories that the service manager has made for us. */
static char *runtime_directory(void)
{
    const char *directories = getenv("RUNTIME_DIRECTORY");
    if (directories == NULL || directories[0] != '/')
        return NULL;
    return strndup(directories, strcspn(directories, ":"));
}

static int find_file_in_runtime(struct founds *founds, const char *directory, const char *entry)
{
    char *path;
    char name[REGION_NAME_BYTES];
    const size_t length = strlen(entry);
    if (length <= strlen(suffix) || strcmp(entry + length - strlen(suffix), suffix) != 0 ||
        length - strlen(suffix) >= sizeof(name))
        return 0;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(length - strlen(suffix)), entry);
    if (asprintf(&path, "%s/%s", directory, entry) < 0)
        return -ENOMEM;
    int rc = 0;
    if (is_found(founds, name))
        (void)unlink(path); /* a copy of what the service manager has kept after all */
    else {
        int fd = region_open_file(path);
        rc = fd < 0 ? fd : take_in(founds, FOUND_IN_RUNTIME, path, fd);
        if (rc == -EBADMSG) /* somebody else's file: none of our business */
            rc = 0;
    }
    free(path);
    return rc;
}

static int find_in_runtime(struct founds *founds)
{
    char *directory = runtime_directory();
    if (directory == NULL)
        return 0;
    DIR *entries = opendir(directory);
    int rc = 0;
    const struct dirent *entry;
    while (entries != NULL && rc == 0 && (entry = readdir(entries)) != NULL)
        rc = find_file_in_runtime(founds, directory, entry->d_name);
    if (entries != NULL)
        (void)closedir(entries);
    free(directory);
    return rc;
}

static int find_in_file(const struct dbufd *d, struct founds *founds)
{
    struct stat status;
    if (d->crash.file < 0)
        return 0;
    if (fstat(d->crash.file, &status) < 0)
        return -errno;
    if (status.st_size == 0)
        return 0;
    int fd = fcntl(d->crash.file, F_DUPFD_CLOEXEC, 0); /* the lock is on both */
    if (fd < 0)
        return -errno;
    return take_in(founds, FOUND_IN_FILE, d->crash.path, fd);
}

int crash_find(const struct dbufd *d, struct founds *ret)
{
    int manager = find_at_manager(d, ret);
    int runtime = find_in_runtime(ret);
    int file = find_in_file(d, ret);

    if (manager < 0)
        return manager;
    return runtime < 0 ? runtime : file;
}

void crash_founds_free(struct founds *founds)
{
    for (size_t i = 0; i < founds->count; i++) {
        region_close(&founds->items[i].region);
        free(founds->items[i].name);
    }
    free(founds->items);
    *founds = (struct founds){0};
}

int crash_save(const struct region *region, const char *name)
{
    char *directory = runtime_directory();
    char *path;
    if (directory == NULL)
        return -ENOENT;
    int rc = asprintf(&path, "%s/%s%s", directory, name, suffix) < 0 ? -ENOMEM : 0;
    free(directory);
    if (rc < 0)
        return rc;
    rc = region_save(region, path);
    free(path);
    return rc == -EEXIST ? 0 : rc; /* it was copied before, and nothing has changed since */
}
