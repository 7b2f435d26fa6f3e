/* SPDX-License-Identifier: MIT
 *
 * The metrics as a part of the daemon: opened at the start, changed by a reload, tried again when they
 * could not be had.
 *
 * Happy path: metrics.listen names an address, it is listened on, that is told.
 * Failure modes: the address cannot be had, at the start: the recording matters more, so dbufd starts and
 * says that it does not serve them, and tries again at each reload and every ten seconds. By a reload: that
 * is refused as a whole, as anything that cannot be had, and the old one goes on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dbufd.h"
#include "metrics_text.h"
#include "sandbox.h"

enum { WHY_BYTES = 512 };

static const uint64_t again_ns = 10 * 1000000000ULL;
static const uint64_t fresh_ns = 1000000000;

/* Preemptions cost a file for each thread, so they are not looked up more than once a second, whoever asks;
 * and do not fall, if one of these files cannot be had. */
static void give_preemptions(struct dbufd *d, struct stats *stats)
{
    const struct stats_sources sources = stats_sources(d);
    struct served *served = &d->served;
    if (stats->time_ns - served->looked_ns >= fresh_ns) {
        stats_gather_preemptions(&sources, stats);
        served->looked_ns = stats->time_ns;
    }
    if (stats->writer_preemptions > served->writer_preemptions)
        served->writer_preemptions = stats->writer_preemptions;
    if (stats->reader_preemptions > served->reader_preemptions)
        served->reader_preemptions = stats->reader_preemptions;
    stats->writer_preemptions = served->writer_preemptions;
    stats->reader_preemptions = served->reader_preemptions;
}

/* The text of now; the speeds are those of the last second. */
static char *give(void *context, size_t *ret_bytes)
{
    struct dbufd *d = context;
    struct stats stats;
    const struct stats_sources sources = stats_sources(d);
    stats_gather(&sources, &d->ticked, &stats);
    stats.in_bytes_per_sec = d->ticked.in_bytes_per_sec;
    stats.out_bytes_per_sec = d->ticked.out_bytes_per_sec;
    stats.in_blocks_per_sec = d->ticked.in_blocks_per_sec;
    give_preemptions(d, &stats);
    return metrics_text(&stats, ret_bytes);
}

int serve_open(struct dbufd *d, const char *listen, struct metrics **ret)
{
    struct address address;
    if (listen[0] == '\0')
        return 0;
    int rc = address_parse(listen, &address);
    if (rc == 0)
        rc = metrics_open(ret, &address, d->served.metrics, give, d);
    return rc;
}

const char *serve_why_not(int rc)
{
    switch (-rc) {
    case EADDRINUSE:
        return "somebody else listens there: choose another address, or stop that program";
    case EADDRNOTAVAIL:
        return "this machine has no such address: choose one that `ip address` shows";
    case ENOTSOCK:
        return "what is at this path is no socket, and was left as it is: move it away, or choose "
               "another path";
    case EAFNOSUPPORT:
        return "the sandbox of the service has no network: see "
               "/usr/share/doc/dbufd/drop-ins/metrics.conf"
               ", or use unix:/run/dbufd/metrics.sock";
    default:
        return strerror(-rc);
    }
}

/* Told once, until it is served. */
static void tell_not_served(struct dbufd *d, int rc)
{
    const char *listen = d->config->metrics_listen;
    const struct event_field fields[] = {{"ADDRESS", listen, 0}, {"ERRNO", NULL, (uint64_t)-rc}};
    if (!d->served.told)
        notify_event(
            &d->notify, EVENT_METRICS_NOT_SERVED, fields, 2,
            "no metrics at %s, and it is tried again every ten seconds; the recording goes on: %s",
            listen, serve_why_not(rc));
    d->served.told = true;
}

static void tell_served(const struct dbufd *d)
{
    const char *listen = d->config->metrics_listen;
    struct address address;
    const struct event_field fields[] = {{"ADDRESS", listen, 0}};
    const bool open = address_parse(listen, &address) == 0 && !address_is_local(&address);
    if (open)
        notify_event(&d->notify, EVENT_METRICS_OPEN, fields, 1,
                     "metrics at %s, for whoever reaches that address: there is no password and no "
                     "encryption",
                     listen);
    else
        notify_event(&d->notify, EVENT_METRICS_SERVED, fields, 1, "metrics at %s", listen);
}

void serve_change(struct dbufd *d, struct metrics *metrics)
{
    metrics_close(d->served.metrics);
    d->served.metrics = metrics;
    d->served.told = false;
    if (metrics != NULL)
        tell_served(d);
}

void serve(struct dbufd *d)
{
    struct metrics *metrics = NULL;
    int rc;
    if (d->served.metrics != NULL || d->config->metrics_listen[0] == '\0')
        return;
    d->served.tried_ns = d->ticked.time_ns;
    rc = serve_open(d, d->config->metrics_listen, &metrics);
    if (rc < 0)
        tell_not_served(d, rc);
    else
        serve_change(d, metrics);
}

void serve_tick(struct dbufd *d, uint64_t now_ns)
{
    if (now_ns - d->served.tried_ns >= again_ns)
        serve(d);
}

void serve_end(struct dbufd *d)
{
    metrics_close(d->served.metrics);
    d->served.metrics = NULL;
}
