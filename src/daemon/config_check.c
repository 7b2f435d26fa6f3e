/* SPDX-License-Identifier: MIT
 *
 * config_check: one function for each thing that can be at odds.
 *
 * Each looks only at values that are good by themselves, and says all that it finds. A fault is
 * reported at the place where a user could mend it: at the first of the keys concerned that the
 * user has set. What is looked at on disk is looked at with stat and access alone.
 */
#include "config_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../buffer/db.h"
#include "../disk/store.h"
#include "../source/address.h"
#include "../source/source.h"
#include "config_value.h"
#include "crash.h"
#include "sandbox.h"

/* Small segments would be mostly headers and checkpoints, and hardly hold an extent. */
#define SEGMENT_BYTES_LEAST ((uint64_t)4 << 20)

#define AGE_LEAST_NS ((uint64_t)1000000000)

struct check {
    const struct config *config;
    const struct option_origin *origins;
    FILE *errors;
    unsigned faults;
};

static bool good(const struct check *check, enum option_id id)
{
    return !check->origins[id].bad;
}

static bool is_default(const struct check *check, enum option_id id)
{
    const struct setting *setting = check->origins[id].setting;

    return setting->file != NULL && setting->line == 0;
}

/* Reports a fault between options `a` and `b` (the same, if it concerns one). */
__attribute__((format(printf, 4, 5))) static void fault(struct check *check, enum option_id a,
                                                        enum option_id b, const char *format, ...)
{
    const enum option_id id = is_default(check, a) && !is_default(check, b) ? b : a;
    va_list arguments;

    check->faults++;
    setting_put_place(check->errors, check->origins[id].setting);
    va_start(arguments, format);
    vfprintf(check->errors, format, arguments);
    va_end(arguments);
    fputc('\n', check->errors);
}

/* ---- Values against each other --------------------------------------------------------------- */

static void check_capacity(struct check *check)
{
    const struct config *c = check->config;
    struct db_geometry geometry;
    char given[VALUE_TEXT_BYTES], least[VALUE_TEXT_BYTES];
    enum option_id other = OPTION_writer_count;
    size_t least_bytes;

    if (!good(check, OPTION_buffer_capacity) || !good(check, OPTION_writer_count) ||
        !good(check, OPTION_source_max_block))
        return;
    if (db_geometry(c->buffer_capacity, (unsigned)c->writer_count, c->source_max_block, &geometry,
                    &least_bytes) != -ENOSPC)
        return; /* the other errors are those of values out of the bounds in options.def */
    if (is_default(check, other))
        other = OPTION_source_max_block;
    fault(check, OPTION_buffer_capacity, other,
          "buffer_capacity \"%s\" is too small for writer_count %u and source.max_block %zu, must "
          "be at least \"%s\"",
          value_format_size(c->buffer_capacity, given), (unsigned)c->writer_count,
          (size_t)c->source_max_block,
          value_format_size((least_bytes + 1023) & ~(size_t)1023, least));
}

static void check_blocks(struct check *check)
{
    const struct config *c = check->config;

    if (good(check, OPTION_source_min_block) && good(check, OPTION_source_max_block) &&
        good(check, OPTION_source_type) && c->source_type == SOURCE_RANDOM &&
        c->source_min_block > c->source_max_block)
        fault(check, OPTION_source_min_block, OPTION_source_max_block,
              "source.min_block %llu must be at most source.max_block %llu",
              (unsigned long long)c->source_min_block, (unsigned long long)c->source_max_block);
}

static void check_segments(struct check *check)
{
    const struct config *c = check->config;
    const bool sizes_good =
        good(check, OPTION_output_segment_size) && good(check, OPTION_output_retain_size);

    if (good(check, OPTION_output_segment_size) && c->output_segment_size > 0 &&
        c->output_segment_size < SEGMENT_BYTES_LEAST)
        fault(check, OPTION_output_segment_size, OPTION_output_segment_size,
              "must be \"0\" (one file without an end) or at least \"4MiB\"");
    if (!sizes_good || c->output_retain_size == 0)
        return;
    if (c->output_segment_size == 0 && c->output_segment_age == 0)
        fault(check, OPTION_output_retain_size, OPTION_output_segment_size,
              "output.retain_size deletes segments and needs output.segment_size, which is \"0\"");
    else if (c->output_retain_size / 2 < c->output_segment_size)
        fault(check, OPTION_output_retain_size, OPTION_output_segment_size,
              "output.retain_size must be \"0\" or at least twice output.segment_size");
}

