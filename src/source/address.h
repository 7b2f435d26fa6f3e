/* SPDX-License-Identifier: MIT
 *
 * Addresses as a configuration has them: "127.0.0.1:9471", "[::1]:9471", "unix:/run/dbufd/a.sock".
 * Numbers alone: a name would have to be asked for, and waited for.
 *
 * Pure, but for address_listen and address_unlisten, which ask the kernel and look at the file of a unix
 * socket; they do not wait. Any thread.
 */
#ifndef DBUFD_SOURCE_ADDRESS_H
#define DBUFD_SOURCE_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct address {
    union {
        struct sockaddr any; /* any.sa_family: AF_INET, AF_INET6 or AF_UNIX */
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t bytes; /* of the one that it is */
};

/* -EINVAL: it is none: a port of 1 to 65535 behind a numeric address, or an absolute path that fits into an
 * address (107 bytes); *ret is then undefined. */
int address_parse(const char *text, struct address *ret);

/* Of a unix socket's file; the path may be relative. -ENOENT: it is empty; -ENAMETOOLONG. */
int address_of_path(const char *path, struct address *ret);

/* Whether only this machine reaches it. */
bool address_is_local(const struct address *address);

/* Whether it is of a group, and of no machine. */
bool address_is_multicast(const struct address *address);

/* A socket of streams that listens there. */
struct listener {
    int fd; /* nonblocking; -1: none */
    struct address address;
    dev_t device; /* of a unix socket, the file that was made: */
    ino_t inode;
};

/* Listens. A unix socket gets the mode 0660; one that nobody listens on any more is replaced.
 * `instead_of`: ours, to be closed soon, whose port may be the same; NULL: there is none.
 * -EADDRINUSE: somebody listens there; -ENOTSOCK: what is there is no socket; other -errno: what is there is
 * as it was, *ret untouched. */
int address_listen(const struct address *address, const struct listener *instead_of,
                   struct listener *ret);

/* Closes it, and removes the file of a unix socket, if that is still the one that was made. */
void address_unlisten(struct listener *listener);

#endif
