/* SPDX-License-Identifier: MIT
 *
 * stream: names, the listing of a stream's segments, and its lock.
 */
#include "stream.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    PID_TEXT_BYTES = 24,
    LOOK_NS = 5000000, /* longer than anybody looks */
    LOOKS_MAX = 10
};

/* A stream's path in its parts; they point into it. */
struct name {
    const char *path;
    const char *base;      /* behind the last slash */
    const char *extension; /* ".dbuf", or "" at the end */
};

static struct name name_split(const char *path)
{
    struct name name = {.path = path, .base = path};
    const char *slash = strrchr(path, '/');

    if (slash)
        name.base = slash + 1;
    name.extension = strrchr(name.base, '.');
    if (!name.extension || name.extension == name.base) /* ".log" is a name, not an extension */
        name.extension = name.base + strlen(name.base);
    return name;
}

int stream_segment_path(const char *stream_path, uint64_t number, char **ret)
{
    struct name name = name_split(stream_path);
    char *path;

    if (number == 0)
        path = strdup(stream_path);
    else if (asprintf(&path, "%.*s.%06" PRIu64 "%s", (int)(name.extension - name.path), name.path,
                      number, name.extension) < 0)
        path = NULL;
    if (!path)
        return -ENOMEM;
    *ret = path;
    return 0;
}

/* A hidden name beside the stream's. */
static int hidden_path(const char *stream_path, const char *suffix, char **ret)
{
    struct name name = name_split(stream_path);
    char *path;

    if (asprintf(&path, "%.*s.%s%s", (int)(name.base - name.path), name.path, name.base, suffix) <
        0)
        return -ENOMEM;
    *ret = path;
    return 0;
}

int stream_next_path(const char *stream_path, char **ret)
{
    return hidden_path(stream_path, ".next", ret);
}

/* Whether `entry` is a segment's name, and which. Only the form that stream_segment_path gives. */
static bool entry_number(const struct name *name, const char *entry, uint64_t *ret)
{
    size_t stem_length = (size_t)(name->extension - name->base);

    if (strcmp(entry, name->base) == 0) {
        *ret = 0;
        return true;
    }
    if (strncmp(entry, name->base, stem_length) != 0 || entry[stem_length] != '.')
        return false;
    const char *digits = entry + stem_length + 1;
    size_t digit_count = strspn(digits, "0123456789");
    if (digit_count < 6 || digit_count > 19 || (digit_count > 6 && digits[0] == '0') ||
        strcmp(digits + digit_count, name->extension) != 0)
        return false;
    *ret = strtoull(digits, NULL, 10);
    return *ret > 0;
}

static int by_number(const void *a, const void *b)
{
    const struct stream_file *left = a, *right = b;
    return (left->number > right->number) - (left->number < right->number);
}

static int add_file(struct stream_files *files, const char *stream_path, uint64_t number)
{
    struct stat status;
    char *path;
    int rc = stream_segment_path(stream_path, number, &path);

    if (rc < 0)
        return rc;
    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode)) {
        free(path); /* gone meanwhile, or nothing that could be a segment */
        return 0;
    }
    struct stream_file *grown =
        reallocarray(files->files, files->count + 1, sizeof(struct stream_file));
    if (!grown) {
        free(path);
        return -ENOMEM;
    }
    files->files = grown;
    grown[files->count++] =
        (struct stream_file){.path = path,
                             .number = number,
                             .bytes = (uint64_t)status.st_size,
                             .changed_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000u +
                                           (uint64_t)status.st_mtim.tv_nsec};
    return 0;
}

static DIR *open_directory(const struct name *name)
{
    size_t length = (size_t)(name->base - name->path);
    char *path = length ? strndup(name->path, length) : strdup(".");

    if (!path)
        return NULL;
    DIR *directory = opendir(path);
    int error = errno;
    free(path);
    errno = error;
    return directory;
}

int stream_list(const char *stream_path, struct stream_files *ret)
{
    struct name name = name_split(stream_path);
    struct stream_files found = {0};
    const struct dirent *entry;
    DIR *directory = open_directory(&name);
    int rc = 0;

    if (!directory)
        return -errno;
    while (rc == 0) {
        uint64_t number;
        errno = 0;
        entry = readdir(directory);
        if (!entry) {
            rc = -errno;
            break;
        }
        if (entry_number(&name, entry->d_name, &number))
            rc = add_file(&found, stream_path, number);
    }
    closedir(directory);
    if (rc < 0) {
        stream_files_free(&found);
        return rc;
    }
    if (found.count > 0)
        qsort(found.files, found.count, sizeof(struct stream_file), by_number);
    *ret = found;
    return 0;
}

