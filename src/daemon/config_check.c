/* SPDX-License-Identifier: MIT
 *
 * config_check: one function for each thing that can be at odds.
 *
 * Each looks only at values that are good by themselves, and says all that it finds. How a
 * fault is told is in config_fault.h, what concerns the source in config_check_source.c.
 */
#include "config_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../buffer/db.h"
#include "../disk/store.h"
#include "../source/address.h"
#include "config_check_source.h"
#include "config_fault.h"
#include "config_value.h"
#include "crash.h"
#include "sandbox.h"

/* Small segments would be mostly headers and checkpoints, and hardly hold an extent. */
#define SEGMENT_BYTES_LEAST ((uint64_t)4 << 20)

#define AGE_LEAST_NS ((uint64_t)1000000000)

/* ---- Values against each other --------------------------------------------------------------- */

static void check_capacity(struct check *check)
{
    const struct config *c = check->config;
    struct db_geometry geometry;
    char given[VALUE_TEXT_BYTES], least[VALUE_TEXT_BYTES];
    enum option_id other = OPTION_writer_count;
    size_t least_bytes;

    if (!config_good(check, OPTION_buffer_capacity) || !config_good(check, OPTION_writer_count) ||
        !config_good(check, OPTION_source_max_block))
        return;
    if (db_geometry(c->buffer_capacity, (unsigned)c->writer_count, c->source_max_block, &geometry,
                    &least_bytes) != -ENOSPC)
        return; /* the other errors are those of values out of the bounds in options.def */
    if (config_is_default(check, other))
        other = OPTION_source_max_block;
    config_fault(
        check, OPTION_buffer_capacity, other,
        "buffer_capacity \"%s\" is too small for writer_count %u and source.max_block %zu, must "
        "be at least \"%s\"",
        value_format_size(c->buffer_capacity, given), (unsigned)c->writer_count,
        (size_t)c->source_max_block,
        value_format_size((least_bytes + 1023) & ~(size_t)1023, least));
}

static void check_segments(struct check *check)
{
    const struct config *c = check->config;
    const bool sizes_good = config_good(check, OPTION_output_segment_size) &&
                            config_good(check, OPTION_output_retain_size);

    if (config_good(check, OPTION_output_segment_size) && c->output_segment_size > 0 &&
        c->output_segment_size < SEGMENT_BYTES_LEAST)
        config_fault(check, OPTION_output_segment_size, OPTION_output_segment_size,
                     "must be \"0\" (one file without an end) or at least \"4MiB\"");
    if (!sizes_good || c->output_retain_size == 0)
        return;
    if (c->output_segment_size == 0 && c->output_segment_age == 0)
        config_fault(
            check, OPTION_output_retain_size, OPTION_output_segment_size,
            "output.retain_size deletes segments and needs output.segment_size, which is \"0\"");
    else if (c->output_retain_size / 2 < c->output_segment_size)
        config_fault(check, OPTION_output_retain_size, OPTION_output_segment_size,
                     "output.retain_size must be \"0\" or at least twice output.segment_size");
}

static void check_age(struct check *check, enum option_id id, uint64_t age_ns)
{
    if (config_good(check, id) && age_ns > 0 && age_ns < AGE_LEAST_NS)
        config_fault(check, id, id, "must be \"0\" (never) or at least \"1s\"");
}

/* What deletes segments needs segments. */
static void check_rotation(struct check *check)
{
    const struct config *c = check->config;
    const bool rotates = !config_good(check, OPTION_output_segment_size) ||
                         !config_good(check, OPTION_output_segment_age) ||
                         c->output_segment_size > 0 || c->output_segment_age > 0;

    check_age(check, OPTION_output_segment_age, c->output_segment_age);
    check_age(check, OPTION_output_retain_age, c->output_retain_age);
    if (!rotates && config_good(check, OPTION_output_retain_age) && c->output_retain_age > 0)
        config_fault(
            check, OPTION_output_retain_age, OPTION_output_segment_size,
            "output.retain_age deletes segments and needs output.segment_size, which is \"0\"");
    if (!rotates && config_good(check, OPTION_output_disk_full) &&
        c->output_disk_full == FULL_ROTATE)
        config_fault(
            check, OPTION_output_disk_full, OPTION_output_segment_size,
            "output.disk_full \"rotate\" deletes segments and needs output.segment_size, which is "
            "\"0\"");
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
        config_fault(check, id, id,
                     "its file name is too long, must be at most %d bytes: the segments' numbers "
                     "are put into it",
                     OUTPUT_NAME_MAX);
    if (!config_directory_problem(path, why))
        return;
    config_fault(check, id, id, "%s", why);
    if (sandbox_inside()) {
        config_directory_of(path, why);
        sandbox_put_remedy(check->errors, why);
    }
}

