/* SPDX-License-Identifier: MIT
 *
 * Compares the double buffer with plain memcpy and with the queues that people would pick instead.
 *
 *   BENCH_QUICK=1      a few cases with little data, within 45 s
 *   BENCH_CASE=TEXT    only the cases whose names contain TEXT
 *   BENCH_PEER=TEXT    only the peers whose names contain TEXT
 *   BENCH_MS=TIME      how long the writers write in each round, instead of 300 (quick: 50);
 *                      half of it before, to warm up
 *
 * Every contestant does one round in turn, ROUNDS times; medians are printed, one line a peer:
 *
 *   bench buffer <case> dbufd=<number> <peer>=<number> unit=<unit> ratio=<dbufd/peer>
 *
 * In a round the writers warm up and then write for a fixed time; what counts is how many blocks
 * they wrote, by the time until the reader had taken out and checked the last of them. A peer that
 * twice would need more than 20 times dbufd's time for as many blocks, or is not done by then with
 * what it has, is left out of the further rounds: <peer>=dnf, and how long its last round took.
 * The work is the same for all, see buffer.h; the bound of 100 MB in flight that queues do
 * not have, see buffer_node.h.
 *
 * Queues carry pointers to blocks. From an arena of each writer they are up to ten times as fast as
 * with malloc (jemalloc) and free, so all have arenas: in effect a ring of bytes for each writer,
 * which is more than a queue brings along. moodycamel+malloc is what one would write at first.
 *
 * LTTng-UST is not among the peers: its buffers are read by a daemon of its own, in another
 * process, which cannot be made to check each block.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer_round.h"

enum { ROUNDS = 5, ENTRIES_MOST = 10, PATIENCE = 20, QUICK_S = 34, LONG_S = 60 };
enum { SETUP_S = 1 };    /* what a round may take besides */
enum { TURNS_MS = 250 }; /* until 64 threads have all had their turns on two cores */

struct entry {
    const char *name;
    struct round round;
    bool is_peer; /* else dbufd's, which peers are compared with */
    double values[METRICS][ROUNDS];
    unsigned hopeless; /* rounds */
    bool is_out;       /* it would take too long: no more rounds */
    double out_s;      /* how long its last round took */
};

struct bench {
    const char *name;
    const char *metric_names[METRICS]; /* behind the case's name; NULL: there are no more */
    const char *unit;
    struct entry entries[ENTRIES_MOST];
    unsigned entry_count;
    bool quick;
    double started_s;
    unsigned round_ms; /* how long writers write in a round of a throughput */
    unsigned done;     /* cases */
};

/* ---- A case: its entries, its rounds, its lines ---- */

static void begin(struct bench *b, const char *name, const char *unit)
{
    b->name = name;
    b->unit = unit;
    b->entry_count = 0;
    memset(b->metric_names, 0, sizeof(b->metric_names));
    b->metric_names[0] = "";
}

static bool wanted(const char *text, const char *name)
{
    return text == NULL || strstr(name, text) != NULL;
}

static void add(struct bench *b, const char *name, bool is_peer, struct round round)
{
    if (is_peer && !wanted(getenv("BENCH_PEER"), name))
        return;
    b->entries[b->entry_count++] = (struct entry){.name = name, .is_peer = is_peer, .round = round};
}

static void add_contestant(struct bench *b, const struct contestant *contestant, struct round round)
{
    round.contestant = contestant;
    add(b, contestant->name, contestant != &dbufd_by_extent && contestant != &dbufd_by_block,
        round);
}

