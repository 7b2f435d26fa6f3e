/* SPDX-License-Identifier: MIT
 *
 * udp: each datagram a block.
 *
 * Every writer has a socket of its own at the same address (SO_REUSEPORT): the kernel chooses by the
 * sender's address and port, so a sender's datagrams stay with one writer, in their order, as long as the
 * number of sockets is the same.
 *
 * Happy path: source_wait sees the socket readable, source_produce receives right into the room.
 * Failure modes: a datagram longer than a block is cut, and marked BLOCK_CUT: the rest is gone, as the
 * kernel keeps no rest of a datagram. When the receive buffer is full the kernel drops what comes; it
 * counts them in a u32 that wraps, and gives the count with each datagram that comes after it
 * (SO_RXQ_OVFL). What was dropped behind the last datagram is asked for (SO_MEMINFO) whenever the
 * buffer has become empty, and at the end.
 * On stop: what waits in the receive buffer at that moment comes out; senders that go on sending do not
 * prolong it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../disk/format.h"
#include "address.h"
#include "clock.h"
#include "kind.h"

enum {
    RECEIVE_BYTES = 32 << 20, /* of the receive buffer, if the kernel gives as much */
    DATAGRAM_BYTES = 64       /* more than its data, the least that a datagram takes there */
};

struct udp_source {
    struct source source;
    int fd;               /* [I] */
    int stop_fd;          /* [I] */
    size_t max_block;     /* [I] */
    size_t receive_bytes; /* [I] of the receive buffer, as the kernel counts them */

    /* The writer's own. */
    bool counting;    /* dropped has its first value */
    uint32_t dropped; /* the kernel's count, as last seen */
    bool stopping;
    size_t left_to_drain; /* while stopping */
};

/* ---- Opening --------------------------------------------------------------------------------- */

/* 0; -EINVAL: it is no address of IPv4 or IPv6; -EADDRNOTAVAIL: it is of a group. */
static int parse_address(const char *text, struct address *ret)
{
    int rc = address_parse(text, ret);
    if (rc < 0 || ret->any.sa_family == AF_UNIX)
        return -EINVAL;
    return address_is_multicast(ret) ? -EADDRNOTAVAIL : 0;
}

static bool same_address(const struct address *a, const struct address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return a->in6.sin6_port == b->in6.sin6_port &&
           memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

/* Whether `fd` is a socket for datagrams at this address. */
static bool is_ours(int fd, const struct address *address)
{
    struct address bound = {.bytes = sizeof(bound.in6)};
    socklen_t type_bytes = sizeof(int);
    int type = 0;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
           type == SOCK_DGRAM && getsockname(fd, &bound.any, &bound.bytes) == 0 &&
           same_address(&bound, address);
}

/* A socket at the address. `shared`: beside others that say the same. */
static int bind_socket(const struct address *address, bool shared)
{
    const int one = 1, bytes = RECEIVE_BYTES;
    int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* As much of it as there is to be had: who may not have more than net.core.rmem_max gets that. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0) ||
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)) != 0 ||
        bind(fd, &address->any, address->bytes) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Another program of the same user could share the address unseen, and each would get a part: the first
 * writer finds it free, or says that it is not. */
static int open_socket(const struct address *address, const struct source_options *options)
{
    if (is_ours(options->handed_fd, address)) {
        int fd = fcntl(options->handed_fd, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
    }
    if (options->writer == 0 && options->handed_fd < 0) {
        int fd = bind_socket(address, /* shared= */ false);
        if (fd < 0)
            return fd;
        close(fd);
    }
    return bind_socket(address, /* shared= */ true);
}

static void udp_close(struct source *source)
{
    struct udp_source *u = (struct udp_source *)source;
    if (u->fd >= 0)
        close(u->fd);
    free(u);
}

static int udp_open(struct source **ret, const struct source_options *options)
{
    struct address address;
    int bytes = 0;
    socklen_t length = sizeof(bytes);
    int rc = parse_address(options->address, &address);
    if (rc < 0)
        return rc;
    struct udp_source *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->source.ops = &source_udp_ops;
    u->stop_fd = options->stop_fd;
    u->max_block = options->max_block;
    u->fd = open_socket(&address, options);
    if (u->fd < 0) {
        rc = u->fd;
        udp_close(&u->source);
        return rc;
    }
    (void)getsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length);
    u->receive_bytes = (size_t)bytes;
    *ret = &u->source;
    return 0;
}

