/* SPDX-License-Identifier: MIT
 *
 * metrics.listen: what there is to say, over HTTP, to whoever asks. metrics.c alone sees libmicrohttpd.
 *
 * It is the main thread's, and has none of its own: the figures may be gathered there alone, so that each
 * answer closes its balance, and a thread of its own would have to wait for the main thread in any case. What
 * an answer costs there is tens of microseconds of work, once for each connection in a turn of the loop,
 * between which signals, clocks and the watchdog have theirs; nothing waits for a client. Recording is other
 * threads' and does not know of it.
 *
 * A client that is slow or hostile gets: one request in a connection, METRICS_CONNECTIONS of these at a time
 * (others wait in the kernel), METRICS_MEMORY_BYTES for what it sends, and METRICS_SECONDS for all of it.
 */
#ifndef DBUFD_DAEMON_METRICS_H
#define DBUFD_DAEMON_METRICS_H

#include <stddef.h>

#include "../source/address.h"

enum { METRICS_CONNECTIONS = 16, METRICS_MEMORY_BYTES = 8192, METRICS_SECONDS = 5 };

/* The text of the moment, to be freed; NULL: no memory. */
typedef char *metrics_give(void *context, size_t *ret_bytes);

struct metrics;

/* Listens. `instead_of`: to be closed soon, and may have the same port; or NULL. -errno: as address_listen;
 * *ret untouched. Allocates. */
int metrics_open(struct metrics **ret, const struct address *address,
                 const struct metrics *instead_of, metrics_give *give, void *context);

/* Ends every connection, and the listening. NULL is fine. */
void metrics_close(struct metrics *metrics);

/* Readable: metrics_run has something to do. -1: metrics is NULL. */
int metrics_fd(const struct metrics *metrics);

/* In so many milliseconds it has in any case; -1: never. */
int metrics_due_ms(const struct metrics *metrics);

/* Does what there is to do, without waiting; connections that have had their time end. NULL is fine. */
void metrics_run(struct metrics *metrics);

#endif
