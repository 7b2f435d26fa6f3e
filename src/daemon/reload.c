/* SPDX-License-Identifier: MIT
 *
 * Another configuration, while blocks come in.
 *
 * Happy path, for what is only looked at (an interval, a rate, the durability): it is set. For all else
 * dbufd hands over to itself:
 *     prepare    everything new that can fail is made, beside the old: memory, output, sources, threads;
 *                in a thread of its own, however long that takes, while all goes on as it was
 *     pause      the writers end at their next block; their sources keep what they have read
 *     store      the double buffer is closed, the reader stores what is in it and ends
 *     go on      the new parts take the place of the old ones, the sources that stay get new writers,
 *                the sequences go on where they were, and the new threads work
 * The writers are paused for as long as it takes to store what is in memory. No block is in two places
 * at any time, so a crash at any moment finds what it always finds: one buffer with blocks in it.
 * Failure modes: a file with mistakes, or parts that cannot be made: all is as it was, with the reason
 * told. A disk that refuses while writers pause: waited for, as ever.
 * On stop: one that comes while it is prepared lets that come to nothing; one that comes later is one for
 * the new parts.
 *
 * The file is read by the main thread: it is small, and lies on the disk that dbufd itself comes from.
 */
#include "reload.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The process goes on for so long after all is stored, for what is being made to be undone. */
static const uint64_t patience_ns = 5 * 1000000000ULL;

void reload_free(struct reload *r)
{
    if (r == NULL)
        return;
    reload_undo(r);
    metrics_close(r->metrics);
    free(r->description);
    config_free(r->config);
    free(r);
}

static bool stopping(const struct dbufd *d)
{
    return atomic_load_explicit(&d->stop, memory_order_relaxed);
}

/* Tells that it comes to nothing, and why; `why` may be "". */
static void refuse(const struct dbufd *d, const char *what, const char *why)
{
    const struct event_field fields[] = {{"REASON", why[0] != '\0' ? why : what, 0}};
    notify_event(&d->notify, EVENT_RELOAD_REFUSED, fields, 1,
                 "not reloaded, the configuration is as it was: %s%s%s", what,
                 why[0] != '\0' ? ": " : "", why);
    if (!stopping(d))
        notify_ready();
}

void reload_tell(const struct dbufd *d, const char *description, uint64_t paused_ns)
{
    const uint64_t usec = paused_ns / 1000;
    const struct event_field fields[] = {{"CHANGES", description, 0}, {"PAUSED_USEC", NULL, usec}};
    if (paused_ns == 0)
        notify_event(&d->notify, EVENT_RELOADED, fields, 2, "reloaded: %s", description);
    else
        notify_event(&d->notify, EVENT_RELOADED, fields, 2,
                     "reloaded: %s; the writers were paused for %" PRIu64 ".%" PRIu64 " ms",
                     description, usec / 1000, usec / 100 % 10);
    notify_ready();
}

/* What is only looked at. */
static void apply_settings(struct dbufd *d)
{
    const struct config *c = d->config;
    const struct reader_tuning tuning = reader_tuning(c);
    d->notify.debug = c->debug_mode;
    reader_tune(d->reader, &tuning);
    for (unsigned i = 0; i < d->writer_count; i++)
        writer_set_rate(d->writers[i], rate_of(c, i));
}

/* Of what needs a restart, the new configuration has the old value. False: no memory. */
static bool put_back(const struct dbufd *d, struct reload *r)
{
    char *text = config_describe_changes(d->config, r->config, r->changed, NEEDS_RESTART);
    if (text == NULL)
        return false;
    const struct event_field fields[] = {{"CHANGES", text, 0}};
    if (text[0] != '\0')
        notify_event(&d->notify, EVENT_NEEDS_RESTART, fields, 1,
                     "needs a restart, and is as it was until then: %s", text);
    free(text);
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        if (r->changed[id] && config_needs(id) == NEEDS_RESTART &&
            config_copy(r->config, d->config, id) < 0)
            return false;
    return true;
}

void reload_serve(struct dbufd *d, struct reload *r)
{
    if (r->changed[OPTION_metrics_listen])
        serve_change(d, r->metrics);
    else
        serve(d);
    r->metrics = NULL;
}

/* The two configurations have each other's; a copy could fail. */
static void exchange_listen(struct config *a, struct config *b)
{
    char *text = a->metrics_listen;
    a->metrics_listen = b->metrics_listen;
    b->metrics_listen = text;
}

/* Only what is looked at has changed: the texts of the configuration stay, but for one that nobody else
 * has in hand. */
static void set(struct dbufd *d, struct reload *r)
{
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        if (r->changed[id] && config_needs(id) == NEEDS_SETTING && id != OPTION_metrics_listen) {
            int rc = config_copy(d->config, r->config, id);
            assert(rc == 0); /* none of them is a text */
        }
    exchange_listen(d->config, r->config);
    reload_serve(d, r);
    apply_settings(d);
    if (r->changed[OPTION_stats_interval] || r->changed[OPTION_enable_stats])
        set_report_timer(d);
    reload_tell(d, r->description[0] != '\0' ? r->description : "nothing has changed", 0);
}

