/* SPDX-License-Identifier: MIT
 *
 * One round of one contestant, in a child process with a deadline, so that a contestant that does
 * not end can be stopped, and that no round inherits another's memory.
 */
#ifndef DBUFD_BENCH_BUFFER_ROUND_H
#define DBUFD_BENCH_BUFFER_ROUND_H

#include "buffer.h"

enum { METRICS = 3 };

struct round {
    /* Fills in the metrics; runs in the child. */
    void (*run)(const struct round *round, double *metrics);
    const struct contestant *contestant; /* NULL: run needs none */
    unsigned writers;
    size_t min_bytes, max_bytes;
    uint64_t blocks;          /* of each writer */
    unsigned limit_ms;        /* 0: until all blocks are written */
    uint32_t samples;         /* of what run measures by itself */
    double percents[METRICS]; /* which percentiles run_latency gives */
};

/* True: metrics are there. False: it was stopped at limit_s. Ends the process if the child failed.
 */
bool round_run(const struct round *round, double limit_s, double *ret_metrics);

/* What a round can measure; metrics[i] is: */
void run_blocks(const struct round *round, double *metrics);   /* 0: million blocks a second */
void run_bytes(const struct round *round, double *metrics);    /* 0: GB of data a second */
void run_latency(const struct round *round, double *metrics);  /* i: percents[i] of one write, ns */
void run_fairness(const struct round *round, double *metrics); /* 0: most bytes / fewest bytes */
/* 0 and 1: p50 and p99, ns, of */
void run_swap(const struct round *round, double *metrics);       /* a write that swaps the halves */
void run_futex_call(const struct round *round, double *metrics); /* waking a sleeper: the call */
void run_wake(const struct round *round, double *metrics); /* release to end of a held write */
void run_futex_wake(const struct round *round, double *metrics); /* the call until it runs */

/* What two readings of the clock and nothing between them take; is taken off every sample. */
uint32_t clock_cost_ticks(void);
double ns_of_ticks(double ticks);

/* The percentile of samples in ticks, in ns and without the clock's own cost. Sorts them. */
double percentile_ns(uint32_t *samples, size_t count, double percent);

#endif
