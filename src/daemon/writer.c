/* SPDX-License-Identifier: MIT
 *
 * Happy path: produce_data puts a block right into the double buffer, db_write_end publishes it,
 * account_data counts it. No system call and no lock while there is room, but for what the source
 * itself needs and for the clock.
 * Waiting: for data, in source_wait, outside of the buffer; for room, held, in db_write_begin; for
 * the rate, in pace.
 * On stop: what the source has already taken from outside still goes in; then the thread ends.
 * Failure: a broken source is told of once and ends this writer alone.
 */
#include "writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config_options.h"
#include "thread.h"

enum { LINE_BYTES = 64 };

static const uint64_t second_ns = 1000000000;
static const uint64_t pace_slack_ns = 2000000; /* running ahead of the rate by this much is fine */

struct writer {
    /* Its own cache lines: counted by the thread, read by the report. */
    _Alignas(LINE_BYTES) _Atomic uint64_t sizes[SIZE_CLASSES];
    _Atomic uint64_t lines_cut;
    _Atomic uint64_t kernel_drops;

    _Alignas(LINE_BYTES) struct writer_options options;
    _Atomic int order;     /* enum writer_order; the main thread's */
    _Atomic uint64_t rate; /* the main thread's */
    struct source *source;
    struct source_account seen; /* of it */
    uint64_t drops_untold;
    uint64_t drops_told_ns;
    uint64_t taken;    /* bytes so far, of limit */
    uint64_t paced_by; /* the rate */
    uint64_t begun_ns; /* when it began to count */
    uint64_t paced;    /* bytes since then */
    bool stopping;
    bool paused;
    int error;
    struct thread thread;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now); /* cannot fail with these clocks */
    return (uint64_t)now.tv_sec * second_ns + (uint64_t)now.tv_nsec;
}

/* False: the rate does not allow the next block yet; it has slept a while, or until stop. */
static bool pace(struct writer *w)
{
    const uint64_t rate = atomic_load_explicit(&w->rate, memory_order_relaxed);
    const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    if (rate == 0)
        return true;
    if (rate != w->paced_by) {
        w->paced_by = rate;
        w->begun_ns = now_ns;
        w->paced = 0;
    }
    const uint64_t due_ns =
        w->begun_ns + (uint64_t)((double)w->paced / (double)rate * (double)second_ns);
    if (due_ns > now_ns + pace_slack_ns) {
        /* No longer than a second: the rate may become another one. */
        const uint64_t rest_ns = due_ns - now_ns < second_ns ? due_ns - now_ns : second_ns;
        struct timespec rest = {.tv_sec = (time_t)(rest_ns / second_ns),
                                .tv_nsec = (long)(rest_ns % second_ns)};
        struct pollfd stop = {.fd = w->options.source.stop_fd, .events = POLLIN};
        (void)ppoll(&stop, 1, &rest, NULL); /* early or not: the next round looks again */
        return rest_ns == due_ns - now_ns;
    }
    if (due_ns + second_ns < now_ns) {
        /* It was held, or had no data: what it missed is not caught up with a burst. */
        w->begun_ns = now_ns;
        w->paced = 0;
    }
    return true;
}

/* What the source has already taken from outside still comes out of it; then it ends. */
static void stop_source(struct writer *w)
{
    if (!w->stopping)
        source_stop(w->source);
    w->stopping = true;
}

/* 1: a block of *ret lies at *ret_room, in the double buffer and still inside its busy section.
 * 0: the writer is at its end. -EAGAIN: nothing yet. Else -errno of the source. */
static int produce_data(struct writer *w, struct block_info *ret)
{
    const struct writer_options *o = &w->options;
    size_t room_bytes = o->source.max_block;
    /* Lines and frames are read ahead of the blocks that they become: at the limit the reading ends, and
     * what was read still comes in. No datagram is cut for it. */
    if (o->source.framing != FRAMING_NONE) {
        if (w->taken >= o->limit)
            stop_source(w);
    } else if (o->source.kind == SOURCE_UDP) {
        if (w->taken >= o->limit)
            return 0;
    } else if (room_bytes > o->limit - w->taken) {
        room_bytes = (size_t)(o->limit - w->taken);
    }
    if (room_bytes == 0)
        return 0;

    void *room = db_write_begin(o->db_writer, room_bytes);
    int rc = source_produce(w->source, room, room_bytes, ret);
    if (rc != 1)
        db_write_cancel(o->db_writer);
    return rc;
}

