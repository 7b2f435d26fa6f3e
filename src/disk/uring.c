/* SPDX-License-Identifier: MIT
 *
 * uring: writes in flight.
 *
 * Happy path: each write is one request, submitted at once; completions come in any order, and are
 * kept until somebody asks for theirs.
 * Failure modes: no ring, or one that cannot be entered, is seen at open. A ring that is refused later
 * takes nothing more, and whoever asks for what is in flight still gets it: completions are in memory.
 * On a kill the kernel ends what is in flight after the process is gone, and holds the file, and with
 * it the lock on the file, until then: see segment_await.
 *
 * The buffers are not registered. A write's pieces are extents that do not lie side by side, and what
 * registering would save was not to be measured (the pinning of 1024 pages for 4 MiB).
 */
#include "uring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "again.h"

enum {
    IN_FLIGHT = 4,
    NO_SLOT = OUTPUT_IN_FLIGHT_MAX, /* a request that nobody asks for */
    POLL_NS = 1000000
};

struct uring {
    struct io_uring ring;
    cpu_set_t cores;  /* of whoever opened it: the kernel's own threads stay there */
    pid_t cores_told; /* the thread whose workers know it */
    int refused;      /* -errno: the ring takes nothing more */
    struct request {
        bool in_flight;
        bool ended;
        ssize_t result;
    } requests[IN_FLIGHT];
};

static int submit(struct uring *uring)
{
    int rc = -EINTR;

    if (uring->refused < 0)
        return uring->refused;
    for (int i = 0; i < INTERRUPTIONS && rc == -EINTR; i++)
        rc = io_uring_submit(&uring->ring);
    if (rc < 0)
        uring->refused =
            rc; /* what was to be submitted still lies there: nobody may do it any more */
    return rc < 0 ? rc : 0;
}

/* Takes one completion, waiting for it. */
static void take_completion(struct uring *uring)
{
    static const struct timespec rest = {.tv_nsec = POLL_NS};
    struct io_uring_cqe *completion;

    while (io_uring_wait_cqe(&uring->ring, &completion) < 0)
        (void)nanosleep(&rest, NULL); /* a signal; or waiting is refused: it comes all the same */
    const uint64_t slot = completion->user_data;
    if (slot < IN_FLIGHT) {
        uring->requests[slot].ended = true;
        uring->requests[slot].result = completion->res;
    }
    io_uring_cqe_seen(&uring->ring, completion);
}

/* A write that would wait goes to a thread of the kernel's; it must not run on a core that is set
 * aside for somebody else. Kernels before 5.14 cannot be told. */
static void tell_cores(struct uring *uring)
{
    const pid_t thread = gettid();

    if (uring->cores_told != thread)
        (void)io_uring_register_iowq_aff(&uring->ring, sizeof(uring->cores), &uring->cores);
    uring->cores_told = thread;
}

static int uring_begin_write(void *context, unsigned slot, int fd, const struct iovec *pieces,
                             int count, off_t offset)
{
    struct uring *uring = context;
    struct request *request = &uring->requests[slot];

    assert(slot < IN_FLIGHT && !request->in_flight);
    if (uring->refused < 0)
        return uring->refused;
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    assert(entry); /* there are as many as slots, and each is submitted at once */
    io_uring_prep_writev(entry, fd, pieces, (unsigned)count, (uint64_t)offset);
    entry->user_data = slot;
    int rc = submit(uring);
    if (rc < 0)
        return rc;
    *request = (struct request){.in_flight = true};
    tell_cores(uring);
    return 0;
}

static ssize_t uring_end_write(void *context, unsigned slot)
{
    struct uring *uring = context;
    struct request *request = &uring->requests[slot];

    assert(slot < IN_FLIGHT && request->in_flight);
    while (!request->ended)
        take_completion(uring);
    request->in_flight = false;
    return request->result;
}

/* Whether requests come back at all: some are allowed to make a ring, but not to use it. */
static int try_ring(struct uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    struct io_uring_cqe *completion;

    io_uring_prep_nop(entry);
    entry->user_data = NO_SLOT;
    int rc = submit(uring);
    if (rc < 0)
        return rc;
    rc = -EINTR;
    for (int i = 0; i < INTERRUPTIONS && rc == -EINTR; i++)
        rc = io_uring_wait_cqe(&uring->ring, &completion);
    if (rc < 0)
        return rc;
    rc = completion->res;
    io_uring_cqe_seen(&uring->ring, completion);
    return rc;
}

int uring_open(struct output *ret)
{
    struct uring *uring = calloc(1, sizeof(*uring));

    if (!uring)
        return -ENOMEM;
    int rc = io_uring_queue_init(IN_FLIGHT, &uring->ring, 0);
    if (rc < 0) {
        free(uring);
        return rc;
    }
    rc = try_ring(uring);
    if (rc == 0 && sched_getaffinity(0, sizeof(uring->cores), &uring->cores) < 0)
        rc = -errno;
    if (rc < 0) {
        io_uring_queue_exit(&uring->ring);
        free(uring);
        return rc;
    }
    *ret = output_pwrite;
    ret->context = uring;
    ret->writes_in_flight = IN_FLIGHT;
    ret->begin_write = uring_begin_write;
    ret->end_write = uring_end_write;
    return 0;
}

void uring_close(struct output *output)
{
    if (!output || !output->context)
        return;
    struct uring *uring = output->context;
    io_uring_queue_exit(&uring->ring);
    free(uring);
    *output = (struct output){0};
}
