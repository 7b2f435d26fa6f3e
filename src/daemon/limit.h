/* SPDX-License-Identifier: MIT
 *
 * How often one event is told: at most LIMIT_BURST times in LIMIT_WINDOW_NS, so that an event that
 * comes a hundred times a second does not push all else out of the journal. What was left out is
 * counted, and the count told once the window is over.
 *
 * Not for more than one thread at a time; notify.c has the lock.
 */
#ifndef DBUFD_DAEMON_LIMIT_H
#define DBUFD_DAEMON_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum { LIMIT_BURST = 20 };
#define LIMIT_WINDOW_NS ((uint64_t)60 * 1000000000)

/* All zero: nothing was told yet. */
struct limit {
    uint64_t begun_ns; /* of the window */
    uint64_t told;     /* in it */
    uint64_t left_out; /* in it */
};

/* Counts one more at `now_ns` of a clock that does not go back; whether it may be told. After a
 * window that is over, limit_over comes first. */
bool limit_allow(struct limit *limit, uint64_t now_ns);

/* Whether a window with something left out is over (or shall count as over: `end`); *ret_left_out
 * is then how much that was, and will not be told of again. */
bool limit_over(struct limit *limit, uint64_t now_ns, bool end, uint64_t *ret_left_out);

#endif