static void check_age(struct check *check, enum option_id id, uint64_t age_ns)
{
    if (good(check, id) && age_ns > 0 && age_ns < AGE_LEAST_NS)
        fault(check, id, id, "must be \"0\" (never) or at least \"1s\"");
}

/* What deletes segments needs segments. */
static void check_rotation(struct check *check)
{
    const struct config *c = check->config;
    const bool rotates = !good(check, OPTION_output_segment_size) ||
                         !good(check, OPTION_output_segment_age) || c->output_segment_size > 0 ||
                         c->output_segment_age > 0;

    check_age(check, OPTION_output_segment_age, c->output_segment_age);
    check_age(check, OPTION_output_retain_age, c->output_retain_age);
    if (!rotates && good(check, OPTION_output_retain_age) && c->output_retain_age > 0)
        fault(check, OPTION_output_retain_age, OPTION_output_segment_size,
              "output.retain_age deletes segments and needs output.segment_size, which is \"0\"");
    if (!rotates && good(check, OPTION_output_disk_full) && c->output_disk_full == FULL_ROTATE)
        fault(
            check, OPTION_output_disk_full, OPTION_output_segment_size,
            "output.disk_full \"rotate\" deletes segments and needs output.segment_size, which is "
            "\"0\"");
}

/* ---- The source ------------------------------------------------------------------------------ */

/* The path of one writer. False: it would be too long. */
static bool expand_path(const char *path, unsigned writer, char expanded[static PATH_MAX])
{
    size_t used = 0;

    while (*path != '\0') {
        const bool index = path[0] == '%' && path[1] == 'w';
        const int wrote = index ? snprintf(expanded + used, PATH_MAX - used, "%u", writer)
                                : snprintf(expanded + used, PATH_MAX - used, "%c", *path);

        used += (size_t)wrote;
        if (used >= PATH_MAX)
            return false;
        path += index ? 2 : 1;
    }
    expanded[used] = '\0';
    return true;
}

/* The directory that a file at `path` is in. */
static void directory_of(const char *path, char directory[static PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    const int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);

    snprintf(directory, PATH_MAX, "%.*s", length, slash == NULL ? "." : path);
}

/* What stands in the way of making a file at `path`, into `why`; false: nothing. */
static bool directory_problem(const char *path, char why[static PATH_MAX + 128])
{
    char directory[PATH_MAX];
    struct stat status;

    directory_of(path, directory);
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

static const char *kind_of_file(mode_t mode)
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

static bool streamable(mode_t mode)
{
    return S_ISREG(mode) || S_ISFIFO(mode) || S_ISCHR(mode);
}

/* One writer's path. True: there was a fault, the others' would be the same. */
static bool check_source_path(struct check *check, const char *path)
{
    const enum option_id id = OPTION_source_path;
    char why[PATH_MAX + 128];
    struct stat status;

    if (stat(path, &status) == 0) {
        if (!streamable(status.st_mode))
            fault(check, id, id, "%s is %s, must be a FIFO, a file, a character device or \"-\"",
                  path, kind_of_file(status.st_mode));
        else if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0)
            fault(check, id, id, "%s must be readable for this user: %s", path, strerror(errno));
        else
            return false;
    } else if (errno != ENOENT) {
        fault(check, id, id, "%s cannot be reached: %s", path, strerror(errno));
    } else if (directory_problem(path, why)) {
        fault(check, id, id, "there is no FIFO %s and it cannot be made: %s", path, why);
    } else {
        return false;
    }
    return true;
}

