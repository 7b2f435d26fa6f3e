/* SPDX-License-Identifier: MIT
 *
 * What stands between the service and a folder that is not its own: systemd keeps everything but
 * /var/lib/dbufd read-only for it, and some of it out of its sight. With notify.c the only one to see
 * libsystemd. Main thread.
 */
#ifndef DBUFD_DAEMON_SANDBOX_H
#define DBUFD_DAEMON_SANDBOX_H

#include <stdbool.h>
#include <stdio.h>

#include "../source/address.h"

/* Whether this process is a service of the system's. */
bool sandbox_inside(void);

/* Writes what an administrator has to do so that the service may write to `directory`: the lines for
 * `systemctl edit` and the commands, each line indented. Nothing, if the folder is the service's. */
void sandbox_put_remedy(FILE *out, const char *directory);

/* For a configuration that is the service's, looked at from outside of it: whether the installed
 * service could write to the folder of `path`. If not, writes why and what to do. It asks the service
 * manager; where there is none, or no such service, nothing stands between. */
bool sandbox_check(FILE *out, const char *key, const char *path);

/* Likewise of a network: whether the installed service has the one of this address, of IPv4 or IPv6. */
bool sandbox_check_network(FILE *out, const char *key, const char *text,
                           const struct address *address);

/* Writes what an administrator has to do for a network. `local`: for programs of this machine alone. */
void sandbox_put_network_remedy(FILE *out, bool local);

/* Whether this process may have no sockets of the network: what its sandbox refuses. */
bool sandbox_network_closed(void);

#endif