static unsigned size_class(size_t bytes)
{
    return bytes == 0 ? 0 : 64 - (unsigned)__builtin_clzll(bytes);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    /* Only this thread writes it: no need for a locked instruction. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void account_data(struct writer *w, const struct block_info *block)
{
    add(&w->sizes[size_class(block->bytes)], 1);
    if (block->flags & BLOCK_CUT)
        add(&w->lines_cut, 1);
    w->taken += block->bytes;
    w->paced += block->bytes;
}

/* ---- What the source has to tell ------------------------------------------------------------- */

/* Told at most once a second, for a flood brings them all the time; `last`: what is left. */
static void tell_drops(struct writer *w, bool last)
{
    const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    if (w->drops_untold == 0 || (!last && now_ns - w->drops_told_ns < second_ns))
        return;
    const struct event_field fields[] = {{"WRITER", NULL, w->options.source.writer},
                                         {"DATAGRAMS", NULL, w->drops_untold}};
    notify_event(
        w->options.notify, EVENT_KERNEL_DROPS, fields, 2,
        "writer %u: the kernel dropped %" PRIu64
        " datagrams, as the receive buffer was full; these are lost, what was taken is not",
        w->options.source.writer, w->drops_untold);
    w->drops_untold = 0;
    w->drops_told_ns = now_ns;
}

static void tell_framing(struct writer *w, const struct source_account *now)
{
    const struct source_options *s = &w->options.source;
    const char *framing = config_options[OPTION_source_framing].names[s->framing];
    const struct event_field fields[] = {{"WRITER", NULL, s->writer}, {"FRAMING", framing, 0}};
    for (uint64_t i = w->seen.senders_broken; i < now->senders_broken; i++)
        notify_event(w->options.notify, EVENT_SENDER_BROKEN, fields, 2,
                     "writer %u: the connection of a sender to %s was closed: where a frame begins "
                     "it has no count of source.framing \"%s\", or one over 1GiB; what came before "
                     "is kept: let it send such frames, or change source.framing",
                     s->writer, s->path, framing);
    for (uint64_t i = w->seen.frames_unfinished; i < now->frames_unfinished; i++)
        notify_event(w->options.notify, EVENT_FRAME_UNFINISHED, fields, 2,
                     "writer %u: a frame was cut short; what came of it is kept, marked as cut",
                     s->writer);
}

static void see_source(struct writer *w, bool last)
{
    const struct source_account *now = source_account(w->source);
    const uint64_t drops = now->kernel_drops - w->seen.kernel_drops;
    if (drops > 0)
        add(&w->kernel_drops, drops);
    w->drops_untold += drops;
    if (w->drops_untold > 0)
        tell_drops(w, last);
    if (now->senders_broken != w->seen.senders_broken ||
        now->frames_unfinished != w->seen.frames_unfinished)
        tell_framing(w, now);
    w->seen = *now;
}

/* One block, or one wait for it. 1: go on; 0: at the end, or paused; -errno: broken. */
static int cycle(struct writer *w)
{
    const int order = atomic_load_explicit(&w->order, memory_order_relaxed);
    if (order == WRITER_END || atomic_load_explicit(w->options.stop, memory_order_relaxed))
        stop_source(w);
    else if (order == WRITER_PAUSE) {
        w->paused = true;
        return 0;
    }
    if (!w->stopping && !pace(w))
        return 1;

    struct block_info block;
    int rc = produce_data(w, &block);
    if (rc == 1) {
        db_write_end(w->options.db_writer, block.bytes, block.flags, clock_ns(CLOCK_REALTIME));
        account_data(w, &block);
    }
    /* Not before the block's end: telling may wait for the journal, and the reader for the block. */
    if (w->options.source.kind != SOURCE_RANDOM)
        see_source(w, /* last= */ false);
    if (rc == -EAGAIN) {
        rc = source_wait(w->source, w->drops_untold > 0 ? 1000 : -1);
        if (rc >= 0)
            rc = 1;
    }
    return rc;
}

static void tell_end(const struct writer *w, int rc)
{
    const struct source_options *s = &w->options.source;
    const char *kind = source_kind_name(s->kind);
    const char *where = s->kind == SOURCE_UDP ? s->address : s->path;
    const char *why =
        rc == -EBADMSG
            ? "where a frame begins there is no count of source.framing, or one over 1GiB"
            : strerror(-rc);
    const struct event_field fields[] = {{"WRITER", NULL, s->writer}, {"SOURCE", kind, 0}};
    if (rc < 0)
        notify_event(w->options.notify, EVENT_SOURCE_BROKEN, fields, 2,
                     "writer %u: its %s source%s%s broke: %s; it ends, what it had read is kept",
                     s->writer, kind, where[0] != '\0' ? " " : "", where, why);
    else if (!w->stopping && !w->paused &&
             s->kind != SOURCE_RANDOM) /* that one ends at its limit only */
        notify_event(w->options.notify, EVENT_SOURCE_ENDED, fields, 2,
                     "writer %u: its %s source has ended", s->writer, kind);
}

static void work(void *argument)
{
    struct writer *w = argument;
    const uint64_t one = 1;

    int rc = 1;
    while (rc == 1)
        rc = cycle(w);
    w->error = rc;
    see_source(w, /* last= */ true);
    tell_end(w, rc);
    ssize_t n = write(w->options.ended_fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
}

int writer_open(struct writer **ret, int core)
{
    struct writer *w = aligned_alloc(LINE_BYTES, sizeof(*w));
    if (w == NULL)
        return -ENOMEM;
    memset(w, 0, sizeof(*w));
    int rc = thread_open(&w->thread, core);
    if (rc < 0) {
        free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void writer_go(struct writer *w, const struct writer_options *options, struct source *source)
{
    char name[THREAD_NAME_BYTES];
    w->options = *options;
    w->source = source;
    if (source != NULL)
        w->seen = *source_account(source); /* what another writer has seen of it */
    atomic_store_explicit(&w->rate, options->rate, memory_order_relaxed);
    if (source == NULL) {
        thread_close(&w->thread); /* it has nothing to do */
        return;
    }
    (void)snprintf(name, sizeof(name), "writer-%u", options->source.writer);
    thread_go(&w->thread, name, work, w);
}

void writer_order(struct writer *w, enum writer_order order)
{
    atomic_store_explicit(&w->order, (int)order, memory_order_relaxed);
}

void writer_set_rate(struct writer *w, uint64_t rate)
{
    atomic_store_explicit(&w->rate, rate, memory_order_relaxed);
}

struct source *writer_take_source(struct writer *w, int *ret_rc)
{
    thread_close(&w->thread);
    struct source *source = w->paused ? w->source : NULL;
    if (source != NULL)
        w->source = NULL;
    *ret_rc = w->error;
    return source;
}

int writer_descriptor(const struct writer *w)
{
    return w->source != NULL ? source_descriptor(w->source) : -1;
}

void writer_leave(const struct writer *w)
{
    if (w->source != NULL)
        source_leave(w->source);
}

int writer_close(struct writer *w)
{
    thread_close(&w->thread);
    const int error = w->error;
    source_close(w->source);
    free(w);
    return error;
}

uint64_t writer_preemptions(const struct writer *w)
{
    return thread_preemptions(&w->thread);
}

void writer_account(const struct writer *w, struct writer_account *ret)
{
    for (int i = 0; i < SIZE_CLASSES; i++)
        ret->sizes[i] = atomic_load_explicit(&w->sizes[i], memory_order_relaxed);
    ret->kernel_drops = atomic_load_explicit(&w->kernel_drops, memory_order_relaxed);
    ret->lines_cut = atomic_load_explicit(&w->lines_cut, memory_order_relaxed);
}
