/* SPDX-License-Identifier: MIT
 *
 * What is told once: at the start, when there is none, and at the end.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>

#include "dbufd.h"

enum { CORES_TEXT_BYTES = 256, BYTES_TEXT_BYTES = 24, STATUS_BYTES = 1024 };

struct stats_sources stats_sources(const struct dbufd *d)
{
    return (struct stats_sources){.carried = &d->carried,
                                  .db = d->db,
                                  .store = d->store,
                                  .reader = d->reader,
                                  .writers = d->writers,
                                  .writer_count = d->writer_count,
                                  .crash_buffer = crash_kind_name(d->crash.kind)};
}

/* Where the errno alone would say little, what it means for an output and what to do. */
static const char *why_no_output(const struct config *c, int error)
{
    switch (error) {
    case EINVAL:
        return c->output_io == IO_URING || c->output_io == IO_PWRITE
                   ? "O_DIRECT is refused there (Invalid argument), and output.io wants nothing "
                     "else: \"auto\" or \"buffered\" would do"
                   : strerror(error);
    case EWOULDBLOCK:
        return "another dbufd has it: stop that one, or choose another path";
    case EBADMSG:
        return "what is there was not written by dbufd, or its head is damaged; it was left as it "
               "is: "
               "move it away, or choose another output_file_path";
    case ENOTSUP:
        return "it was written by another version of dbufd: move it away";
    case ENXIO:
        return "nobody reads this FIFO: start its reader first";
    default:
        return strerror(error);
    }
}

static const char *why_no_source(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another program, or another dbufd, receives there: stop that one, or choose "
               "another";
    case ENOTSOCK:
        return "what is there is no socket, and was left as it is: move it away, or choose another";
    case EADDRNOTAVAIL:
        return "this machine has no such address: choose one that `ip address` shows; the service "
               "sees it only with the drop-in udp.conf";
    default:
        return strerror(error);
    }
}

const char *why_not(const struct config *config, int status, int rc)
{
    return status == EX_IOERR     ? why_no_output(config, -rc)
           : status == EX_NOINPUT ? why_no_source(-rc)
                                  : strerror(-rc);
}

int cannot(const struct dbufd *d, int status, const char *what, const char *where, int rc)
{
    char text[STATUS_BYTES];
    const struct event_field fields[] = {{"ERRNO", NULL, (uint64_t)-rc}};
    (void)snprintf(text, sizeof(text), "cannot %s %s: %s", what, where,
                   why_not(d->config, status, rc));
    notify_event(&d->notify, EVENT_CANNOT_START, fields, 1, "%s", text);
    notify_failed(-rc, text);
    return status;
}

void tell_memory(const struct dbufd *d)
{
    const struct region *region = db_region(d->db);
    const struct event_field fields[] = {{"BYTES", NULL, region->bytes}};
    if (region->huge_errno != 0)
        notify_event(&d->notify, EVENT_NO_HUGE_PAGES, fields, 1,
                     "the buffer has ordinary pages, as no huge pages are reserved; "
                     "vm.nr_hugepages=%zu would do",
                     region->bytes / (2 << 20) + 1);
    if (region->lock_errno != 0)
        notify_event(
            &d->notify, EVENT_MEMORY_NOT_LOCKED, fields, 1,
            "the buffer's memory is not locked (%s): a machine that swaps may slow it down; "
            "LimitMEMLOCK=infinity would do",
            strerror(region->lock_errno));
}

void tell_cores(const struct dbufd *d)
{
    char text[CORES_TEXT_BYTES];
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (unsigned i = 0; i < d->config->writer_count; i++)
        if (d->cpus.writer_cores[i] >= 0)
            CPU_SET((size_t)d->cpus.writer_cores[i], &cores);
    if (d->cpus.none_isolated)
        notify_event(&d->notify, EVENT_NOT_PINNED, NULL, 0,
                     "no isolated cores for us: threads run where the kernel puts them (boot with "
                     "isolcpus=, or name cores by cpus.writers and cpus.reader)");
    const bool pinned = CPU_COUNT(&cores) != 0;
    char reader[CORES_TEXT_BYTES] = "none";
    if (d->cpus.reader_core >= 0)
        (void)snprintf(reader, sizeof(reader), "%d", d->cpus.reader_core);
    (void)cpus_format(&cores, text, sizeof(text));
    const struct event_field fields[] = {{"READER_CORE", reader, 0},
                                         {"WRITER_CORES", pinned ? text : "none", 0}};
    notify_event(&d->notify, EVENT_CORES, fields, 2, "the reader is %s%s, the %u writer%s %s%s",
                 d->cpus.reader_core >= 0 ? "on core " : "not pinned",
                 d->cpus.reader_core >= 0 ? reader : "", (unsigned)d->config->writer_count,
                 d->config->writer_count == 1 ? " is" : "s are",
                 pinned ? "in turn on cores " : "not pinned", pinned ? text : "");
}

