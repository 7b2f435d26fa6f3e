/* SPDX-License-Identifier: MIT
 *
 * Happy path: sources, then threads, then all of them go.
 * Failure modes: a source cannot be opened, the system gives no thread: -errno, and crew_close.
 */
#include "crew.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "dbufd.h"

/* The parts add up, the first ones take the rest of the division. */
static uint64_t part_of(uint64_t total, uint64_t count, uint64_t index)
{
    return total / count + (index < total % count ? 1 : 0);
}

uint64_t rate_of(const struct config *c, unsigned writer)
{
    const uint64_t rate = part_of(c->source_rate, c->writer_count, writer);
    return c->source_rate != 0 && rate == 0 ? 1 : rate;
}

static struct source_options source_options(const struct dbufd *d, const struct config *c,
                                            uint64_t seed, unsigned writer, int handed_fd)
{
    return (struct source_options){.kind = (enum source_kind)c->source_type,
                                   .framing = (enum source_framing)c->source_framing,
                                   .path = c->source_path,
                                   .address = c->source_address,
                                   .seed = seed,
                                   .min_block = c->source_min_block,
                                   .max_block = c->source_max_block,
                                   .writer = writer,
                                   .stop_fd = d->stop_fd,
                                   .handed_fd = handed_fd};
}

/* The socket that writer `i` may go on with: its own; of a unix socket, that of any, for they may all listen
 * at one. */
static int socket_for(const struct crew *crew, const struct config *c, unsigned i,
                      const struct crew_sockets *sockets)
{
    const bool shared = c->source_type == SOURCE_UNIX;
    if (i < sockets->count && sockets->fds[i] >= 0)
        return sockets->fds[i];
    if (shared && sockets->count > 0 && sockets->fds[0] >= 0)
        return sockets->fds[0];
    return shared && crew->sources[0] != NULL ? source_descriptor(crew->sources[0]) : -1;
}

int crew_copy_sockets(const struct dbufd *d, struct crew_sockets *ret)
{
    *ret = (struct crew_sockets){.fds = malloc(d->writer_count * sizeof(*ret->fds))};
    if (ret->fds == NULL)
        return -ENOMEM;
    for (; ret->count < d->writer_count; ret->count++) {
        int fd = writer_descriptor(d->writers[ret->count]);
        if (fd >= 0 && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
            const int error = errno;
            crew_close_sockets(ret);
            return -error;
        }
        ret->fds[ret->count] = fd;
    }
    return 0;
}

void crew_close_sockets(struct crew_sockets *sockets)
{
    for (unsigned i = 0; i < sockets->count; i++)
        if (sockets->fds[i] >= 0)
            (void)close(sockets->fds[i]);
    free(sockets->fds);
    *sockets = (struct crew_sockets){0};
}

int crew_open_sources(struct crew *crew, const struct dbufd *d, const struct config *c,
                      uint64_t seed, unsigned kept, const struct crew_sockets *sockets)
{
    int rc = 0;
    crew->count = (unsigned)c->writer_count;
    crew->sources = calloc(crew->count, sizeof(*crew->sources));
    if (crew->sources == NULL)
        return -ENOMEM;
    for (unsigned i = kept; i < crew->count && rc == 0; i++) {
        const struct source_options options =
            source_options(d, c, seed, i, socket_for(crew, c, i, sockets));
        rc = source_open(&crew->sources[i], &options);
    }
    return rc;
}

int crew_open_threads(struct crew *crew, const struct config *c, const struct cpus_plan *cpus,
                      uint32_t extent_count)
{
    int rc = 0;
    crew->count = (unsigned)c->writer_count;
    crew->writers = calloc(crew->count, sizeof(*crew->writers));
    if (crew->writers == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < crew->count && rc == 0; i++)
        rc = writer_open(&crew->writers[i], cpus->writer_cores[i]);
    if (rc == 0)
        rc = reader_open(&crew->reader, extent_count, cpus->reader_core);
    return rc;
}

static void go_reader(struct dbufd *d)
{
    const struct reader_options options = {
        .db = d->db,
        .store = d->store,
        .notify = &d->notify,
        .tuning = reader_tuning(d->config),
        .ended_fd = d->fds[FD_READER_ENDED],
    };
    reader_go(d->reader, &options);
}

static void go_writer(struct dbufd *d, unsigned i, struct source *source, uint64_t limit)
{
    const struct writer_options options = {
        .db_writer = db_writer(d->db, i),
        .notify = &d->notify,
        .source = source_options(d, d->config, d->seed, i, /* handed_fd= */ -1),
        .rate = rate_of(d->config, i),
        .limit = limit,
        .stop = &d->stop,
        .ended_fd = d->fds[FD_WRITERS_ENDED],
    };
    if (source != NULL)
        source_begin_at(source, store_next_blocks(d->store)[i]);
    writer_go(d->writers[i], &options, source);
}

unsigned crew_go(struct dbufd *d, struct crew *crew, uint64_t taken)
{
    const uint64_t total = d->config->source_limit;
    const uint64_t left = total > taken ? total - taken : 0;
    unsigned sources = 0, going = 0;
    for (unsigned i = 0; i < crew->count; i++)
        sources += crew->sources[i] != NULL;
    d->reader = crew->reader;
    d->writers = crew->writers;
    d->writer_count = crew->count;
    d->writers_ended = crew->count - sources;
    go_reader(d);
    for (unsigned i = 0; i < crew->count; i++) {
        const bool limited = total != 0 && crew->sources[i] != NULL;
        go_writer(d, i, crew->sources[i], limited ? part_of(left, sources, going) : UINT64_MAX);
        going += crew->sources[i] != NULL;
    }
    free(crew->sources);
    *crew = (struct crew){0};
    return going;
}

void crew_close(struct crew *crew)
{
    for (unsigned i = 0; crew->writers != NULL && i < crew->count; i++)
        if (crew->writers[i] != NULL)
            (void)writer_close(crew->writers[i]); /* it has not worked: nothing broke */
    for (unsigned i = 0; crew->sources != NULL && i < crew->count; i++)
        source_close(crew->sources[i]);
    if (crew->reader != NULL)
        (void)reader_join(crew->reader);
    free(crew->writers);
    free(crew->sources);
    *crew = (struct crew){0};
}