static void check_pipe(struct check *check)
{
    const struct config *c = check->config;
    const char *path = c->source_path;
    const bool numbered = strstr(path, "%w") != NULL;
    char expanded[PATH_MAX];

    if (!good(check, OPTION_source_path))
        return;
    if (*path == '\0') {
        fault(check, OPTION_source_path, OPTION_source_type,
              "source.type \"pipe\" needs source.path: a FIFO, or \"-\" for standard input");
        return;
    }
    if (!numbered && good(check, OPTION_writer_count) && c->writer_count != 1)
        fault(
            check, OPTION_writer_count, OPTION_source_path,
            "writer_count must be 1 with source.path \"%s\": one pipe feeds one writer; or put %%w "
            "into the path, which gives each of the %u writers a FIFO of its own",
            path, (unsigned)c->writer_count);
    if (strcmp(path, "-") == 0)
        return;
    for (unsigned w = 0; w < (numbered ? c->writer_count : 1); w++) {
        if (!expand_path(path, w, expanded)) {
            fault(check, OPTION_source_path, OPTION_source_path,
                  "is too long with the writer's index in it");
            return;
        }
        if (check_source_path(check, expanded))
            return;
    }
}

/* The most that an address of a socket holds, its end included. */
enum { SOCKET_PATH_BYTES = sizeof(((struct sockaddr_un *)NULL)->sun_path) };

/* One writer's socket. True: there was a fault, the others' would be the same. */
static bool check_socket_path(struct check *check, const char *path)
{
    const enum option_id id = OPTION_source_path;
    char why[PATH_MAX + 128];
    struct stat status;

    if (strlen(path) >= SOCKET_PATH_BYTES)
        fault(check, id, id, "%s is too long for a socket, must be at most %d bytes", path,
              SOCKET_PATH_BYTES - 1);
    else if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
        fault(check, id, id,
              "%s is %s and will not be replaced, must be the path of a socket, or free", path,
              S_ISREG(status.st_mode) ? "a file" : kind_of_file(status.st_mode));
    else if (directory_problem(path, why))
        fault(check, id, id, "the socket %s cannot be made: %s", path, why);
    else
        return false;
    return true;
}

static void check_unix(struct check *check)
{
    const struct config *c = check->config;
    const char *path = c->source_path;
    const bool numbered = strstr(path, "%w") != NULL;
    char expanded[PATH_MAX];

    if (!good(check, OPTION_source_path))
        return;
    if (*path == '\0')
        fault(check, OPTION_source_path, OPTION_source_type,
              "source.type \"unix\" needs source.path: where it listens, such as "
              "\"/run/dbufd/in.sock\"");
    for (unsigned w = 0; *path != '\0' && w < (numbered ? c->writer_count : 1); w++) {
        if (!expand_path(path, w, expanded)) {
            fault(check, OPTION_source_path, OPTION_source_path,
                  "is too long with the writer's index in it");
            return;
        }
        if (check_socket_path(check, expanded))
            return;
    }
}

static void check_udp(struct check *check)
{
    const enum option_id id = OPTION_source_address;
    const struct config *c = check->config;
    struct address address;
    const bool is_one =
        address_parse(c->source_address, &address) == 0 && address.any.sa_family != AF_UNIX;

    if (good(check, id) && *c->source_address == '\0')
        fault(check, id, OPTION_source_type,
              "source.type \"udp\" needs source.address, such as \"127.0.0.1:5514\" or "
              "\"[::]:5514\"");
    else if (good(check, id) && (!is_one || address_is_multicast(&address)))
        fault(
            check, id, id, "%s",
            is_one
                ? "is of a multicast group, which dbufd does not join: must be an address of this "
                  "machine"
                : "must be ADDRESS:PORT in numbers, such as \"127.0.0.1:5514\" or \"[::]:5514\", "
                  "with "
                  "a port of 1 to 65535");
    else if (good(check, id) && sandbox_inside() && sandbox_network_closed()) {
        fault(check, id, OPTION_source_type, "the service has no network; this opens it:");
        sandbox_put_network_remedy(check->errors, address_is_local(&address));
    }
    if (good(check, OPTION_source_framing) && c->source_framing != FRAMING_NONE)
        fault(check, OPTION_source_framing, OPTION_source_type,
              "source.framing \"%s\" needs source.type \"pipe\" or \"unix\"; of \"udp\" each "
              "datagram is "
              "a block: \"none\"",
              config_options[OPTION_source_framing].names[c->source_framing]);
}

