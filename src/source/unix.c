/* SPDX-License-Identifier: MIT
 *
 * unix: blocks from whoever connects to a socket in the file system (SOCK_STREAM).
 *
 * The writers share one listening socket, or have one each if the path has %w. Whoever of them is free
 * takes the next connection, and has it until its sender goes. A connection has a stage of its own,
 * allocated when it is taken (framing none: none), so frames of two senders never mix.
 *
 * Happy path: source_wait takes connections and puts those that have something to say into the queue;
 * source_produce takes the first of the queue, reads, gives one block of it, and puts it at the end.
 * So each sender has its turn, and its blocks are in their order. Only the pieces of a frame longer than a
 * block come without another's block in between: until that frame is whole its sender holds the turn.
 * Every LOOK_AROUND blocks source_produce says -EAGAIN: source_wait then looks for others.
 *
 * End of a sender: what was read comes out, a frame that is not whole marked as cut, and counted. The source
 * itself goes on.
 * Failure modes: a wrong count ends that connection, and is counted. No more memory, or only the descriptors
 * that the recording itself needs: no further connection is taken until one ends, or a while has passed;
 * senders wait in the backlog.
 * On stop: every connection is shut down for more, so its sender's next write fails; what senders have
 * written before is read to its end. Who was not yet taken from the backlog has to wait for the next
 * who listens.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "clock.h"
#include "framing.h"
#include "kind.h"

enum {
    CONNECTIONS_MAX = SOURCE_CONNECTIONS_MAX,
    EVENTS = 64,
    LOOK_AROUND = 256, /* blocks */
    RETRY_MS = 100,    /* after there was no descriptor or memory for a connection */
    LEFT_PART = 16     /* one in so many descriptors no connection takes */
};

struct connection {
    int fd;
    bool ended; /* no more bytes come */
    bool queued;
    struct connection *next;          /* in the queue */
    struct connection *older, *newer; /* in the list of all */
    struct framing frames;
};

struct unix_source {
    struct source source;
    int listener, epoll, stop_fd; /* [I] */
    enum source_framing framing;  /* [I] */
    size_t max_block;             /* [I] */

    /* The writer's own. */
    struct connection *newest;       /* the list of all */
    unsigned count;                  /* of them */
    struct connection *first, *last; /* the queue */
    struct connection *holder;       /* first in the queue, in the middle of a frame in pieces */
    unsigned blocks;                 /* since it looked around */
    bool listening;                  /* the listener is in the epoll set */
    int64_t retry_ms;                /* there was no descriptor or memory; to be tried again */
    bool stopping;
};

/* ---- The listening socket -------------------------------------------------------------------- */

/* Whether `fd` listens at this address, and its file is still there. */
static bool is_ours(int fd, const struct sockaddr_un *address)
{
    struct sockaddr_un bound = {0};
    struct stat status;
    socklen_t bytes = sizeof(bound), value_bytes = sizeof(int);
    int listens = 0;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &value_bytes) == 0 &&
           listens && getsockname(fd, (struct sockaddr *)&bound, &bytes) == 0 &&
           bound.sun_family == AF_UNIX &&
           strncmp(bound.sun_path, address->sun_path, sizeof(bound.sun_path)) == 0 &&
           lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode);
}

