/* SPDX-License-Identifier: MIT
 *
 * Each kind of source has what it needs, and nothing of the others.
 *
 * Failure modes: what is at a path may be gone, or come, between this look and the opening: that says so
 * then.
 */
#include "config_check_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../source/address.h"
#include "../source/source.h"
#include "sandbox.h"

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

/* One writer's path. True: there was a fault, the others' would be the same. */
static bool check_pipe_path(struct check *check, const char *path)
{
    const enum option_id id = OPTION_source_path;
    char why[PATH_MAX + 128];
    struct stat status;

    if (stat(path, &status) == 0) {
        if (!config_streamable(status.st_mode))
            config_fault(check, id, id,
                         "%s is %s, must be a FIFO, a file, a character device or \"-\"", path,
                         config_kind_of_file(status.st_mode));
        else if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0)
            config_fault(check, id, id, "%s must be readable for this user: %s", path,
                         strerror(errno));
        else
            return false;
    } else if (errno != ENOENT) {
        config_fault(check, id, id, "%s cannot be reached: %s", path, strerror(errno));
    } else if (config_directory_problem(path, why)) {
        config_fault(check, id, id, "there is no FIFO %s and it cannot be made: %s", path, why);
    } else {
        return false;
    }
    return true;
}

/* The path of each writer, or the one of all, until there is a fault. */
static void check_each_path(struct check *check,
                            bool (*check_path)(struct check *check, const char *path))
{
    const struct config *c = check->config;
    const bool numbered = strstr(c->source_path, "%w") != NULL;
    char expanded[PATH_MAX];

    for (unsigned w = 0; w < (numbered ? c->writer_count : 1); w++) {
        if (!expand_path(c->source_path, w, expanded)) {
            config_fault(check, OPTION_source_path, OPTION_source_path,
                         "is too long with the writer's index in it");
            return;
        }
        if (check_path(check, expanded))
            return;
    }
}

static void check_pipe(struct check *check)
{
    const struct config *c = check->config;
    const char *path = c->source_path;
    const bool numbered = strstr(path, "%w") != NULL;

    if (!config_good(check, OPTION_source_path))
        return;
    if (*path == '\0') {
        config_fault(check, OPTION_source_path, OPTION_source_type,
                     "source.type \"pipe\" needs source.path: a FIFO, or \"-\" for standard input");
        return;
    }
    if (!numbered && config_good(check, OPTION_writer_count) && c->writer_count != 1)
        config_fault(
            check, OPTION_writer_count, OPTION_source_path,
            "writer_count must be 1 with source.path \"%s\": one pipe feeds one writer; or put %%w "
            "into the path, which gives each of the %u writers a FIFO of its own",
            path, (unsigned)c->writer_count);
    if (strcmp(path, "-") != 0)
        check_each_path(check, check_pipe_path);
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
        config_fault(check, id, id, "%s is too long for a socket, must be at most %d bytes", path,
                     SOCKET_PATH_BYTES - 1);
    else if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
        config_fault(check, id, id,
                     "%s is %s and will not be replaced, must be the path of a socket, or free",
                     path,
                     S_ISREG(status.st_mode) ? "a file" : config_kind_of_file(status.st_mode));
    else if (config_directory_problem(path, why))
        config_fault(check, id, id, "the socket %s cannot be made: %s", path, why);
    else
        return false;
    return true;
}

static void check_unix(struct check *check)
{
    if (!config_good(check, OPTION_source_path))
        return;
    if (check->config->source_path[0] == '\0')
        config_fault(check, OPTION_source_path, OPTION_source_type,
                     "source.type \"unix\" needs source.path: where it listens, such as "
                     "\"/run/dbufd/in.sock\"");
    else
        check_each_path(check, check_socket_path);
}

static void check_udp(struct check *check)
{
    const enum option_id id = OPTION_source_address;
    const struct config *c = check->config;
    struct address address;
    const bool is_one =
        address_parse(c->source_address, &address) == 0 && address.any.sa_family != AF_UNIX;

    if (config_good(check, id) && *c->source_address == '\0')
        config_fault(check, id, OPTION_source_type,
                     "source.type \"udp\" needs source.address, such as \"127.0.0.1:5514\" or "
                     "\"[::]:5514\"");
    else if (config_good(check, id) && (!is_one || address_is_multicast(&address)))
        config_fault(
            check, id, id, "%s",
            is_one
                ? "is of a multicast group, which dbufd does not join: must be an address of this "
                  "machine"
                : "must be ADDRESS:PORT in numbers, such as \"127.0.0.1:5514\" or \"[::]:5514\", "
                  "with "
                  "a port of 1 to 65535");
    else if (config_good(check, id) && sandbox_inside() && sandbox_network_closed()) {
        config_fault(check, id, OPTION_source_type, "the service has no network; this opens it:");
        sandbox_put_network_remedy(check->errors, address_is_local(&address));
    }
    if (config_good(check, OPTION_source_framing) && c->source_framing != FRAMING_NONE)
        config_fault(
            check, OPTION_source_framing, OPTION_source_type,
            "source.framing \"%s\" needs source.type \"pipe\" or \"unix\"; of \"udp\" each "
            "datagram is "
            "a block: \"none\"",
            config_options[OPTION_source_framing].names[c->source_framing]);
}

static void check_blocks(struct check *check)
{
    const struct config *c = check->config;

    if (config_good(check, OPTION_source_min_block) &&
        config_good(check, OPTION_source_max_block) && config_good(check, OPTION_source_type) &&
        c->source_type == SOURCE_RANDOM && c->source_min_block > c->source_max_block)
        config_fault(check, OPTION_source_min_block, OPTION_source_max_block,
                     "source.min_block %llu must be at most source.max_block %llu",
                     (unsigned long long)c->source_min_block,
                     (unsigned long long)c->source_max_block);
}

void config_check_source(struct check *check)
{
    const struct config *c = check->config;

    check_blocks(check);
    if (!config_good(check, OPTION_source_type))
        return;
    if (c->source_type == SOURCE_PIPE)
        check_pipe(check);
    else if (c->source_type == SOURCE_UNIX)
        check_unix(check);
    else if (c->source_type == SOURCE_UDP)
        check_udp(check);
    else if (config_good(check, OPTION_source_framing) && c->source_framing != FRAMING_NONE)
        config_fault(check, OPTION_source_framing, OPTION_source_type,
                     "source.framing \"%s\" needs source.type \"pipe\" or \"unix\"",
                     config_options[OPTION_source_framing].names[c->source_framing]);
}