static int udp_descriptor(const struct source *source)
{
    return ((const struct udp_source *)source)->fd;
}

/* A socket that is connected gets nothing from others, and is no choice among those that share an address;
 * what lies in it stays. Its own address is one that nobody else sends from. */
static void udp_leave(const struct source *source)
{
    const int fd = udp_descriptor(source);
    struct address own = {.bytes = sizeof(own.in6)};
    if (getsockname(fd, &own.any, &own.bytes) == 0)
        (void)connect(fd, &own.any, own.bytes); /* else some come in that nobody takes */
}

/* ---- What the kernel dropped ----------------------------------------------------------------- */

/* The count may come late: what lies in the buffer has the count of when it came in. */
static void see_drops(struct udp_source *u, uint32_t count)
{
    const uint32_t more = count - u->dropped;
    if (more > INT32_MAX)
        return;
    u->source.account.kernel_drops += more;
    u->dropped = count;
}

static void ask_for_drops(struct udp_source *u)
{
    uint32_t values[SK_MEMINFO_VARS] = {0};
    socklen_t bytes = sizeof(values);
    if (getsockopt(u->fd, SOL_SOCKET, SO_MEMINFO, values, &bytes) != 0 ||
        bytes <= SK_MEMINFO_DROPS * sizeof(*values))
        return;
    if (!u->counting)
        u->dropped = values[SK_MEMINFO_DROPS]; /* of a socket that had an owner before */
    u->counting = true;
    see_drops(u, values[SK_MEMINFO_DROPS]);
}

static void see_control(struct udp_source *u, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        uint32_t count;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
            continue;
        memcpy(&count, CMSG_DATA(c), sizeof(count));
        see_drops(u, count);
    }
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static int at_end(struct udp_source *u)
{
    ask_for_drops(u);
    u->left_to_drain = 0;
    return 0;
}

static int udp_produce(struct source *source, void *room, size_t room_bytes, struct block_info *ret)
{
    struct udp_source *u = (struct udp_source *)source;
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(uint32_t))];
    struct iovec piece = {room, room_bytes < u->max_block ? room_bytes : u->max_block};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    ssize_t got;
    if (u->stopping && u->left_to_drain == 0)
        return at_end(u);
    if (!u->counting)
        ask_for_drops(u);
    do
        got = recvmsg(u->fd, &message, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EAGAIN)
        return -errno;
    if (got < 0 && u->stopping)
        return at_end(u);
    if (got < 0) {
        ask_for_drops(u); /* before a pause in which nothing comes that would say it */
        return -EAGAIN;
    }

    see_control(u, &message);
    const size_t took = (size_t)got + DATAGRAM_BYTES;
    if (u->stopping)
        u->left_to_drain -= took < u->left_to_drain ? took : u->left_to_drain;
    *ret = (struct block_info){.bytes = (size_t)got,
                               .flags = message.msg_flags & MSG_TRUNC ? BLOCK_CUT : 0};
    return 1;
}

static int udp_wait(struct source *source, int timeout_ms)
{
    struct udp_source *u = (struct udp_source *)source;
    const int64_t until_ms = timeout_ms < 0 ? -1 : source_now_ms() + timeout_ms;
    return u->stopping ? 1 : source_wait_readable(u->fd, u->stop_fd, until_ms);
}

static void udp_stop(struct source *source)
{
    struct udp_source *u = (struct udp_source *)source;
    u->stopping = true;
    u->left_to_drain = u->receive_bytes;
}

const struct source_ops source_udp_ops = {
    .name = "udp",
    .open = udp_open,
    .close = udp_close,
    .wait = udp_wait,
    .produce = udp_produce,
    .stop = udp_stop,
    .descriptor = udp_descriptor,
    .leave = udp_leave,
};
