/* SPDX-License-Identifier: MIT
 *
 * A disk that does not answer: the reader waits in the kernel, and neither succeeds nor fails. Starting
 * dbufd anew would not make it answer, so for some time that counts as a sign of life; a reader that
 * uses the processor without coming on does not.
 *
 * The main thread's, once a second. No locks, no calls of the system.
 */
#ifndef DBUFD_DAEMON_STALL_H
#define DBUFD_DAEMON_STALL_H

#include <stdbool.h>
#include <stdint.h>

#define STALL_TOLD_NS   ((uint64_t)5 * 1000000000)   /* so long before it is told */
#define STALL_REPEAT_NS ((uint64_t)60 * 1000000000)  /* between two messages */
#define STALL_MAX_NS    ((uint64_t)600 * 1000000000) /* so long it counts as a sign of life */

/* All zero: nothing was seen yet. */
struct stall {
    uint64_t progress; /* as it was last seen */
    uint64_t since_ns; /* it has not changed; 0: it was never seen */
    uint64_t cpu_ns;   /* of the reader then */
    uint64_t told_ns;  /* 0: not told */
};

struct stall_seen {
    uint64_t now_ns;   /* CLOCK_MONOTONIC */
    uint64_t progress; /* of the reader, in any unit */
    uint64_t cpu_ns;   /* processor time that it has used */
    bool idle;         /* it rightly has nothing to do */
    bool storing;      /* it is about storing */
};

struct stall_verdict {
    bool alive;   /* a sign of life is due */
    bool tell;    /* that the disk does not answer */
    bool over;    /* it had been told, and the disk answers again */
    uint64_t sec; /* how long it has not answered, or had not */
};

struct stall_verdict stall_judge(struct stall *stall, const struct stall_seen *seen);

#endif
