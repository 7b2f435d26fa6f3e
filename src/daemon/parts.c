/* SPDX-License-Identifier: MIT
 *
 * Each part of the daemon, made from the configuration. In the order in which main.c starts them.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../disk/uring.h"
#include "dbufd.h"
#include "disk_events.h"

static const uint64_t second_ns = 1000000000;

static int timer_fd(uint64_t first_ns, uint64_t interval_ns)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    const struct itimerspec when = {
        .it_value = {(time_t)(first_ns / second_ns), (long)(first_ns % second_ns)},
        .it_interval = {(time_t)(interval_ns / second_ns), (long)(interval_ns % second_ns)}};
    if (fd < 0)
        return -errno;
    if (timerfd_settime(fd, 0, &when, NULL) < 0) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    return fd;
}

/* Signals come through a descriptor, to this thread alone: blocked before any other starts. */
static int signal_fd(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGQUIT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGUSR2);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    (void)signal(SIGPIPE, SIG_IGN); /* a broken output is an errno of its write */
    (void)signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow */
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static int event_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int open_fds(struct dbufd *d, uint64_t duration_ns)
{
    const uint64_t report_ns = d->config->enable_stats ? d->config->stats_interval : 0;
    d->fds[FD_SIGNAL] = signal_fd();
    d->fds[FD_TICK] = timer_fd(second_ns, second_ns);
    d->fds[FD_REPORT] = timer_fd(report_ns, report_ns); /* 0: never */
    d->fds[FD_DURATION] = timer_fd(duration_ns, 0);
    d->fds[FD_WRITERS_ENDED] = event_fd();
    d->fds[FD_READER_ENDED] = event_fd();
    d->stop_fd = event_fd();
    d->fds[FD_RELOAD_PREPARED] = event_fd();
    for (int i = 0; i < FD_COUNT; i++)
        if (d->fds[i] < 0)
            return d->fds[i];
    return d->stop_fd < 0 ? d->stop_fd : 0;
}

void set_report_timer(const struct dbufd *d)
{
    const uint64_t ns = d->config->enable_stats ? d->config->stats_interval : 0; /* 0: never */
    const struct timespec time = {(time_t)(ns / second_ns), (long)(ns % second_ns)};
    const struct itimerspec when = {.it_value = time, .it_interval = time};
    int rc = timerfd_settime(d->fds[FD_REPORT], 0, &when, NULL);
    assert(rc == 0); /* a timer that is there takes any time */
}

