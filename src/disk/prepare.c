/* SPDX-License-Identifier: MIT
 *
 * Happy path: an order comes; the file is made under its hidden name and gets its room, or the oldest
 * segment's file is renamed to it; it waits there to be taken.
 * Failure modes: no room, no file: the answer has the errno, the reader asks again later. A kill leaves a
 * file under the hidden name, which the next start removes. An old file that cannot be used is removed.
 * On stop: prepare_close waits for what is being made.
 *
 * An old file has allocated blocks, and overwriting them is twice as fast as new ones on some file
 * systems, and needs no journal. Its old extents give themselves away by their sequence, which is below
 * that of the new header: see scan.c. So that no moment of it can be taken for something else:
 *   - only a file is used that ends with the checkpoint of its end: then all that is in it is older
 *   - its name is gone, durably, before anything in it is overwritten
 *   - the name of the new segment comes when header and first checkpoint are durable
 *   - nobody has it open, and it has no other name
 */
#include "prepare.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "recycle.h"

struct prepare {
    const struct output *output;
    char *path;
    bool own_thread;
    pthread_t thread;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t change;
    enum { IDLE, ASKED, ANSWERED } state;
    bool closing;
    struct prepare_order order;
    struct prepare_answer answer;
    struct segment segment; /* path NULL: none is ready */
};

/* ---- The work ---------------------------------------------------------------------------------- */

/* Makes the file of the old segment the next one's. -errno: it is where it was, or under the hidden
 * name, where it is in nobody's way. */
static int take_old(const struct prepare *p, const struct prepare_order *order, struct segment *ret)
{
    const struct output *output = p->output;
    struct segment segment;
    int rc = segment_reopen(&segment, output, order->old_path, 0, order->manner);

    if (rc < 0)
        return rc;
    rc = recycle_check(order->old_path, order->uuid);
    if (rc == 0)
        rc = segment_rename(&segment, p->path);
    if (rc == 0) /* now that nobody finds it any more */
        rc = recycle_claim(segment.fd);
    if (rc < 0) {
        segment_close(&segment);
        return rc;
    }
    segment.room_end = segment.file_end; /* all of it has been written */
    *ret = segment;
    return 0;
}

static int make_new(const struct prepare *p, const struct prepare_order *order, struct segment *ret)
{
    return segment_create(ret, p->output, p->path, order->manner);
}

static void work(const struct prepare *p, const struct prepare_order *order,
                 struct prepare_answer *answer, struct segment *ret)
{
    struct segment segment;
    int rc = -ENOENT;

    *answer = (struct prepare_answer){.old_number = order->old_number,
                                      .old_bytes = order->old_bytes,
                                      .old_path = order->old_path};
    if (order->old_path) {
        rc = take_old(p, order, &segment);
        answer->old_gone = rc == 0;
    }
    if (order->old_path && rc < 0) {
        /* Under the hidden name it must not be cut, as a new file would be: somebody may be reading it. */
        (void)p->output->remove(p->output->context, p->path);
        int removed = p->output->remove(p->output->context, order->old_path);
        answer->old_gone = removed == 0 || removed == -ENOENT;
        if (!answer->old_gone) {
            answer->rc = removed;
            return;
        }
    }
    if (rc < 0)
        rc = make_new(p, order, &segment);
    if (rc == 0) {
        rc = segment_reserve(&segment, 0, order->bytes, order->min_free);
        if (rc < 0)
            (void)segment_discard(&segment); /* the next try takes the name over */
        else
            *ret = segment;
    }
    answer->rc = rc;
}

/* Does what was asked for. Called with the lock, which is let go meanwhile. */
static void obey(struct prepare *p)
{
    const struct prepare_order order = p->order;
    struct prepare_answer answer;
    struct segment segment = {0};

    (void)pthread_mutex_unlock(&p->lock);
    work(p, &order, &answer, &segment);
    (void)pthread_mutex_lock(&p->lock);
    p->answer = answer;
    p->segment = segment;
    p->state = ANSWERED;
    (void)pthread_cond_signal(&p->change);
}

static void *prepare_main(void *argument)
{
    struct prepare *p = argument;

    (void)prctl(PR_SET_NAME, "next-segment"); /* cannot fail */
    (void)pthread_mutex_lock(&p->lock);
    while (!p->closing || p->state == ASKED) {
        if (p->state == ASKED)
            obey(p);
        else
            (void)pthread_cond_wait(&p->change, &p->lock);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- What the reader calls ---------------------------------------------------------------------- */

int prepare_open(struct prepare **ret, const struct output *output, const char *path,
                 bool own_thread)
{
    struct prepare *p = calloc(1, sizeof(*p));
    int rc = -ENOMEM;

    if (!p)
        return rc;
    p->output = output;
    p->path = strdup(path);
    (void)pthread_mutex_init(&p->lock, NULL); /* neither can fail with the default attributes */
    (void)pthread_cond_init(&p->change, NULL);
    if (p->path)
        rc = own_thread ? -pthread_create(&p->thread, NULL, prepare_main, p) : 0;
    p->own_thread = own_thread && rc == 0;
    if (rc < 0) {
        prepare_close(p);
        return rc;
    }
    *ret = p;
    return 0;
}

bool prepare_is_idle(struct prepare *p)
{
    (void)pthread_mutex_lock(&p->lock);
    bool idle = p->state == IDLE && !p->segment.path;
    (void)pthread_mutex_unlock(&p->lock);
    return idle;
}

bool prepare_is_busy(struct prepare *p)
{
    (void)pthread_mutex_lock(&p->lock);
    bool busy = p->state == ASKED;
    (void)pthread_mutex_unlock(&p->lock);
    return busy;
}

void prepare_ask(struct prepare *p, const struct prepare_order *order)
{
    (void)pthread_mutex_lock(&p->lock);
    assert(p->state == IDLE && !p->segment.path);
    p->order = *order;
    p->state = ASKED;
    if (p->own_thread)
        (void)pthread_cond_signal(&p->change);
    else
        obey(p);
    (void)pthread_mutex_unlock(&p->lock);
}

bool prepare_answer(struct prepare *p, struct prepare_answer *ret)
{
    (void)pthread_mutex_lock(&p->lock);
    bool answered = p->state == ANSWERED;
    if (answered) {
        *ret = p->answer;
        p->state = IDLE;
    }
    (void)pthread_mutex_unlock(&p->lock);
    return answered;
}

bool prepare_take(struct prepare *p, struct segment *ret)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->state == ASKED)
        (void)pthread_cond_wait(&p->change, &p->lock);
    bool ready = p->segment.path;
    if (ready) {
        *ret = p->segment;
        p->segment = (struct segment){0};
    }
    (void)pthread_mutex_unlock(&p->lock);
    return ready;
}

void prepare_close(struct prepare *p)
{
    if (!p)
        return;
    if (p->own_thread) {
        (void)pthread_mutex_lock(&p->lock);
        p->closing = true;
        (void)pthread_cond_signal(&p->change);
        (void)pthread_mutex_unlock(&p->lock);
        (void)pthread_join(p->thread, NULL);
    }
    if (p->state == ANSWERED)
        free(p->answer.old_path);
    if (p->segment.path)
        (void)segment_discard(&p->segment); /* if it stays, the next start removes it */
    (void)pthread_cond_destroy(&p->change);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->path);
    free(p);
}
