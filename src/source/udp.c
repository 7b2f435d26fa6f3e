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
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../disk/format.h"
#include "clock.h"
#include "kind.h"

enum {
    RECEIVE_BYTES = 32 << 20, /* of the receive buffer, if the kernel gives as much */
    DATAGRAM_BYTES = 64       /* more than its data, the least that a datagram takes there */
};

struct udp_source {
    struct source source;
    int fd;           /* [I] */
    int stop_fd;      /* [I] */
    size_t max_block; /* [I] */

    /* The writer's own. */
    bool counting;    /* dropped has its first value */
    uint32_t dropped; /* the kernel's count, as last seen */
    bool stopping;
    size_t left_to_drain; /* while stopping */
};

/* ---- Opening --------------------------------------------------------------------------------- */

static bool is_multicast(const struct sockaddr_storage *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    return address->ss_family == AF_INET ? IN_MULTICAST(ntohl(v4->sin_addr.s_addr))
                                         : IN6_IS_ADDR_MULTICAST(&v6->sin6_addr);
}

int source_parse_address(const char *text, struct sockaddr_storage *ret)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon)
        return -EINVAL;
    const bool bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
    const size_t bytes = (size_t)(colon - text) - (bracketed ? 2 : 0);
    if (bytes == 0 || bytes >= sizeof(host))
        return -EINVAL;
    memcpy(host, text + (bracketed ? 1 : 0), bytes);
    host[bytes] = '\0';
    const size_t digits = strspn(colon + 1, "0123456789");
    const long port =
        digits == 0 || digits > 5 || colon[1 + digits] ? 0 : strtol(colon + 1, NULL, 10);
    if (port < 1 || port > 65535 || (strchr(host, ':') != NULL) != bracketed)
        return -EINVAL;

    const struct addrinfo hints = {.ai_family = bracketed ? AF_INET6 : AF_INET,
                                   .ai_socktype = SOCK_DGRAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return -EINVAL;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return is_multicast(ret) ? -EADDRNOTAVAIL : 0;
}

static socklen_t address_bytes(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)a,
                             *b4 = (const struct sockaddr_in *)b;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a,
                              *b6 = (const struct sockaddr_in6 *)b;
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
           memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

/* Whether `fd` is a socket for datagrams at this address. */
static bool is_ours(int fd, const struct sockaddr_storage *address)
{
    struct sockaddr_storage bound = {0};
    socklen_t bytes = sizeof(bound), type_bytes = sizeof(int);
    int type = 0;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
           type == SOCK_DGRAM && getsockname(fd, (struct sockaddr *)&bound, &bytes) == 0 &&
           same_address(&bound, address);
}

/* A socket at the address. `shared`: beside others that say the same. */
static int bind_socket(const struct sockaddr_storage *address, bool shared)
{
    const int one = 1, bytes = RECEIVE_BYTES;
    int fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* As much of it as there is to be had: who may not have more than net.core.rmem_max gets that. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0) ||
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)address, address_bytes(address)) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Another program of the same user could share the address unseen, and each would get a part: the first
 * writer finds it free, or says that it is not. */
static int open_socket(const struct sockaddr_storage *address, const struct source_options *options)
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
    struct sockaddr_storage address;
    int bytes = 0;
    socklen_t length = sizeof(bytes);
    int rc = source_parse_address(options->address, &address);
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
    u->source.account.receive_bytes = (size_t)bytes;
    *ret = &u->source;
    return 0;
}

static int udp_descriptor(const struct source *source)
{
    return ((const struct udp_source *)source)->fd;
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
    struct pollfd fds[] = {{.fd = u->stop_fd, .events = POLLIN}, {.fd = u->fd, .events = POLLIN}};
    const int64_t until_ms = timeout_ms < 0 ? -1 : source_now_ms() + timeout_ms;
    if (u->stopping)
        return 1;
    for (;;) {
        int rc = poll(fds, 2, source_left_ms(until_ms));
        if (rc < 0 && errno != EINTR)
            return -errno;
        if (rc == 0 || (rc > 0 && fds[0].revents))
            return 0;
        if (rc > 0)
            return 1;
    }
}

static void udp_stop(struct source *source)
{
    struct udp_source *u = (struct udp_source *)source;
    u->stopping = true;
    u->left_to_drain = u->source.account.receive_bytes;
}

const struct source_ops source_udp_ops = {
    .name = "udp",
    .open = udp_open,
    .close = udp_close,
    .wait = udp_wait,
    .produce = udp_produce,
    .stop = udp_stop,
    .descriptor = udp_descriptor,
};
