/* SPDX-License-Identifier: MIT
 *
 * pipe: blocks from a FIFO, from standard input, or from any file that can be read from beginning
 * to end (a regular file, a character device).
 *
 * Happy path, framing none: source_wait sees the descriptor readable, source_produce reads right
 * into the room, up to max_block bytes: the bytes become blocks as they come.
 * Happy path, framing lines: source_wait reads into the stage (memory of our own, because a line's
 * end is known only when it is there) until the next block is known; source_produce copies it out.
 * A line longer than a block comes out in pieces, all but the last marked BLOCK_CUT. So the blocks
 * in turn, with a newline behind each BLOCK_LINE, are the exact bytes that came in.
 *
 * End: when everything has come out and the last sender has gone. A FIFO that no sender has opened
 * yet has not ended: it is never read before poll has seen a sender.
 * Failure modes: a read that fails breaks the source. What was staged before comes out first.
 * On stop: what is staged comes out, the begun line too (unmarked, as if the source ended there).
 * What was not read stays in the pipe.
 *
 * A FIFO's description is ours and does not block. Standard input's is shared with whoever started
 * us (a terminal, the other end's shell), and O_NONBLOCK would hit them too; so it is left as it
 * is, and every read has a poll before it. Reading a regular file may wait for its disk.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../disk/format.h"
#include "kind.h"

enum { READ_BYTES_MIN = 64 * 1024 }; /* room for a read into the stage; a pipe holds as much */

struct pipe_source {
    struct source source;
    int fd;           /* [I] */
    bool is_stdin;    /* [I] not ours to close, and reading it may block */
    int stop_fd;      /* [I] */
    bool lines;       /* [I] */
    size_t max_block; /* [I] */

    /* The writer's own. */
    bool readable; /* a read will not block and will not take a missing sender for the end */
    bool ended;    /* nothing more is read: end of file, an error, or stopped */
    int error;     /* why, if it was an error: positive errno */

    /* Framing lines: stage[from..to) was read and has not come out. */
    unsigned char *stage;
    size_t stage_bytes; /* READ_BYTES_MIN + max_block */
    size_t from, to;
    size_t searched; /* of those, the first so many hold no newline */
    size_t limit;    /* the longest block that was last asked for */
};

/* ---- Opening --------------------------------------------------------------------------------- */

/* The path with the writer's index for each %w. To be freed; NULL: no memory. */
static char *expand_path(const char *path, unsigned writer)
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

