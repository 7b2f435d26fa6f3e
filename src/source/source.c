/* SPDX-License-Identifier: MIT
 *
 * source: the table of kinds, and the way to them.
 *
 * A new kind is a new file, a line in enum source_kind, and a line here.
 */
#include "source.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kind.h"

static const struct source_ops *const kinds[] = {
    [SOURCE_RANDOM] = &source_random_ops,
    [SOURCE_PIPE] = &source_pipe_ops,
    [SOURCE_UNIX] = &source_unix_ops,
    [SOURCE_UDP] = &source_udp_ops,
};
enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

int source_open(struct source **ret, const struct source_options *options)
{
    assert((unsigned)options->kind < KIND_COUNT);
    assert(options->max_block >= 1);
    return kinds[options->kind]->open(ret, options);
}

void source_begin_at(struct source *source, uint64_t next_block)
{
    if (source->ops->begin_at)
        source->ops->begin_at(source, next_block);
}

void source_close(struct source *source)
{
    if (source)
        source->ops->close(source);
}

int source_wait(struct source *source, int timeout_ms)
{
    return source->ops->wait(source, timeout_ms);
}

int source_produce(struct source *source, void *room, size_t room_bytes, struct block_info *ret)
{
    assert(room_bytes >= 1);
    return source->ops->produce(source, room, room_bytes, ret);
}

void source_stop(struct source *source)
{
    source->ops->stop(source);
}

const struct source_account *source_account(const struct source *source)
{
    return &source->account;
}

int source_descriptor(const struct source *source)
{
    return source->ops->descriptor ? source->ops->descriptor(source) : -1;
}

void source_leave(const struct source *source)
{
    if (source->ops->leave)
        source->ops->leave(source);
}

int source_wait_readable(int fd, int stop_fd, int64_t until_ms)
{
    struct pollfd fds[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    for (;;) {
        int rc = poll(fds, 2, source_left_ms(until_ms));
        if (rc < 0 && errno != EINTR)
            return -errno;
        if (rc >= 0)
            return rc > 0 && !fds[0].revents;
    }
}

char *source_expand_path(const char *path, unsigned writer)
{
    char *expanded = NULL;
    size_t bytes;
    FILE *out = open_memstream(&expanded, &bytes);
    if (!out)
        return NULL;
    for (const char *w; (w = strstr(path, "%w")); path = w + 2)
        fprintf(out, "%.*s%u", (int)(w - path), path, writer);
    fputs(path, out);
    bool whole = !ferror(out);
    if (fclose(out) == 0 && whole)
        return expanded;
    free(expanded);
    return NULL;
}

const char *source_kind_name(enum source_kind kind)
{
    return (unsigned)kind < KIND_COUNT ? kinds[kind]->name : NULL;
}