static void check_source(struct check *check)
{
    const struct config *c = check->config;

    check_blocks(check);
    if (!good(check, OPTION_source_type))
        return;
    if (c->source_type == SOURCE_PIPE)
        check_pipe(check);
    else if (c->source_type == SOURCE_UNIX)
        check_unix(check);
    else if (c->source_type == SOURCE_UDP)
        check_udp(check);
    else if (good(check, OPTION_source_framing) && c->source_framing != FRAMING_NONE)
        fault(check, OPTION_source_framing, OPTION_source_type,
              "source.framing \"%s\" needs source.type \"pipe\" or \"unix\"",
              config_options[OPTION_source_framing].names[c->source_framing]);
}

/* ---- The output ------------------------------------------------------------------------------ */

/* A name of 255 bytes, less the longest that is put into it: ".18446744073709551615.torn.1000". */
enum { OUTPUT_NAME_MAX = 255 - 32 };

/* A path that gets segments, whatever is there already. */
static void check_segments_path(struct check *check, enum option_id id, const char *path)
{
    const char *slash = strrchr(path, '/');
    char why[PATH_MAX + 128];

    if (strlen(slash != NULL ? slash + 1 : path) > OUTPUT_NAME_MAX)
        fault(check, id, id,
              "its file name is too long, must be at most %d bytes: the segments' numbers "
              "are put into it",
              OUTPUT_NAME_MAX);
    if (!directory_problem(path, why))
        return;
    fault(check, id, id, "%s", why);
    if (sandbox_inside()) {
        directory_of(path, why);
        sandbox_put_remedy(check->errors, why);
    }
}

static void check_output(struct check *check)
{
    const enum option_id id = OPTION_output_file_path;
    const char *path = check->config->output_file_path;
    struct stat status;

    if (!good(check, id))
        return;
    if (*path == '\0') {
        fault(check, id, id, "is empty, must be the path of a file");
        return;
    }
    if (stat(path, &status) == 0) {
        if (!streamable(status.st_mode))
            fault(check, id, id, "is %s, must be the path of a file, a FIFO or a character device",
                  kind_of_file(status.st_mode));
        else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
            fault(check, id, id, "must be writable for this user: %s", strerror(errno));
        if (!S_ISREG(status.st_mode))
            return;
    } else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
        fault(check, id, id, "cannot be reached: %s", strerror(errno));
        return;
    } else if (path[strlen(path) - 1] == '/') {
        fault(check, id, id, "ends like a directory, must be the path of a file");
        return;
    }
    check_segments_path(check, id, path);
}

/* The other place: that of segments, and not the same. */
static void check_failover(struct check *check)
{
    const enum option_id id = OPTION_output_failover_path, other = OPTION_output_file_path;
    const char *path = check->config->output_failover_path;
    const char *output = check->config->output_file_path;
    char directory[PATH_MAX], output_directory[PATH_MAX];
    struct stat status, output_status;

    if (!good(check, id) || !good(check, other) || *path == '\0')
        return;
    if (stat(output, &output_status) == 0 && !S_ISREG(output_status.st_mode)) {
        fault(check, id, other, "must be empty: output_file_path is %s and has no segments",
              kind_of_file(output_status.st_mode));
        return;
    }
    if (path[strlen(path) - 1] == '/' || (stat(path, &status) == 0 && !S_ISREG(status.st_mode))) {
        fault(check, id, id, "must be the path of a file, like output_file_path");
        return;
    }
    directory_of(path, directory);
    directory_of(output, output_directory);
    if (stat(directory, &status) == 0 && stat(output_directory, &output_status) == 0 &&
        status.st_dev == output_status.st_dev && status.st_ino == output_status.st_ino)
        fault(check, id, other,
              "must be in another directory than output_file_path, best on another disk");
    check_segments_path(check, id, path);
}

static void check_io(struct check *check)
{
    const struct config *c = check->config;

    if (good(check, OPTION_output_io) && good(check, OPTION_output_format) &&
        c->output_format == STORE_RAW && (c->output_io == IO_URING || c->output_io == IO_PWRITE))
        fault(check, OPTION_output_io, OPTION_output_format,
              "output.io \"uring\" and \"pwrite\" are for segments, with output.format \"raw\" it "
              "must be \"auto\" or \"buffered\"");
}