static int open_listener(const char *path, int handed_fd)
{
    struct address address;
    struct listener listener;
    int rc = address_of_path(path, &address);
    if (rc == 0 && is_ours(handed_fd, &address.un)) {
        int fd = fcntl(handed_fd, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    if (rc == 0)
        rc = address_listen(&address, NULL, &listener);
    return rc < 0 ? rc : listener.fd;
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void enqueue(struct unix_source *u, struct connection *c)
{
    if (c->queued)
        return;
    c->queued = true;
    c->next = NULL;
    if (u->last)
        u->last->next = c;
    else
        u->first = c;
    u->last = c;
}

static struct connection *dequeue(struct unix_source *u)
{
    struct connection *c = u->first;
    u->first = c->next;
    if (!u->first)
        u->last = NULL;
    c->queued = false;
    return c;
}

/* Not one in the queue. */
static void drop_connection(struct unix_source *u, struct connection *c)
{
    assert(!c->queued);
    if (c->newer)
        c->newer->older = c->older;
    else
        u->newest = c->older;
    if (c->older)
        c->older->newer = c->newer;
    u->count--;
    close(c->fd); /* and is out of the epoll set */
    framing_close(&c->frames);
    free(c);
}

/* Whether the listener is to be watched. Each connection wakes one writer alone. */
static void listen_or_not(struct unix_source *u, bool on)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &u->listener};
    if (on != u->listening &&
        epoll_ctl(u->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, u->listener, &event) == 0)
        u->listening = on;
}

/* Another writer at the same socket may have been woken for a connection and ended without taking it, and
 * nobody is woken for it again: who looks anew sees it. */
static void unix_begin_at(struct source *source, uint64_t next_block)
{
    (void)next_block;
    listen_or_not((struct unix_source *)source, false); /* source_wait turns it on again */
}

/* Whether a connection leaves descriptors to those who record: a segment, a reload, whoever reads metrics. */
static bool has_descriptor(const struct unix_source *u)
{
    const int lowest_free = fcntl(u->listener, F_DUPFD_CLOEXEC, 0);
    struct rlimit limit;
    if (lowest_free < 0)
        return false;
    close(lowest_free);
    return getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
           (rlim_t)lowest_free < limit.rlim_cur - limit.rlim_cur / LEFT_PART;
}

/* Takes one connection, if there is one. */
static void take_connection(struct unix_source *u)
{
    if (!has_descriptor(u)) {
        u->retry_ms = source_now_ms() + RETRY_MS;
        return;
    }
    int fd = accept4(u->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            u->retry_ms = source_now_ms() + RETRY_MS;
        return;
    }
    struct connection *c = calloc(1, sizeof(*c));
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (!c ||
        (u->framing != FRAMING_NONE && framing_open(&c->frames, u->framing, u->max_block) < 0) ||
        epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        if (c)
            framing_close(&c->frames);
        free(c);
        close(fd); /* its sender sees that, and may come again */
        u->retry_ms = source_now_ms() + RETRY_MS;
        return;
    }
    c->fd = fd;
    c->older = u->newest;
    if (u->newest)
        u->newest->newer = c;
    u->newest = c;
    u->count++;
    enqueue(u, c); /* what it has said may be there already */
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static void unix_close(struct source *source)
{
    struct unix_source *u = (struct unix_source *)source;
    while (u->first)
        (void)dequeue(u);
    while (u->newest)
        drop_connection(u, u->newest);
    if (u->epoll >= 0)
        close(u->epoll);
    if (u->listener >= 0)
        close(u->listener);
    free(u);
}

static int open_descriptors(struct unix_source *u, const struct source_options *options)
{
    char *path = source_expand_path(options->path, options->writer);
    if (!path)
        return -ENOMEM;
    u->listener = open_listener(path, options->handed_fd);
    free(path);
    if (u->listener < 0)
        return u->listener;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &u->stop_fd};
    u->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (u->epoll < 0 ||
        (u->stop_fd >= 0 && epoll_ctl(u->epoll, EPOLL_CTL_ADD, u->stop_fd, &event) != 0))
        return -errno;
    return 0;
}

static int unix_open(struct source **ret, const struct source_options *options)
{
    struct unix_source *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->source.ops = &source_unix_ops;
    u->listener = u->epoll = -1;
    u->stop_fd = options->stop_fd;
    u->framing = options->framing;
    u->max_block = options->max_block;
    int rc = open_descriptors(u, options);
    if (rc < 0) {
        unix_close(&u->source);
        return rc;
    }
    *ret = &u->source;
    return 0;
}

static int unix_descriptor(const struct source *source)
{
    return ((const struct unix_source *)source)->listener;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* Reads once: the bytes; 0: none now, or never again (c->ended). A sender that died says ECONNRESET. */
static size_t read_some(struct connection *c, void *room, size_t room_bytes)
{
    ssize_t got;
    do
        got = read(c->fd, room, room_bytes);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        return (size_t)got;
    c->ended = got == 0 || errno != EAGAIN;
    return 0;
}

/* 1: a block; 0: the connection has come to its end; -EAGAIN: nothing now; -EBADMSG: a wrong count. */
static int produce_bytes(struct connection *c, void *room, size_t limit, struct block_info *ret)
{
    const size_t got = read_some(c, room, limit);
    if (got == 0)
        return c->ended ? 0 : -EAGAIN;
    *ret = (struct block_info){.bytes = got};
    return 1;
}

/* The same. */
static int produce_frame(struct connection *c, void *room, size_t limit, struct block_info *ret)
{
    for (;;) {
        unsigned char *stage;
        int rc = framing_take(&c->frames, room, limit, c->ended, ret);
        if (rc != 0 || c->ended)
            return rc;
        const size_t stage_bytes = framing_room(&c->frames, &stage);
        const size_t got = read_some(c, stage, stage_bytes);
        framing_add(&c->frames, got);
        if (got == 0 && !c->ended)
            return -EAGAIN;
    }
}

/* The first of the queue has given `rc`. */
static void judge(struct unix_source *u, int rc)
{
    struct connection *c = u->first;
    const bool framed = u->framing != FRAMING_NONE;
    if (rc == 1 && framed && framing_in_pieces(&c->frames)) {
        u->holder = c;
        return;
    }
    if (rc == -EAGAIN && c == u->holder)
        return;
    u->holder = NULL;
    (void)dequeue(u);
    if (rc == 1) {
        enqueue(u, c);
    } else if (rc != -EAGAIN) {
        u->source.account.senders_broken += rc < 0;
        u->source.account.frames_unfinished += rc == 0 && framed && framing_missing(&c->frames) > 0;
        drop_connection(u, c);
    }
}

static int unix_produce(struct source *source, void *room, size_t room_bytes,
                        struct block_info *ret)
{
    struct unix_source *u = (struct unix_source *)source;
    const size_t limit = room_bytes < u->max_block ? room_bytes : u->max_block;
    if (++u->blocks >= LOOK_AROUND && !u->stopping && !u->holder) {
        u->blocks = 0;
        return -EAGAIN;
    }
    while (u->first) {
        struct connection *c = u->first;
        const bool holds = c == u->holder;
        int rc = (u->framing == FRAMING_NONE ? produce_bytes : produce_frame)(c, room, limit, ret);
        judge(u, rc);
        if (rc == 1)
            return 1;
        if (rc == -EAGAIN && holds)
            break;
    }
    return u->stopping ? 0 : -EAGAIN;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* The holder of the turn alone is waited for. As source_wait. */
static int wait_for_holder(struct unix_source *u, int64_t until_ms)
{
    struct block_info info;
    if (framing_find(&u->holder->frames, u->max_block, u->holder->ended, &info) != 0)
        return 1;
    return source_wait_readable(u->holder->fd, u->stop_fd, until_ms);
}

/* Looks for something to do, and puts all that it is told into the queue, for nobody is told twice; 1: stop
 * as well; 0; -errno. */
static int look_around(struct unix_source *u, int wait_ms)
{
    struct epoll_event events[EVENTS];
    bool connects = false, stops = false;
    int count = epoll_wait(u->epoll, events, EVENTS, wait_ms);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == &u->stop_fd)
            stops = true;
        else if (events[i].data.ptr == &u->listener)
            connects = true;
        else
            enqueue(u, events[i].data.ptr);
    }
    if (connects)
        take_connection(u);
    return stops;
}

static int unix_wait(struct source *source, int timeout_ms)
{
    struct unix_source *u = (struct unix_source *)source;
    const int64_t until_ms = timeout_ms < 0 ? -1 : source_now_ms() + timeout_ms;
    u->blocks = 0;
    if (u->holder)
        return wait_for_holder(u, until_ms);
    while (!u->stopping) {
        int left_ms = source_left_ms(until_ms);
        if (u->retry_ms != 0 && u->retry_ms <= source_now_ms())
            u->retry_ms = 0;
        listen_or_not(u, u->count < CONNECTIONS_MAX && u->retry_ms == 0);
        int wait_ms = u->first ? 0 : left_ms;
        if (u->retry_ms != 0 && (wait_ms < 0 || wait_ms > RETRY_MS))
            wait_ms = RETRY_MS;
        int rc = look_around(u, wait_ms);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        if (u->first)
            return 1;
        if (left_ms == 0)
            return 0;
    }
    return 1;
}

static void unix_stop(struct source *source)
{
    struct unix_source *u = (struct unix_source *)source;
    if (u->stopping)
        return;
    u->stopping = true;
    for (struct connection *c = u->newest; c; c = c->older) {
        (void)shutdown(c->fd, SHUT_RD); /* fails when the sender has gone: just as well */
        enqueue(u, c);
    }
}

const struct source_ops source_unix_ops = {
    .name = "unix",
    .open = unix_open,
    .begin_at = unix_begin_at,
    .close = unix_close,
    .wait = unix_wait,
    .produce = unix_produce,
    .stop = unix_stop,
    .descriptor = unix_descriptor,
};