static void tell_receive_buffer(const struct dbufd *d)
{
    const int fd = writer_descriptor(d->writers[0]);
    char text[BYTES_TEXT_BYTES];
    int bytes = 0;
    socklen_t length = sizeof(bytes);
    if (d->config->source_type != SOURCE_UDP ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length) != 0)
        return;
    const struct event_field fields[] = {{"BYTES", NULL, (uint64_t)bytes}};
    notify_event(
        &d->notify, EVENT_RECEIVE_BUFFER, fields, 1,
        "each writer has a receive buffer of %s for datagrams from %s, as the kernel counts "
        "them; net.core.rmem_max says how large it may be",
        stats_bytes((uint64_t)bytes, text, sizeof(text)), d->config->source_address);
}

void tell_started(const struct dbufd *d, const struct db_geometry *geometry)
{
    const struct config *c = d->config;
    char memory[BYTES_TEXT_BYTES];
    const size_t bytes = 2 * (size_t)geometry->extent_bytes * geometry->extent_count;
    const struct event_field fields[] = {
        {"VERSION", DBUFD_VERSION, 0}, {"WRITERS", NULL, c->writer_count},
        {"BUFFER_BYTES", NULL, bytes}, {"EXTENT_BYTES", NULL, geometry->extent_bytes},
        {"SEED", NULL, d->seed},       {"PATH", c->output_file_path, 0}};
    notify_event(&d->notify, EVENT_STARTED, fields, sizeof(fields) / sizeof(*fields),
                 "dbufd %s: %" PRIu64 " writer%s (%s), buffer of %s in 2 halves of %" PRIu32
                 " extents, to %s",
                 DBUFD_VERSION, c->writer_count, c->writer_count == 1 ? "" : "s",
                 source_kind_name((enum source_kind)c->source_type),
                 stats_bytes(bytes, memory, sizeof(memory)), geometry->extent_count,
                 c->output_file_path);
    tell_memory(d);
    crash_tell(d);
    tell_cores(d);
    tell_receive_buffer(d);
}

void tell_stopped(const struct dbufd *d)
{
    struct stats stats;
    char bytes[BYTES_TEXT_BYTES];
    const struct stats_sources sources = stats_sources(d);
    stats_gather(&sources, &d->begun, &stats);
    assert(stats.buffered_bytes == 0 && stats.buffered_blocks == 0);
    stats_gather_preemptions(&sources, &stats);
    if (d->config->enable_stats)
        stats_report(&d->notify, &stats, /* final= */ 1);
    const struct event_field fields[] = {{"PERSISTED_BYTES", NULL, stats.persisted_bytes},
                                         {"PERSISTED_BLOCKS", NULL, stats.persisted_blocks}};
    const struct event_field left[] = {{"BYTES", NULL, stats.at_risk_bytes}};
    if (stats.at_risk_bytes != 0)
        notify_event(&d->notify, EVENT_LEFT_BEHIND, left, 1,
                     "%" PRIu64
                     " bytes were stored in files that were deleted, cut or failed to sync "
                     "before they were safe: dbufctl verify tells what is missing",
                     stats.at_risk_bytes);
    char text[STATUS_BYTES];
    (void)snprintf(
        text, sizeof(text), "stopped: %" PRIu64 " blocks, %s stored, nothing left in memory",
        stats.persisted_blocks, stats_bytes(stats.persisted_bytes, bytes, sizeof(bytes)));
    notify_event(&d->notify, EVENT_STOPPED, fields, 2, "%s", text);
    notify_status(text);
}
