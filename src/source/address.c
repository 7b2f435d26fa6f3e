/* SPDX-License-Identifier: MIT
 *
 * See address.h.
 *
 * Failure modes: the port or the path is somebody else's: that one keeps it, and nothing is changed.
 * A process that was killed has left its socket's file: nobody answers there, so it is replaced.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIX "unix:"

enum { HOST_BYTES = INET6_ADDRSTRLEN };

/* ---- Text ---- */

/* 0: it is no port. */
static in_port_t parse_port(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return 0;
    const long port = strtol(text, NULL, 10);
    return port <= 65535 ? (in_port_t)port : 0;
}

int address_of_path(const char *path, struct address *ret)
{
    const size_t bytes = strlen(path);
    *ret = (struct address){.bytes = 0};
    if (bytes == 0)
        return -ENOENT;
    if (bytes >= sizeof(ret->un.sun_path))
        return -ENAMETOOLONG;
    ret->un.sun_family = AF_UNIX;
    memcpy(ret->un.sun_path, path, bytes + 1);
    ret->bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + 1);
    return 0;
}

static int parse_unix(const char *path, struct address *ret)
{
    const size_t bytes = strlen(path);
    if (path[0] != '/' || path[bytes - 1] == '/')
        return -EINVAL;
    return address_of_path(path, ret) == 0 ? 0 : -EINVAL;
}

int address_parse(const char *text, struct address *ret)
{
    char host[HOST_BYTES];
    const char *colon = strrchr(text, ':');
    *ret = (struct address){.bytes = 0};
    if (strncmp(text, UNIX, strlen(UNIX)) == 0)
        return parse_unix(text + strlen(UNIX), ret);
    const in_port_t port = colon != NULL ? parse_port(colon + 1) : 0;
    if (port == 0)
        return -EINVAL;
    const bool is_6 = text[0] == '[' && colon[-1] == ']';
    const char *begin = is_6 ? text + 1 : text;
    const size_t bytes = (size_t)((is_6 ? colon - 1 : colon) - begin);
    if (bytes >= sizeof(host))
        return -EINVAL;
    memcpy(host, begin, bytes);
    host[bytes] = '\0';
    if (is_6) {
        ret->in6.sin6_family = AF_INET6;
        ret->in6.sin6_port = htons(port);
        ret->bytes = sizeof(ret->in6);
        return inet_pton(AF_INET6, host, &ret->in6.sin6_addr) == 1 ? 0 : -EINVAL;
    }
    ret->in.sin_family = AF_INET;
    ret->in.sin_port = htons(port);
    ret->bytes = sizeof(ret->in);
    return inet_pton(AF_INET, host, &ret->in.sin_addr) == 1 ? 0 : -EINVAL;
}

bool address_is_local(const struct address *address)
{
    const struct in6_addr *in6 = &address->in6.sin6_addr;
    switch (address->any.sa_family) {
    case AF_INET:
        return ntohl(address->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(in6) ||
               (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == IN_LOOPBACKNET);
    default:
        return true;
    }
}

bool address_is_multicast(const struct address *address)
{
    switch (address->any.sa_family) {
    case AF_INET:
        return IN_MULTICAST(ntohl(address->in.sin_addr.s_addr));
    case AF_INET6:
        return IN6_IS_ADDR_MULTICAST(&address->in6.sin6_addr);
    default:
        return false;
    }
}

/* ---- Sockets ---- */

/* Removes the file of a socket that nobody listens on any more. -errno: there is something else. */
static int remove_stale(const struct address *address)
{
    const char *path = address->un.sun_path;
    struct stat st;
    int rc = 0;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &address->any, address->bytes) == 0 || errno != ECONNREFUSED)
        rc = -EADDRINUSE; /* somebody is there, or it cannot be known that nobody is */
    else if (unlink(path) < 0 && errno != ENOENT)
        rc = -errno;
    (void)close(fd);
    return rc;
}

/* Listens with a unix socket. Between bind and listen nobody can connect, so its mode is right for all. */
static int listen_unix(struct listener *l)
{
    const char *path = l->address.un.sun_path;
    struct stat st;
    int rc = remove_stale(&l->address);
    if (rc < 0)
        return rc;
    if (bind(l->fd, &l->address.any, l->address.bytes) < 0)
        return -errno;
    if (chmod(path, 0660) < 0 || lstat(path, &st) < 0 || listen(l->fd, SOMAXCONN) < 0) {
        rc = -errno;
        (void)unlink(path);
        return rc;
    }
    l->device = st.st_dev;
    l->inode = st.st_ino;
    return 0;
}

static void share_port(int fd, int shared)
{
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof(shared));
}

/* Listens with a TCP socket. A port that was just left may be taken at once; one that somebody listens on
 * may not, unless it is our own: 127.0.0.1:9471 can become 0.0.0.0:9471 without a gap. */
static int listen_tcp(const struct listener *l, const struct listener *instead_of)
{
    const int on = 1;
    int rc = 0;
    const bool both =
        instead_of != NULL && instead_of->fd >= 0 && instead_of->address.any.sa_family != AF_UNIX;
    (void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (both) {
        share_port(instead_of->fd, 1);
        share_port(l->fd, 1);
    }
    if (bind(l->fd, &l->address.any, l->address.bytes) < 0 || listen(l->fd, SOMAXCONN) < 0)
        rc = -errno;
    if (both) {
        share_port(instead_of->fd, 0);
        share_port(l->fd, 0);
    }
    return rc;
}

int address_listen(const struct address *address, const struct listener *instead_of,
                   struct listener *ret)
{
    struct listener l = {.address = *address};
    const int family = address->any.sa_family;
    l.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l.fd < 0)
        return -errno;
    int rc = family == AF_UNIX ? listen_unix(&l) : listen_tcp(&l, instead_of);
    if (rc < 0) {
        (void)close(l.fd);
        return rc;
    }
    *ret = l;
    return 0;
}

void address_unlisten(struct listener *listener)
{
    const char *path = listener->address.un.sun_path;
    struct stat st;
    if (listener->fd < 0)
        return;
    if (listener->address.any.sa_family == AF_UNIX && lstat(path, &st) == 0 &&
        st.st_dev == listener->device && st.st_ino == listener->inode)
        (void)unlink(path);
    (void)close(listener->fd);
    listener->fd = -1;
}