static void add_queues(struct bench *b, struct round round)
{
    const struct contestant *const all[] = {&moodycamel_queue, &moodycamel_malloc, &wfcqueue,
                                            &ck_ring_mpsc,     &gasyncqueue,       &rte_ring_rts};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (!b->quick || all[i] != &moodycamel_malloc)
            add_contestant(b, all[i], round);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Whether a peer would need more than PATIENCE times dbufd's time for the same blocks. */
static bool is_hopeless(const struct entry *dbufd, const struct entry *peer, unsigned r)
{
    const bool more_is_better = peer->round.run == run_blocks || peer->round.run == run_bytes;
    return more_is_better && peer->values[0][r] * PATIENCE < dbufd->values[0][r];
}

/* One round of one entry. `limit_s` is what dbufd leaves it. */
static void run_entry(const struct bench *b, struct entry *e, unsigned r, double limit_s)
{
    double metrics[METRICS] = {0};
    /* Twice, as a machine may have stood still. */
    const bool done =
        round_run(&e->round, limit_s, metrics) || round_run(&e->round, limit_s, metrics);
    for (unsigned m = 0; m < METRICS; m++)
        e->values[m][r] = metrics[m];
    e->hopeless += e->is_peer && is_hopeless(&b->entries[0], e, r);
    e->is_out = !done || e->hopeless == 2; /* once may be bad luck */
}

static void run_rounds(struct bench *b)
{
    double dbufd_s = LONG_S; /* its shortest round */
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned i = 0; i < b->entry_count; i++) {
            struct entry *e = &b->entries[i];
            if (e->is_out)
                continue;
            const double from_s = now_s();
            run_entry(b, e, r, e->is_peer ? SETUP_S + PATIENCE * dbufd_s : LONG_S);
            const double took_s = now_s() - from_s;
            if (e->is_out)
                e->out_s = took_s;
            if (!e->is_peer && took_s < dbufd_s)
                dbufd_s = took_s;
        }
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values)
{
    double sorted[ROUNDS];
    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, ROUNDS, sizeof(*sorted), by_value);
    return sorted[ROUNDS / 2];
}

static void print_line(const struct bench *b, const char *suffix, unsigned metric,
                       const struct entry *dbufd, const struct entry *peer)
{
    const double ours = median(dbufd->values[metric]);
    printf("bench buffer %s%s%s dbufd=%.4g ", b->name, suffix, b->metric_names[metric], ours);
    if (peer->is_out) {
        printf("%s=dnf unit=%s ratio=>%d after_s=%.1f\n", peer->name, b->unit, PATIENCE,
               peer->out_s);
        return;
    }
    const double theirs = median(peer->values[metric]);
    printf("%s=%.4g unit=%s ratio=%.3g\n", peer->name, theirs, b->unit, ours / theirs);
}

/* Every entry of dbufd against every peer. */
static void end(struct bench *b, const char *const *suffixes)
{
    if (!wanted(getenv("BENCH_CASE"), b->name))
        return;
    if (b->quick && now_s() - b->started_s > QUICK_S) {
        printf("# %s: left out, the time is over\n", b->name);
        return;
    }
    run_rounds(b);
    unsigned ours = 0;
    for (unsigned i = 0; i < b->entry_count; i++) {
        if (b->entries[i].is_peer)
            continue;
        for (unsigned m = 0; m < METRICS && b->metric_names[m] != NULL; m++)
            for (unsigned k = 0; k < b->entry_count; k++)
                if (b->entries[k].is_peer)
                    print_line(b, suffixes != NULL ? suffixes[ours] : "", m, &b->entries[i],
                               &b->entries[k]);
        ours++;
    }
    fflush(stdout);
    b->done++;
}

/* ---- The cases ---- */

struct size {
    const char *name;
    size_t min_bytes, max_bytes;
};

static const struct size sizes[] = {{"16B", 16, 16},
                                    {"64B", 64, 64},
                                    {"256B", 256, 256},
                                    {"1024B", 1024, 1024},
                                    {"mixed", 10, BLOCK_BYTES_MOST}};
static const struct size *const size_64 = &sizes[1], *const size_mixed = &sizes[4];

static struct round round_of(const struct bench *b, const struct size *size, unsigned writers)
{
    return (struct round){.run = size == size_mixed ? run_bytes : run_blocks,
                          .writers = writers,
                          .min_bytes = size->min_bytes,
                          .max_bytes = size->max_bytes,
                          .blocks = UINT64_MAX,
                          .limit_ms = b->round_ms,
                          .warm_ms = b->round_ms / 2};
}

static void throughput(struct bench *b, const struct size *size, unsigned writers)
{
    static const char *const suffixes[] = {"-by-extent", "-by-block"};
    char name[32];
    snprintf(name, sizeof(name), "%s-%uw", size->name, writers);
    begin(b, name, size == size_mixed ? "GB/s" : "Mblocks/s");
    const struct round round = round_of(b, size, writers);
    add_contestant(b, &dbufd_by_extent, round);
    add_contestant(b, &dbufd_by_block, round);
    add_contestant(b, &plain_memcpy, round);
    add_contestant(b, &mutex_double_buffer, round);
    add_queues(b, round);
    end(b, suffixes);
}

