/* SPDX-License-Identifier: MIT
 *
 * The main thread's loop: it only waits, for signals, for its clocks, and for the other threads to
 * end.
 */
#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "dbufd.h"

enum { STATUS_BYTES = 512 };

/* A stop waits so long for a disk that refuses, before what is in memory is put aside. */
static const uint64_t patience_ns = 30 * 1000000000ULL;

void ask_stop(struct dbufd *d)
{
    const uint64_t one = 1;
    if (atomic_exchange_explicit(&d->stop, true, memory_order_relaxed))
        return;
    if (d->stop_fd < 0)
        return; /* the start came to nothing before it was there */
    ssize_t n = write(d->stop_fd, &one, sizeof(one));
    assert(n == (ssize_t)sizeof(one)); /* an eventfd takes 2^64 - 2 of them */
    notify_stopping();
}

static void on_stop_signal(struct dbufd *d, const char *name)
{
    struct stats stats;
    char buffered[24];
    const struct stats_sources sources = stats_sources(d);
    stats_gather(&sources, &d->reported, &stats);
    stats_bytes(stats.buffered_bytes, buffered, sizeof(buffered));
    const struct event_field fields[] = {{"BUFFERED_BYTES", NULL, stats.buffered_bytes}};
    if (d->stop_asked)
        notify_event(&d->notify, EVENT_STILL_UNSAVED, fields, 1,
                     "%s again: %s are still unsaved, draining goes on%s%s", name, buffered,
                     stats.disk_held_sec != 0 ? "; the disk refuses: " : "",
                     stats.disk_held_sec != 0 ? strerror(stats.disk_error) : "");
    else
        notify_event(&d->notify, EVENT_STOPPING, fields, 1, "%s: stopping, %s to drain", name,
                     buffered);
    if (!d->stop_asked)
        d->stop_ns = stats.time_ns;
    d->stop_asked = true;
    ask_stop(d);
}

static void report(struct dbufd *d)
{
    struct stats stats;
    const struct stats_sources sources = stats_sources(d);
    stats_gather(&sources, &d->reported, &stats);
    stats_gather_preemptions(&sources, &stats);
    stats_report(&d->notify, &stats, /* final= */ 0);
    d->reported = stats;
}

static void on_signal(struct dbufd *d)
{
    struct signalfd_siginfo info;
    while (read(d->fds[FD_SIGNAL], &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGUSR1:
            report(d);
            break;
        case SIGUSR2:
            reader_rotate(d->reader);
            break;
        case SIGHUP:
            reload(d);
            break;
        case SIGINT:
            on_stop_signal(d, "SIGINT");
            break;
        case SIGQUIT:
            on_stop_signal(d, "SIGQUIT");
            break;
        default:
            on_stop_signal(d, "SIGTERM");
        }
    }
}

/* Tells of a disk that does not answer, and when it does again. */
static void tell_stall(const struct dbufd *d, const struct stall_verdict *verdict)
{
    const char *path = d->config->output_file_path;
    const unsigned held = db_state(d->db).writers_held;
    const struct event_field fields[] = {
        {"PATH", path, 0}, {"SECONDS", NULL, verdict->sec}, {"HELD_WRITERS", NULL, held}};
    if (verdict->tell)
        notify_event(
            &d->notify, EVENT_DISK_STALLED, fields, 3,
            "the disk of %s has not answered for %" PRIu64
            " s, %u writers held; nothing is lost, it is waited for: look at the device and "
            "the kernel log",
            path, verdict->sec, held);
    if (verdict->over)
        notify_event(&d->notify, EVENT_DISK_RESUMED, fields + 1, 1,
                     "the disk answers again after %" PRIu64 " s", verdict->sec);
}

/* A sign of life for the watchdog, if the reader deserves one: it has got somewhere, or it rightly
 * has nothing to do, or the disk does not answer. While the disk refuses, each counted retry is
 * somewhere. */
