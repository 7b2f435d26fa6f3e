/* SPDX-License-Identifier: MIT
 *
 * Happy path: fork; the child sets up the load and the contestant, starts the clock when all
 * threads are there, and leaves the metrics in shared memory. The clock runs from the first thread
 * that starts to the end of the reader (of the last writer, if there is none). Failure: a child
 * that is late is killed; one that fails ends the benchmark.
 */
#include "buffer_round.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CAPACITY_BYTES = 100000000 };

struct field {
    const struct contestant *contestant;
    struct load load;
    void *queue;
    struct tally tally;
    pthread_barrier_t start;
    double first_s; /* when the first thread started; with the mutex */
    double last_s;
    pthread_mutex_t mutex;
};

struct runner {
    struct field *field;
    struct lane *lane;
    pthread_t thread;
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void note_times(struct field *f, double started_s, double ended_s)
{
    pthread_mutex_lock(&f->mutex);
    if (f->first_s == 0 || started_s < f->first_s)
        f->first_s = started_s;
    if (ended_s > f->last_s)
        f->last_s = ended_s;
    pthread_mutex_unlock(&f->mutex);
}

static void *write_thread(void *arg)
{
    struct runner *runner = arg;
    struct field *f = runner->field;
    pthread_barrier_wait(&f->start);
    const double started_s = now_s();
    f->contestant->write_all(f->queue, runner->lane);
    note_times(f, started_s, now_s());
    return NULL;
}

static void *read_thread(void *arg)
{
    struct field *f = arg;
    pthread_barrier_wait(&f->start);
    const double started_s = now_s();
    f->contestant->read_all(f->queue, &f->tally);
    note_times(f, started_s, now_s());
    return NULL;
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void *need_memory(size_t bytes)
{
    void *memory = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE);
    if (memory == NULL)
        die("memory", ENOMEM);
    memset(memory, 0, bytes);
    return memory;
}

static void lane_open(struct lane *lane, const struct round *round, unsigned writer)
{
    uint64_t random = 88172645463325252ULL + writer;
    uint32_t *lengths = need_memory(LENGTHS * sizeof(*lengths));
    for (unsigned i = 0; i < LENGTHS; i++)
        lengths[i] = (uint32_t)(round->min_bytes +
                                random_next(&random) % (round->max_bytes - round->min_bytes + 1));
    unsigned char *source = need_memory(SOURCE_BYTES);
    for (unsigned i = 0; i < SOURCE_BYTES; i++)
        source[i] = (unsigned char)random_next(&random);
    *lane = (struct lane){.writer = writer, .lengths = lengths, .source = source};
    lane->end = round->blocks;
    if (round->run == run_latency)
        lane->ticks = need_memory(round->blocks * sizeof(*lane->ticks));
}

static void field_open(struct field *f, const struct round *round)
{
    *f = (struct field){.contestant = round->contestant,
                        .load = {.writers = round->writers,
                                 .min_bytes = round->min_bytes,
                                 .max_bytes = round->max_bytes,
                                 .capacity_bytes = CAPACITY_BYTES,
                                 .blocks = UINT64_MAX}};
    f->load.lanes = need_memory(round->writers * sizeof(*f->load.lanes));
    for (unsigned i = 0; i < round->writers; i++)
        lane_open(&f->load.lanes[i], round, i);
    f->tally.load = &f->load;
    f->queue = f->contestant->open(&f->load);
    pthread_mutex_init(&f->mutex, NULL);
    pthread_barrier_init(&f->start, NULL, round->writers + (f->contestant->read_all != NULL) + 1);
}

/* A round that ends by the clock: the writers go on until then. */
static void end_by_clock(struct field *f, const struct round *round)
{
    usleep(round->limit_ms * 1000);
    for (unsigned i = 0; i < f->load.writers; i++)
        __atomic_store_n(&f->load.lanes[i].end, 0, __ATOMIC_RELAXED);
}

/* Every block of every lane must have come out. */
static void check_all_read(const struct field *f)
{
    for (unsigned i = 0; i < f->load.writers; i++)
        if (f->tally.next[i] != f->load.lanes[i].seq)
            tally_fail(&f->tally, i, f->load.lanes[i].seq);
}

static void field_run(struct field *f, const struct round *round)
{
    struct runner runners[WRITERS_MOST];
    pthread_t reader;
    if (f->contestant->read_all != NULL && pthread_create(&reader, NULL, read_thread, f) != 0)
        die("thread", 0);
    for (unsigned i = 0; i < f->load.writers; i++) {
        runners[i] = (struct runner){.field = f, .lane = &f->load.lanes[i]};
        if (pthread_create(&runners[i].thread, NULL, write_thread, &runners[i]) != 0)
            die("thread", 0);
    }
    pthread_barrier_wait(&f->start);
    if (round->limit_ms != 0)
        end_by_clock(f, round);
    uint64_t blocks = 0;
    for (unsigned i = 0; i < f->load.writers; i++) {
        pthread_join(runners[i].thread, NULL);
        blocks += f->load.lanes[i].seq;
    }
    __atomic_store_n(&f->load.blocks, blocks, __ATOMIC_RELEASE);
    if (f->contestant->writers_done != NULL)
        f->contestant->writers_done(f->queue);
    if (f->contestant->read_all != NULL) {
        pthread_join(reader, NULL);
        check_all_read(f);
    }
}

static uint64_t lane_bytes(const struct lane *lane)
{
    uint64_t bytes = 0;
    for (uint64_t seq = 0; seq < lane->seq; seq++)
        bytes += lane->lengths[seq % LENGTHS];
    return bytes;
}

void run_blocks(const struct round *round, double *metrics)
{
    struct field f;
    field_open(&f, round);
    field_run(&f, round);
    metrics[0] = (double)f.load.blocks / (f.last_s - f.first_s) / 1e6;
}

void run_bytes(const struct round *round, double *metrics)
{
    struct field f;
    uint64_t bytes = 0;
    field_open(&f, round);
    field_run(&f, round);
    for (unsigned i = 0; i < f.load.writers; i++)
        bytes += lane_bytes(&f.load.lanes[i]);
    metrics[0] = (double)bytes / (f.last_s - f.first_s) / 1e9;
}

void run_fairness(const struct round *round, double *metrics)
{
    struct field f;
    uint64_t most = 0, fewest = UINT64_MAX;
    field_open(&f, round);
    field_run(&f, round);
    for (unsigned i = 0; i < f.load.writers; i++) {
        const uint64_t bytes = lane_bytes(&f.load.lanes[i]);
        most = bytes > most ? bytes : most;
        fewest = bytes < fewest ? bytes : fewest;
    }
    metrics[0] = (double)most / (double)fewest;
}

void run_latency(const struct round *round, double *metrics)
{
    struct field f;
    field_open(&f, round);
    field_run(&f, round);
    const size_t each = round->blocks;
    uint32_t *samples = need_memory(each * f.load.writers * sizeof(*samples));
    for (unsigned i = 0; i < f.load.writers; i++)
        memcpy(samples + i * each, f.load.lanes[i].ticks, each * sizeof(*samples));
    for (unsigned i = 0; i < METRICS; i++)
        if (round->percents[i] != 0)
            metrics[i] = percentile_ns(samples, each * f.load.writers, round->percents[i]);
}

static bool ended_in_time(pid_t child, double limit_s)
{
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    if (fd < 0)
        die("pidfd_open", errno);
    struct pollfd poll_child = {.fd = fd, .events = POLLIN};
    int rc;
    do
        rc = poll(&poll_child, 1, (int)(limit_s * 1000));
    while (rc < 0 && errno == EINTR);
    close(fd);
    return rc > 0;
}

bool round_run(const struct round *round, double limit_s, double *ret_metrics)
{
    double *metrics = mmap(NULL, METRICS * sizeof(*metrics), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (metrics == MAP_FAILED)
        die("mmap", errno);
    pid_t child = fork();
    if (child < 0)
        die("fork", errno);
    if (child == 0) {
        round->run(round, metrics);
        _exit(0);
    }
    const bool ended = ended_in_time(child, limit_s);
    if (!ended)
        kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    if (ended && status != 0)
        die(round->contestant != NULL ? round->contestant->name : "a round", 0);
    memcpy(ret_metrics, metrics, METRICS * sizeof(*metrics));
    munmap(metrics, METRICS * sizeof(*metrics));
    return ended;
}