static void oversubscription(struct bench *b)
{
    begin(b, "mixed-64w-against-2w", "GB/s");
    struct round many = round_of(b, size_mixed, 64), two = round_of(b, size_mixed, 2);
    many.limit_ms = two.limit_ms = b->round_ms > TURNS_MS ? b->round_ms : TURNS_MS;
    add_contestant(b, &dbufd_by_extent, many);
    two.contestant = &dbufd_by_extent;
    add(b, "dbufd-2w", true, two);
    end(b, NULL);
}

static void latency(struct bench *b, unsigned writers)
{
    char name[32];
    snprintf(name, sizeof(name), "latency-64B-%uw", writers);
    begin(b, name, "ns");
    b->metric_names[0] = "-p50";
    b->metric_names[1] = "-p99.9";
    b->metric_names[2] = "-p99.99";
    struct round round = round_of(b, size_64, writers);
    round.run = run_latency;
    round.limit_ms = 0;
    round.blocks = (b->quick ? 400000 : 2000000) / writers;
    round.percents[0] = 50;
    round.percents[1] = 99.9;
    round.percents[2] = 99.99;
    add_contestant(b, &dbufd_by_extent, round);
    add_contestant(b, &plain_memcpy, round);
    add_contestant(b, &mutex_double_buffer, round);
    if (b->quick)
        add_contestant(b, &moodycamel_queue, round);
    else
        add_queues(b, round);
    end(b, NULL);
}

static void fairness(struct bench *b)
{
    begin(b, "fairness-4w", "most/fewest");
    struct round round = round_of(b, size_mixed, 4);
    round.run = run_fairness;
    round.blocks = UINT64_MAX;
    round.limit_ms = 10000;
    add_contestant(b, &dbufd_by_extent, round);
    add_contestant(b, &plain_memcpy, round);
    end(b, NULL);
}

/* A step of the double buffer against the one system call that it cannot do without. */
static void step(struct bench *b, const char *name, void (*ours)(const struct round *, double *),
                 void (*floor)(const struct round *, double *))
{
    const uint32_t samples = b->quick ? 300 : 3000;
    begin(b, name, "ns");
    b->metric_names[0] = "-p50";
    b->metric_names[1] = "-p99";
    add(b, "dbufd", false, (struct round){.run = ours, .samples = samples});
    add(b, "futex", true, (struct round){.run = floor, .samples = samples});
    end(b, NULL);
}

static void all_throughputs(struct bench *b)
{
    static const unsigned writers[] = {1, 2, 4, 16, 64};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++)
        for (size_t w = 0; w < sizeof(writers) / sizeof(*writers); w++)
            throughput(b, &sizes[s], writers[w]);
}

int main(void)
{
    static struct bench b;
    b.started_s = now_s();
    b.quick = getenv("BENCH_QUICK") != NULL && strcmp(getenv("BENCH_QUICK"), "1") == 0;
    b.round_ms = getenv("BENCH_MS") != NULL ? (unsigned)atoi(getenv("BENCH_MS"))
                 : b.quick                  ? 50
                                            : 300;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);

    printf("# %ld cores, bound 100 MB, medians of %d rounds; clock %.1f ns, taken off\n", cores,
           ROUNDS, ns_of_ticks(clock_cost_ticks()));
    fflush(stdout);
    /* One core is the reader's. */
    const unsigned alone = cores > WRITERS_MOST ? WRITERS_MOST
                           : cores > 1          ? (unsigned)cores - 1
                                                : 1;
    if (b.quick && getenv("BENCH_CASE") == NULL) { /* what matters most comes first */
        throughput(&b, size_mixed, 4);
        throughput(&b, size_64, 4);
    } else {
        all_throughputs(&b);
        latency(&b, 16);
    }
    step(&b, "swap-gap-1w", run_swap_gap, run_futex_call);
    step(&b, "swap-write-1w", run_swap_write, run_futex_call);
    step(&b, "held-write-1w", run_wake, run_futex_wake);
    oversubscription(&b);
    latency(&b, alone);
    if (!b.quick || getenv("BENCH_CASE") != NULL)
        fairness(&b);
    if (b.done == 0)
        die("no case has that in its name", 0);
    return 0;
}