/* Opens the file at `path`; makes a FIFO if nothing is there. The descriptor or -errno. */
static int open_path(const char *path)
{
    enum { FLAGS = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY };
    const mode_t mode = 0660;

    int fd = open(path, FLAGS);
    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : -errno;

    bool made = mkfifo(path, mode) == 0;
    if (!made && errno != EEXIST) /* somebody else was faster: just as well */
        return -errno;
    fd = open(path, FLAGS);
    if (fd < 0)
        return -errno;
    /* A umask of 022 would shut out the group, which is there to send. */
    if (made && fchmod(fd, mode) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static void pipe_close(struct source *source)
{
    struct pipe_source *p = (struct pipe_source *)source;
    if (!p->is_stdin && p->fd >= 0)
        close(p->fd); /* it was only read: there is nothing to fail */
    free(p->stage);
    free(p);
}

/* Sets p->fd. */
static int open_descriptor(struct pipe_source *p, const struct source_options *options)
{
    p->is_stdin = strcmp(options->path, "-") == 0;
    if (p->is_stdin) {
        p->fd = STDIN_FILENO;
    } else {
        char *path = expand_path(options->path, options->writer);
        if (!path)
            return -ENOMEM;
        p->fd = open_path(path);
        free(path);
        if (p->fd < 0)
            return p->fd;
    }
    struct stat status;
    if (fstat(p->fd, &status) != 0)
        return -errno;
    return S_ISDIR(status.st_mode) ? -EISDIR : 0;
}

static int pipe_open(struct source **ret, const struct source_options *options)
{
    assert(options->path);
    struct pipe_source *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->source.ops = &source_pipe_ops;
    p->fd = -1;
    p->stop_fd = options->stop_fd;
    p->lines = options->framing == FRAMING_LINES;
    p->max_block = p->limit = options->max_block;

    int rc = 0;
    if (p->lines) {
        p->stage_bytes = READ_BYTES_MIN + options->max_block;
        p->stage = malloc(p->stage_bytes);
        if (!p->stage)
            rc = -ENOMEM;
    }
    if (rc == 0)
        rc = open_descriptor(p, options);
    if (rc != 0) {
        pipe_close(&p->source);
        return rc;
    }
    *ret = &p->source;
    return 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* Reads once, into `room`, without ever waiting; notes what became of the source. The bytes that
 * came; 0: none now, or never again (p->ended). */
static size_t read_some(struct pipe_source *p, void *room, size_t room_bytes)
{
    ssize_t got;
    do
        got = read(p->fd, room, room_bytes);
    while (got < 0 && errno == EINTR);

    p->readable = got > 0 && !p->is_stdin; /* another read of standard input might block */
    if (got > 0)
        return (size_t)got;
    if (got < 0 && errno == EAGAIN)
        return 0;
    p->ended = true;
    p->error = got < 0 ? errno : 0;
    return 0;
}

/* Reads into the stage. There is nothing left in it but the begin of a line no longer than
 * max_block: once that is moved to the front, READ_BYTES_MIN are free. */
static void refill(struct pipe_source *p)
{
    if (p->from == p->to || p->stage_bytes - p->to < READ_BYTES_MIN) {
        memmove(p->stage, p->stage + p->from, p->to - p->from);
        p->to -= p->from;
        p->from = 0;
    }
    assert(p->stage_bytes - p->to >= READ_BYTES_MIN);
    p->to += read_some(p, p->stage + p->to, p->stage_bytes - p->to);
}

/* Finds the next block in the stage, at most `limit` bytes: true, its bytes and flags, and how many
 * bytes of the stage it takes. */
static bool find_line(struct pipe_source *p, size_t limit, struct block_info *ret,
                      size_t *ret_taken)
{
    size_t staged = p->to - p->from;
    size_t search_end =
        staged > limit ? limit + 1 : staged; /* a newline may stand behind limit bytes */
    const unsigned char *line = p->stage + p->from;

    if (p->searched < search_end) {
        const unsigned char *newline = memchr(line + p->searched, '\n', search_end - p->searched);
        if (newline) {
            *ret = (struct block_info){.bytes = (size_t)(newline - line), .flags = BLOCK_LINE};
            *ret_taken = ret->bytes + 1;
            return true;
        }
        p->searched = search_end;
    }
    if (staged > limit)
        *ret = (struct block_info){.bytes = limit, .flags = BLOCK_CUT};
    else if (p->ended && staged > 0)
        *ret = (struct block_info){.bytes = staged};
    else
        return false;
    *ret_taken = ret->bytes;
    return true;
}

static int produce_line(struct pipe_source *p, void *room, struct block_info *ret)
{
    struct block_info info;
    size_t taken;
    if (!find_line(p, p->limit, &info, &taken))
        return p->ended ? -p->error : -EAGAIN;
    memcpy(room, p->stage + p->from, info.bytes);
    p->from += taken;
    p->searched = 0;
    *ret = info;
    return 1;
}

static int produce_bytes(struct pipe_source *p, void *room, struct block_info *ret)
{
    size_t bytes = p->readable ? read_some(p, room, p->limit) : 0;
    if (bytes == 0)
        return p->ended ? -p->error : -EAGAIN;
    *ret = (struct block_info){.bytes = bytes};
    return 1;
}

static int pipe_produce(struct source *source, void *room, size_t room_bytes,
                        struct block_info *ret)
{
    struct pipe_source *p = (struct pipe_source *)source;
    p->limit = room_bytes < p->max_block ? room_bytes : p->max_block;
    return p->lines ? produce_line(p, room, ret) : produce_bytes(p, room, ret);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool knows_what_to_say(struct pipe_source *p)
{
    struct block_info info;
    size_t taken;
    return p->ended || (p->lines && find_line(p, p->limit, &info, &taken));
}

/* Polls until the descriptor is readable (1), or until stop or `until_ms` (0; < 0: no limit). */
static int wait_readable(struct pipe_source *p, int64_t until_ms)
{
    struct pollfd fds[] = {{.fd = p->stop_fd, .events = POLLIN}, {.fd = p->fd, .events = POLLIN}};
    for (;;) {
        int64_t left_ms = until_ms - now_ms();
        int rc = poll(fds, 2, until_ms < 0 ? -1 : left_ms < 0 ? 0 : (int)left_ms);
        if (rc < 0 && errno != EINTR)
            return -errno;
        if (rc == 0 || (rc > 0 && fds[0].revents))
            return 0;
        if (rc > 0)
            return 1; /* data, the end or an error: a read will say which */
    }
}

static int pipe_wait(struct source *source, int timeout_ms)
{
    struct pipe_source *p = (struct pipe_source *)source;
    int64_t until_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;

    while (!knows_what_to_say(p)) {
        if (!p->lines || !p->readable) {
            int rc = wait_readable(p, until_ms);
            if (rc <= 0)
                return rc;
            p->readable = true;
        }
        if (!p->lines)
            return 1; /* source_produce reads by itself */
        refill(p);
    }
    return 1;
}

static void pipe_stop(struct source *source)
{
    struct pipe_source *p = (struct pipe_source *)source;
    p->ended = true;
    p->readable = false;
}

const struct source_ops source_pipe_ops = {
    .name = "pipe",
    .open = pipe_open,
    .close = pipe_close,
    .wait = pipe_wait,
    .produce = pipe_produce,
    .stop = pipe_stop,
};