/* ---- The crash buffer ------------------------------------------------------------------------- */

static void check_crash_buffer(struct check *check)
{
    const enum option_id id = OPTION_crash_buffer;
    char why[PATH_MAX + 128];
    enum crash_kind kind;
    const char *path;
    struct stat status;

    if (!good(check, id))
        return;
    if (crash_parse(check->config->crash_buffer, &kind, &path) < 0) {
        fault(check, id, id, "must be \"auto\", \"fdstore\", \"off\" or \"file:PATH\"");
        return;
    }
    if (kind != CRASH_FILE)
        return;
    if (path[0] != '/')
        fault(check, id, id, "must have an absolute path, so that the next start finds it");
    else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        fault(check, id, id, "%s is %s, must be the path of a file", path,
              kind_of_file(status.st_mode));
    else if (directory_problem(path, why))
        fault(check, id, id, "%s", why);
}

/* ---- Metrics ---------------------------------------------------------------------------------- */

/* The address alone: whether it can be had is found out when it is listened on, and keeps nobody from
 * recording. */
static void check_metrics(struct check *check)
{
    const enum option_id id = OPTION_metrics_listen;
    const char *text = check->config->metrics_listen;
    struct address address;

    if (good(check, id) && *text != '\0' && address_parse(text, &address) < 0)
        fault(check, id, id,
              "must be empty, or a numeric address with a port such as \"127.0.0.1:9471\" or "
              "\"[::1]:9471\", or \"unix:\" and an absolute path of at most 107 bytes, such as "
              "\"unix:/run/dbufd/metrics.sock\"");
}

/* ---- Cores ----------------------------------------------------------------------------------- */

static void check_cores(struct check *check, const struct cpus_system *system, enum option_id id,
                        const struct cpus_choice *choice)
{
    char allowed[128];
    cpu_set_t usable;
    const char *reason;
    int core;

    if (!good(check, id))
        return;
    core = cpus_check(system, choice, &reason);
    if (core < 0)
        return;
    CPU_AND(&usable, &system->allowed, &system->online);
    fault(check, id, id, "core %d is %s, must be of \"%s\"", core, reason,
          cpus_format(&usable, allowed, sizeof allowed));
}

static void check_cpus(struct check *check)
{
    const struct config *c = check->config;
    struct cpus_system system;

    if (good(check, OPTION_cpus_wait) && good(check, OPTION_cpus_writers) &&
        c->cpus_wait == WAIT_SPIN && c->cpus_writers.kind == CPUS_NONE)
        fault(check, OPTION_cpus_wait, OPTION_cpus_writers,
              "cpus.wait \"spin\" needs cores of its own, cpus.writers must not be \"none\"");
    if (good(check, OPTION_cpus_reader) && c->cpus_reader.kind == CPUS_LIST &&
        CPU_COUNT(&c->cpus_reader.list) > 1)
        fault(check, OPTION_cpus_reader, OPTION_cpus_reader,
              "must be one core, there is one reader");
    if (c->cpus_writers.kind != CPUS_LIST && c->cpus_reader.kind != CPUS_LIST)
        return;
    const int rc = cpus_read_system("/sys/devices/system/cpu", &system);

    if (rc < 0) {
        const enum option_id id =
            c->cpus_writers.kind == CPUS_LIST ? OPTION_cpus_writers : OPTION_cpus_reader;

        fault(check, id, id,
              "the cores of this machine cannot be read from /sys/devices/system/cpu (%s), must be "
              "\"none\"",
              strerror(-rc));
        return;
    }
    check_cores(check, &system, OPTION_cpus_writers, &c->cpus_writers);
    check_cores(check, &system, OPTION_cpus_reader, &c->cpus_reader);
}

unsigned config_check(const struct config *config, const struct option_origin origins[OPTION_COUNT],
                      FILE *errors)
{
    struct check check = {.config = config, .origins = origins, .errors = errors};

    check_capacity(&check);
    check_segments(&check);
    check_rotation(&check);
    check_source(&check);
    check_output(&check);
    check_failover(&check);
    check_io(&check);
    check_crash_buffer(&check);
    check_metrics(&check);
    check_cpus(&check);
    return check.faults;
}