void stream_files_free(struct stream_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->files[i].path);
    free(files->files);
    *files = (struct stream_files){0};
}

int stream_files_merge(struct stream_files *files, struct stream_files *more)
{
    struct stream_file *grown =
        more->count == 0
            ? files->files
            : reallocarray(files->files, files->count + more->count, sizeof(struct stream_file));

    if (!grown && more->count > 0) {
        stream_files_free(files);
        stream_files_free(more);
        return -ENOMEM;
    }
    files->files = grown;
    for (size_t i = 0; i < more->count; i++) {
        if (more->files[i].number > 0)
            files->files[files->count++] = more->files[i];
        else
            free(more->files[i].path);
    }
    free(more->files);
    *more = (struct stream_files){0};
    if (files->count > 0)
        qsort(files->files, files->count, sizeof(struct stream_file), by_number);
    return 0;
}

int stream_list_both(const char *stream_path, const char *other_path, struct stream_files *ret)
{
    struct stream_files own, other;
    int rc = stream_list(stream_path, &own);

    if (rc < 0)
        return rc;
    if (other_path) {
        rc = stream_list(other_path, &other);
        if (rc < 0)
            stream_files_free(&own);
        else
            rc = stream_files_merge(&own, &other);
    }
    if (rc == 0)
        *ret = own;
    return rc;
}

/* Whether the name still stands for the file: whoever had it before may have removed it between
 * our open and our flock. */
static bool same_file(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

/* Takes the lock, unless another process has it. Whoever only looks whether it is taken has it for a
 * moment (stream_holder): that is waited for. */
static int take_lock(int fd)
{
    const struct timespec moment = {.tv_nsec = LOOK_NS};

    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK || i == LOOKS_MAX)
            return -errno;
        (void)nanosleep(&moment, NULL);
    }
    return 0;
}

/* Leaves our process id there for stream_holder. A full disk may refuse it, and is no reason not to
 * record: then we are there without saying who we are. */
static void leave_pid(int fd)
{
    char text[PID_TEXT_BYTES];
    int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) != length &&
        ftruncate(fd, 0) < 0)
        return; /* a part of the number stays; stream_holder looks whether that process has the stream */
}

int stream_lock(const char *stream_path, struct stream_lock *ret)
{
    char *path;
    int rc = hidden_path(stream_path, ".lock", &path);

    if (rc < 0)
        return rc;
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd < 0) {
            rc = -errno;
            break;
        }
        rc = take_lock(fd);
        if (rc < 0) {
            close(fd);
            break;
        }
        if (same_file(fd, path)) {
            leave_pid(fd);
            *ret = (struct stream_lock){.fd = fd, .path = path};
            return 0;
        }
        close(fd);
    }
    free(path);
    return rc;
}

/* The process id in a lock file; 0 if there is none. */
static pid_t read_pid(int fd)
{
    char text[PID_TEXT_BYTES];
    ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
    char *end;

    if (got <= 0)
        return 0;
    text[got] = '\0';
    long pid = strtol(text, &end, 10);
    return end != text && *end == '\n' && pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

int stream_holder(const char *stream_path, pid_t *ret)
{
    char *path;
    int rc = hidden_path(stream_path, ".lock", &path);

    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    rc = fd < 0 ? -errno : 0;
    free(path);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    bool held = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    if (held)
        *ret = read_pid(fd);
    close(fd); /* and with it the lock, if we got it */
    return held ? 1 : 0;
}

void stream_unlock(struct stream_lock *lock)
{
    if (!lock->path)
        return;
    (void)unlink(lock->path); /* if it stays, the next one takes it over */
    stream_drop_lock(lock);
}

void stream_drop_lock(struct stream_lock *lock)
{
    if (!lock->path)
        return;
    close(lock->fd);
    free(lock->path);
    *lock = (struct stream_lock){0};
}

bool stream_has_lock(const struct stream_lock *lock)
{
    return lock->path && same_file(lock->fd, lock->path);
}