int choose_seed(const struct config *config, uint64_t *ret)
{
    uint64_t seed = config->source_seed;
    if (seed == 0 && getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return -errno;
    *ret = seed;
    return 0;
}

int plan_cores(const struct config *config, struct cpus_plan *ret)
{
    struct cpus_system system;
    int rc = cpus_read_system("/sys/devices/system/cpu", &system);
    if (rc < 0)
        return rc;
    return cpus_plan(&system, &config->cpus_reader, &config->cpus_writers,
                     (unsigned)config->writer_count, ret);
}

void cut_capacity(const struct config *config, struct db_geometry *ret)
{
    size_t least;
    int rc = db_geometry(config->buffer_capacity, (unsigned)config->writer_count,
                         config->source_max_block, ret, &least);
    assert(rc == 0); /* config_load has checked it */
}

/* What is being stored where, for whoever finds the region. */
static void keep_target(void *context, const struct store_target *target)
{
    const struct dbufd *d = context;
    const struct region_target kept = {.epoch = target->epoch,
                                       .number = target->number,
                                       .offset = target->offset,
                                       .position = target->position};
    db_set_target(d->db, &kept);
}

int make_uring(struct dbufd *d, const struct config *c, struct output **ret)
{
    if (c->output_format == STORE_RAW || (c->output_io != IO_AUTO && c->output_io != IO_URING))
        return 0;
    struct output *uring = calloc(1, sizeof(*uring));
    int rc = uring == NULL ? -ENOMEM : uring_open(uring);
    if (rc == 0) {
        *ret = uring;
        return 0;
    }
    free(uring);
    if (c->output_io == IO_URING)
        return rc;
    const struct store_event refused = {
        .kind = STORE_NO_OVERLAP, .path = c->output_file_path, .error = -rc};
    disk_event(&d->notify, &refused);
    return 0;
}

void free_uring(struct output *uring)
{
    if (uring != NULL)
        uring_close(uring);
    free(uring);
}

int make_store(struct dbufd *d, const struct config *c, uint64_t seed,
               const struct db_geometry *geometry, const struct output *uring, struct store **ret)
{
    const struct store_options options = {
        .path = c->output_file_path,
        .failover_path = *c->output_failover_path != '\0' ? c->output_failover_path : NULL,
        .format = (enum store_format)c->output_format,
        .durability = (enum store_durability)c->output_durability,
        .sync_interval_ns = c->output_sync_interval,
        .segment_bytes = c->output_segment_size,
        .segment_age_ns = c->output_segment_age,
        .retain_bytes = c->output_retain_size,
        .retain_age_ns = c->output_retain_age,
        .full_deletes = c->output_disk_full == FULL_ROTATE,
        .min_free_bytes = c->output_min_free,
        .own_thread = true,
        .buffered = c->output_io == IO_BUFFERED,
        .direct_only = c->output_io == IO_URING || c->output_io == IO_PWRITE,
        .extent_bytes_max = geometry->extent_bytes,
        .writer_count = (unsigned)c->writer_count,
        .random = c->source_type == SOURCE_RANDOM,
        .seed = seed,
        .min_block = (uint32_t)c->source_min_block,
        .max_block = (uint32_t)c->source_max_block,
        .on_event = disk_event,
        .context = &d->notify,
        .on_target = keep_target,
        .target_context = d,
        .output = uring,
    };
    return store_open(ret, &options);
}

void change_store(struct store *store, const struct config *c, uint64_t seed,
                  const struct db_geometry *geometry)
{
    const struct store_change change = {
        .extent_bytes_max = geometry->extent_bytes,
        .writer_count = (unsigned)c->writer_count,
        .random = c->source_type == SOURCE_RANDOM,
        .seed = seed,
        .min_block = (uint32_t)c->source_min_block,
        .max_block = (uint32_t)c->source_max_block,
    };
    store_change(store, &change);
}

int make_buffer(const struct config *config, uint64_t seed, const struct db_geometry *geometry,
                const uint8_t uuid[static 16], struct crash *crash, struct db **ret)
{
    struct region region;
    struct region_run run;
    int rc = crash_make_region(crash, db_region_bytes(geometry), &region);
    if (rc < 0)
        return rc;
    crash_describe(crash, config, seed, uuid, &run);
    const struct db_options options = {
        .geometry = *geometry,
        .writer_count = (unsigned)config->writer_count,
        .spin = config->cpus_wait == WAIT_SPIN,
        .region = &region,
        .run = &run,
    };
    rc = db_open(ret, &options);
    if (rc < 0)
        region_close(&region);
    return rc;
}

struct reader_tuning reader_tuning(const struct config *c)
{
    struct reader_tuning tuning = {
        .flush_ns = c->output_flush_interval,
        .self_check = c->debug_mode,
        .store = {.durability = (enum store_durability)c->output_durability,
                  .sync_interval_ns = c->output_sync_interval,
                  .segment_bytes = c->output_segment_size,
                  .segment_age_ns = c->output_segment_age,
                  .retain_bytes = c->output_retain_size,
                  .retain_age_ns = c->output_retain_age,
                  .full_deletes = c->output_disk_full == FULL_ROTATE,
                  .min_free_bytes = c->output_min_free},
    };
    /* It is between two halves that the store syncs what the interval asks for. */
    if (c->output_durability == DURABILITY_INTERVAL && tuning.flush_ns > c->output_sync_interval)
        tuning.flush_ns = c->output_sync_interval;
    return tuning;
}
