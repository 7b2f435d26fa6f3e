/* SPDX-License-Identifier: MIT
 *
 * pipe: blocks from a FIFO, from standard input, or from any file that can be read from beginning
 * to end (a regular file, a character device).
 *
 * Happy path, framing none: source_wait sees the descriptor readable, source_produce reads right
 * into the room, up to max_block bytes: the bytes become blocks as they come.
 * Happy path, other framings: source_wait reads into the stage of framing.c until the next block is
 * known; source_produce copies it out. Of lines, the blocks in turn, with a newline behind each
 * BLOCK_LINE, are the exact bytes that came in.
 *
 * End: when everything has come out and the last sender has gone. A FIFO that no sender has opened
 * yet has not ended: it is never read before poll has seen a sender.
 * Failure modes: a read that fails breaks the source, and so does a wrong count. What was staged before
 * comes out first.
 * On stop: what is staged comes out, the begun line too (unmarked, as if the source ended there). Of a
 * counted frame that has begun the rest is read, as far as it is there: who reads next finds a count. What
 * was not read stays in the pipe.
 *
 * A FIFO's description is ours and does not block. Standard input's is shared with whoever started
 * us (a terminal, the other end's shell), and O_NONBLOCK would hit them too; so it is left as it
 * is, and every read has a poll before it. Reading a regular file may wait for its disk.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "framing.h"
#include "kind.h"

struct pipe_source {
    struct source source;
    int fd;           /* [I] */
    bool is_stdin;    /* [I] not ours to close, and reading it may block */
    int stop_fd;      /* [I] */
    bool framed;      /* [I] the bytes go through the stage */
    size_t max_block; /* [I] */

    /* The writer's own. */
    bool readable;  /* a read will not block and will not take a missing sender for the end */
    bool ended;     /* nothing more is read: end of file, an error, or stopped */
    int error;      /* why, if it was an error: positive errno */
    bool finishing; /* stopped, but the frame that has begun may be read to its end */
    size_t limit;   /* the longest block that was last asked for */
    struct framing frames;
};

/* ---- Opening --------------------------------------------------------------------------------- */

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
    framing_close(&p->frames);
    free(p);
}

/* Sets p->fd. */
static int open_descriptor(struct pipe_source *p, const struct source_options *options)
{
    p->is_stdin = strcmp(options->path, "-") == 0;
    if (p->is_stdin) {
        p->fd = STDIN_FILENO;
    } else {
        char *path = source_expand_path(options->path, options->writer);
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
    p->framed = options->framing != FRAMING_NONE;
    p->max_block = p->limit = options->max_block;

    int rc = 0;
    if (p->framed)
        rc = framing_open(&p->frames, options->framing, options->max_block);
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

static void refill(struct pipe_source *p)
{
    unsigned char *room;
    size_t room_bytes = framing_room(&p->frames, &room);
    framing_add(&p->frames, read_some(p, room, room_bytes));
}

/* Stopped: reads on in a frame that has begun, no byte beyond it. False: none has, or no more is there. */
static bool read_rest(struct pipe_source *p)
{
    struct pollfd fd = {.fd = p->fd, .events = POLLIN};
    const size_t missing = framing_missing(&p->frames);
    unsigned char *room;
    if (missing == 0 || poll(&fd, 1, 0) != 1)
        return false;
    const size_t room_bytes = framing_room(&p->frames, &room);
    const size_t got = read_some(p, room, missing < room_bytes ? missing : room_bytes);
    framing_add(&p->frames, got);
    return got > 0;
}

static int produce_frame(struct pipe_source *p, void *room, struct block_info *ret)
{
    int rc;
    while ((rc = framing_take(&p->frames, room, p->limit, p->ended && !p->finishing, ret)) == 0 &&
           p->finishing)
        p->finishing = read_rest(p);
    if (rc != 0)
        return rc;
    if (!p->ended)
        return -EAGAIN;
    p->source.account.frames_unfinished = framing_missing(&p->frames) > 0;
    return -p->error;
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
    return p->framed ? produce_frame(p, room, ret) : produce_bytes(p, room, ret);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static bool knows_what_to_say(struct pipe_source *p)
{
    struct block_info info;
    return p->ended || (p->framed && framing_find(&p->frames, p->limit, false, &info) != 0);
}

static int pipe_wait(struct source *source, int timeout_ms)
{
    struct pipe_source *p = (struct pipe_source *)source;
    int64_t until_ms = timeout_ms < 0 ? -1 : source_now_ms() + timeout_ms;

    while (!knows_what_to_say(p)) {
        if (!p->framed || !p->readable) {
            int rc = source_wait_readable(p->fd, p->stop_fd, until_ms);
            if (rc <= 0)
                return rc;
            p->readable = true;
        }
        if (!p->framed)
            return 1; /* source_produce reads by itself */
        refill(p);
    }
    return 1;
}

static void pipe_stop(struct source *source)
{
    struct pipe_source *p = (struct pipe_source *)source;
    p->finishing = p->framed && !p->ended;
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