static struct reload *read_file(struct dbufd *d)
{
    int rc;
    struct reload *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        refuse(d, "no memory", "");
        return NULL;
    }
    r->crash.file = -1;
    r->config = load_config(&d->notify, d->line, d->config_path, &rc);
    if (r->config == NULL) {
        refuse(d, "the file has mistakes, or cannot be read", "");
        free(r);
        return NULL;
    }
    r->needs = config_changes(d->config, r->config, r->changed);
    r->description =
        config_describe_changes(d->config, r->config, r->changed, NEEDS_SETTING | NEEDS_MORE);
    if (r->description == NULL || !put_back(d, r)) {
        refuse(d, "no memory", "");
        reload_free(r);
        return NULL;
    }
    return r;
}

/* ---- What main.c and loop.c call ---- */

void reload(struct dbufd *d)
{
    int rc = 0;
    if (stopping(d))
        return; /* it makes no difference any more */
    if (d->preparing != NULL || d->reload != NULL) {
        d->reload_again = true;
        return;
    }
    notify_reloading();
    struct reload *r = read_file(d);
    if (r == NULL)
        return;
    /* Both streams would have the same other place at a time. */
    const bool shares_place =
        (r->needs & NEEDS_OUTPUT) != 0 && d->config->output_failover_path[0] != '\0';
    if (shares_place)
        refuse(d, "with output.failover_path another output needs a restart", r->description);
    else if (r->changed[OPTION_metrics_listen] &&
             (rc = serve_open(d, r->config->metrics_listen, &r->metrics)) < 0)
        refuse(d, "metrics.listen cannot be listened on", serve_why_not(rc));
    else if ((r->needs & NEEDS_MORE) == 0)
        set(d, r);
    else if ((rc = reload_prepare(d, r)) < 0)
        refuse(
            d,
            "no thread can be started to make ready what it needs; raise LimitNPROC and TasksMax",
            strerror(-rc));
    else {
        d->preparing = r;
        return;
    }
    reload_free(r);
}

/* There is nothing to go over to. */
static void end_preparing(struct dbufd *d, struct reload *r)
{
    const struct preparation *p = &r->preparation;
    reload_join(r);
    d->preparing = NULL;
    if (p->missing != NULL)
        refuse(d, p->missing, why_not(r->config, p->missing_status, p->missing_rc));
    else
        refuse(d, "dbufd stops meanwhile", "");
    reload_free(r);
    if (d->reload_again) {
        d->reload_again = false;
        reload(d);
    }
}

void reload_prepared(struct dbufd *d)
{
    struct reload *r = d->preparing;
    uint64_t count;
    ssize_t n = read(d->fds[FD_RELOAD_PREPARED], &count, sizeof(count));
    assert(n == (ssize_t)sizeof(count));
    if (reload_stage(r) == UNMADE) {
        end_preparing(d, r);
        return;
    }
    reload_judge(r, !stopping(d));
    if (!stopping(d)) {
        reload_join(r);
        d->preparing = NULL;
        d->reload = r;
        reload_pause(d);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void reload_tick(const struct dbufd *d, uint64_t now)
{
    struct reload *r = d->preparing;
    if (r == NULL || now - r->preparation.begun_ns < STALL_TOLD_NS ||
        (r->preparation.told_ns != 0 && now - r->preparation.told_ns < STALL_REPEAT_NS))
        return;
    r->preparation.told_ns = now;
    const char *path = r->config->output_file_path;
    const uint64_t seconds = (now - r->preparation.begun_ns) / 1000000000;
    const struct event_field fields[] = {{"PATH", path, 0}, {"SECONDS", NULL, seconds}};
    notify_event(&d->notify, EVENT_RELOAD_WAITS, fields, 2,
                 "not reloaded yet: what it needs has been made ready for %" PRIu64
                 " s, with the output %s; the recording goes on as it was: if that lasts, look at "
                 "its disk and the kernel log",
                 seconds, path);
}

void reload_give_up(struct dbufd *d)
{
    struct pollfd wait = {.fd = d->fds[FD_RELOAD_PREPARED], .events = POLLIN};
    const uint64_t end_ns = now_ns() + patience_ns;
    if (d->preparing == NULL)
        return;
    notify_extend(2 * patience_ns / 1000);
    for (uint64_t now = now_ns(); d->preparing != NULL && now < end_ns; now = now_ns())
        if (poll(&wait, 1, (int)((end_ns - now) / 1000000) + 1) > 0)
            reload_prepared(d);
    if (d->preparing != NULL)
        refuse(d, "dbufd stops, and does not wait any longer for its disk",
               d->preparing->config->output_file_path);
}