static void check_output(struct check *check)
{
    const enum option_id id = OPTION_output_file_path;
    const char *path = check->config->output_file_path;
    struct stat status;

    if (!config_good(check, id))
        return;
    if (*path == '\0') {
        config_fault(check, id, id, "is empty, must be the path of a file");
        return;
    }
    if (stat(path, &status) == 0) {
        if (!config_streamable(status.st_mode))
            config_fault(check, id, id,
                         "is %s, must be the path of a file, a FIFO or a character device",
                         config_kind_of_file(status.st_mode));
        else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
            config_fault(check, id, id, "must be writable for this user: %s", strerror(errno));
        if (!S_ISREG(status.st_mode))
            return;
    } else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
        config_fault(check, id, id, "cannot be reached: %s", strerror(errno));
        return;
    } else if (path[strlen(path) - 1] == '/') {
        config_fault(check, id, id, "ends like a directory, must be the path of a file");
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

    if (!config_good(check, id) || !config_good(check, other) || *path == '\0')
        return;
    if (stat(output, &output_status) == 0 && !S_ISREG(output_status.st_mode)) {
        config_fault(check, id, other, "must be empty: output_file_path is %s and has no segments",
                     config_kind_of_file(output_status.st_mode));
        return;
    }
    if (path[strlen(path) - 1] == '/' || (stat(path, &status) == 0 && !S_ISREG(status.st_mode))) {
        config_fault(check, id, id, "must be the path of a file, like output_file_path");
        return;
    }
    config_directory_of(path, directory);
    config_directory_of(output, output_directory);
    if (stat(directory, &status) == 0 && stat(output_directory, &output_status) == 0 &&
        status.st_dev == output_status.st_dev && status.st_ino == output_status.st_ino)
        config_fault(check, id, other,
                     "must be in another directory than output_file_path, best on another disk");
    check_segments_path(check, id, path);
}

static void check_io(struct check *check)
{
    const struct config *c = check->config;

    if (config_good(check, OPTION_output_io) && config_good(check, OPTION_output_format) &&
        c->output_format == STORE_RAW && (c->output_io == IO_URING || c->output_io == IO_PWRITE))
        config_fault(
            check, OPTION_output_io, OPTION_output_format,
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

    if (!config_good(check, id))
        return;
    if (crash_parse(check->config->crash_buffer, &kind, &path) < 0) {
        config_fault(check, id, id, "must be \"auto\", \"fdstore\", \"off\" or \"file:PATH\"");
        return;
    }
    if (kind != CRASH_FILE)
        return;
    if (path[0] != '/')
        config_fault(check, id, id, "must have an absolute path, so that the next start finds it");
    else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        config_fault(check, id, id, "%s is %s, must be the path of a file", path,
                     config_kind_of_file(status.st_mode));
    else if (config_directory_problem(path, why))
        config_fault(check, id, id, "%s", why);
}

/* ---- Metrics ---------------------------------------------------------------------------------- */

/* The address alone: whether it can be had is found out when it is listened on, and keeps nobody from
 * recording. */
static void check_metrics(struct check *check)
{
    const enum option_id id = OPTION_metrics_listen;
    const char *text = check->config->metrics_listen;
    struct address address;

    if (config_good(check, id) && *text != '\0' && address_parse(text, &address) < 0)
        config_fault(
            check, id, id,
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

    if (!config_good(check, id))
        return;
    core = cpus_check(system, choice, &reason);
    if (core < 0)
        return;
    CPU_AND(&usable, &system->allowed, &system->online);
    config_fault(check, id, id, "core %d is %s, must be of \"%s\"", core, reason,
                 cpus_format(&usable, allowed, sizeof allowed));
}

static void check_cpus(struct check *check)
{
    const struct config *c = check->config;
    struct cpus_system system;

    if (config_good(check, OPTION_cpus_wait) && config_good(check, OPTION_cpus_writers) &&
        c->cpus_wait == WAIT_SPIN && c->cpus_writers.kind == CPUS_NONE)
        config_fault(
            check, OPTION_cpus_wait, OPTION_cpus_writers,
            "cpus.wait \"spin\" needs cores of its own, cpus.writers must not be \"none\"");
    if (config_good(check, OPTION_cpus_reader) && c->cpus_reader.kind == CPUS_LIST &&
        CPU_COUNT(&c->cpus_reader.list) > 1)
        config_fault(check, OPTION_cpus_reader, OPTION_cpus_reader,
                     "must be one core, there is one reader");
    if (c->cpus_writers.kind != CPUS_LIST && c->cpus_reader.kind != CPUS_LIST)
        return;
    const int rc = cpus_read_system("/sys/devices/system/cpu", &system);

    if (rc < 0) {
        const enum option_id id =
            c->cpus_writers.kind == CPUS_LIST ? OPTION_cpus_writers : OPTION_cpus_reader;

        config_fault(
            check, id, id,
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
    config_check_source(&check);
    check_output(&check);
    check_failover(&check);
    check_io(&check);
    check_crash_buffer(&check);
    check_metrics(&check);
    check_cpus(&check);
    return check.faults;
}