static void pet_watchdog(struct dbufd *d, uint64_t now_ns)
{
    struct reader_account account;
    reader_account(d->reader, &account);
    const struct stall_seen seen = {
        .now_ns = now_ns,
        .progress = account.progress + store_account(d->store).file_bytes,
        .cpu_ns = reader_cpu_ns(d->reader),
        .idle = account.state == READER_WAITING && db_state(d->db).halves_unstored == 0,
        .storing = account.state == READER_STORING};
    const struct stall_verdict verdict = stall_judge(&d->stall, &seen);
    if (verdict.alive)
        notify_watchdog(&d->notify);
    tell_stall(d, &verdict);
}

/* Told to stop, and the disk has refused ever since: what is in memory goes where the next start finds
 * it, if there is such a place. */
static void leave_if_due(struct dbufd *d, const struct stats *stats)
{
    char bytes[24];
    if (!d->stop_asked || stats->time_ns - d->stop_ns < patience_ns ||
        stats->disk_held_sec * 1000000000 < patience_ns || !reader_pause(d->reader))
        return;
    int rc = crash_leave(d);
    d->left = rc == 0;
    stats_bytes(stats->buffered_bytes, bytes, sizeof(bytes));
    const struct event_field fields[] = {{"BUFFERED_BYTES", NULL, stats->buffered_bytes},
                                         {"ERRNO", NULL, (uint64_t)-rc}};
    if (d->left)
        notify_event(&d->notify, EVENT_LEFT, fields, 1,
                     "stopping though the disk refuses (%s): %s are kept and stored at the next "
                     "start",
                     strerror(stats->disk_error), bytes);
    else
        reader_resume(d->reader); /* draining goes on; STATUS says why */
}

static void on_tick(struct dbufd *d)
{
    char text[STATUS_BYTES];
    struct stats stats;
    const struct stats_sources sources = stats_sources(d);
    stats_gather(&sources, &d->ticked, &stats);
    notify_status(stats_status(&stats, text, sizeof(text)));
    d->ticked = stats;
    pet_watchdog(d, stats.time_ns);
    reload_tick(d, stats.time_ns);
    serve_tick(d, stats.time_ns);
    notify_tick(&d->notify);
    if (atomic_load_explicit(&d->stop, memory_order_relaxed))
        notify_extend(10 * 1000000); /* draining: ten seconds more, each second */
    leave_if_due(d, &stats);
}

/* Reads a timer's or an eventfd's count; 0 if there is none. */
static uint64_t take_count(int fd)
{
    uint64_t count = 0;
    if (read(fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
        return 0;
    return count;
}

static void on_writers_ended(struct dbufd *d)
{
    d->writers_ended += (unsigned)take_count(d->fds[FD_WRITERS_ENDED]);
    if (d->writers_ended == d->writer_count) {
        if (d->reload == NULL)
            ask_stop(d); /* every source has ended: from here on it is the same as a stop */
        db_close(d->db);
    }
}

void run(struct dbufd *d)
{
    struct pollfd wait[FD_COUNT + 1];
    for (int i = 0; i < FD_COUNT; i++)
        wait[i] = (struct pollfd){.fd = d->fds[i], .events = POLLIN};
    for (;;) {
        wait[FD_COUNT] = (struct pollfd){.fd = metrics_fd(d->served.metrics), .events = POLLIN};
        if (poll(wait, FD_COUNT + 1, metrics_due_ms(d->served.metrics)) < 0)
            continue; /* EINTR: a debugger; nothing else can happen here */
        if (wait[FD_SIGNAL].revents != 0)
            on_signal(d);
        if (wait[FD_TICK].revents != 0 && take_count(d->fds[FD_TICK]) != 0)
            on_tick(d);
        if (wait[FD_REPORT].revents != 0 && take_count(d->fds[FD_REPORT]) != 0)
            report(d);
        if (wait[FD_DURATION].revents != 0 && take_count(d->fds[FD_DURATION]) != 0)
            ask_stop(d);
        if (wait[FD_WRITERS_ENDED].revents != 0)
            on_writers_ended(d);
        if (wait[FD_RELOAD_PREPARED].revents != 0)
            reload_prepared(d);
        metrics_run(d->served.metrics);
        if (d->left || (wait[FD_READER_ENDED].revents != 0 && !reload_go_on(d)))
            return;
    }
}
