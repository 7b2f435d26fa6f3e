/* SPDX-License-Identifier: MIT
 *
 * A fault is reported at the place where a user could mend it: at the first of the keys concerned that the
 * user has set.
 */
#include "config_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

bool config_good(const struct check *check, enum option_id id)
{
    return !check->origins[id].bad;
}

bool config_is_default(const struct check *check, enum option_id id)
{
    const struct setting *setting = check->origins[id].setting;

    return setting->file != NULL && setting->line == 0;
}

void config_fault(struct check *check, enum option_id a, enum option_id b, const char *format, ...)
{
    const enum option_id id = config_is_default(check, a) && !config_is_default(check, b) ? b : a;
    va_list arguments;

    check->faults++;
    setting_put_place(check->errors, check->origins[id].setting);
    va_start(arguments, format);
    vfprintf(check->errors, format, arguments);
    va_end(arguments);
    fputc('\n', check->errors);
}

void config_directory_of(const char *path, char directory[static PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    const int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);

    snprintf(directory, PATH_MAX, "%.*s", length, slash == NULL ? "." : path);
}

bool config_directory_problem(const char *path, char why[static PATH_MAX + 128])
{
    char directory[PATH_MAX];
    struct stat status;

    config_directory_of(path, directory);
    if (stat(directory, &status) < 0) {
        if (errno == ENOENT)
            snprintf(why, PATH_MAX + 128, "the directory %s is missing, make it or name another",
                     directory);
        else
            snprintf(why, PATH_MAX + 128, "the directory %s cannot be reached: %s", directory,
                     strerror(errno));
    } else if (!S_ISDIR(status.st_mode)) {
        snprintf(why, PATH_MAX + 128, "%s is no directory, name another", directory);
    } else if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0) {
        snprintf(why, PATH_MAX + 128, "the directory %s must be writable for this user: %s",
                 directory, strerror(errno));
    } else {
        return false;
    }
    return true;
}

const char *config_kind_of_file(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISBLK(mode))
        return "a block device";
    if (S_ISFIFO(mode))
        return "a FIFO";
    if (S_ISCHR(mode))
        return "a character device";
    return S_ISSOCK(mode) ? "a socket" : "a file of an unknown kind";
}

bool config_streamable(mode_t mode)
{
    return S_ISREG(mode) || S_ISFIFO(mode) || S_ISCHR(mode);
}
