/* SPDX-License-Identifier: MIT
 *
 * The life of dbufd: start in order, run, stop in the reverse order.
 *
 *     configuration -> cores -> what a crash has left -> store -> double buffer -> sources -> threads
 *                   -> READY
 *
 * On SIGTERM, SIGINT, the end of --duration or of every source, the writers end first, then the
 * double buffer is closed, the reader stores what is left and closes the stream. While the disk
 * refuses, dbufd drains on and says what is still unsaved. The one other way out: told to stop, with a
 * disk that goes on refusing, it puts what is in memory where the next start finds it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "command_line.h"
#include "dbufd.h"
#include "sandbox.h"

/* 0, or the exit status with the reason told. */
static int start_crew(struct dbufd *d, uint32_t extent_count)
{
    struct crew crew = {0};
    int status = EX_OK;
    int rc =
        crew_open_sources(&crew, d, d->config, d->seed, /* kept= */ 0, &(struct crew_sockets){0});
    if (rc < 0)
        status = cannot(d, EX_NOINPUT, "open source",
                        d->config->source_type == SOURCE_UDP ? d->config->source_address
                                                             : d->config->source_path,
                        rc);
    else if ((rc = crew_open_threads(&crew, d->config, &d->cpus, extent_count)) < 0)
        status = cannot(d, EX_OSERR, "start", "all threads; raise LimitNPROC and TasksMax", rc);
    else
        (void)crew_go(d, &crew, 0);
    crew_close(&crew); /* of one that has gone nothing is left there */
    return status;
}

/* Everything up to READY=1. 0, or the exit status with the reason told. */
static int start(struct dbufd *d, uint64_t duration_ns)
{
    const struct config *c = d->config;
    struct db_geometry geometry;
    int rc;

    cut_capacity(c, &geometry);
    if ((rc = choose_seed(c, &d->seed)) < 0)
        return cannot(d, EX_OSERR, "get", "a random seed", rc);
    if ((rc = open_fds(d, duration_ns)) < 0)
        return cannot(d, EX_OSERR, "open", "timers and signals", rc);
    if ((rc = plan_cores(c, &d->cpus)) < 0)
        return cannot(d, EX_OSERR, "read", "the list of cores", rc);
    if ((rc = crash_open(d)) != EX_OK || (rc = crash_recover(d)) != EX_OK)
        return rc;
    if ((rc = make_uring(d, c, &d->uring)) < 0)
        return cannot(d, EX_IOERR, "write by io_uring, as output.io says, to", c->output_file_path,
                      rc);
    if ((rc = make_store(d, c, d->seed, &geometry, d->uring, &d->store)) < 0)
        return cannot(d, EX_IOERR, "open output", c->output_file_path, rc);
    if ((rc = make_buffer(c, d->seed, &geometry, store_uuid(d->store), &d->crash, &d->db)) < 0)
        return cannot(d, EX_OSERR,
                      "get the memory of the buffer; lower buffer_capacity; crash_buffer is",
                      c->crash_buffer, rc);
    db_set_next_blocks(d->db, store_next_blocks(d->store));
    if ((rc = crash_keep(&d->crash, d->db)) < 0)
        return cannot(d, EX_OSERR, "have the service manager keep",
                      "the memory of the buffer; FileDescriptorStoreMax=4 in the unit, or another "
                      "crash_buffer, would do",
                      rc);
    if ((rc = start_crew(d, geometry.extent_count)) != EX_OK)
        return rc;

    tell_started(d, &geometry);
    const struct stats_sources sources = stats_sources(d);
    stats_gather(&sources, &d->begun, &d->begun);
    d->ticked = d->reported = d->begun;
    serve(d);
    notify_ready();
    return 0;
}

/* Ends what start has begun, in the reverse order. Returns the exit status. */
static int stop(struct dbufd *d, int status)
{
    ask_stop(d);
    reload_give_up(d);
    if (d->reader != NULL && status == EX_OK)
        tell_stopped(d);
    for (unsigned i = 0; i < d->writer_count; i++)
        if (writer_close(d->writers[i]) < 0 && status == EX_OK)
            status = EX_NOINPUT;
    free(d->writers);
    if (d->reader != NULL) {
        db_close(d->db);
        (void)reader_join(d->reader);
    }
    crash_close(d);
    db_free(d->db);
    if (d->store != NULL && d->reader == NULL)
        (void)store_finish(d->store); /* it holds nothing: unclosed, its next start would say so */
    store_free(d->store);
    free_uring(d->uring);
    cpus_plan_free(&d->cpus);
    for (int i = 0; i < FD_COUNT && d->preparing == NULL; i++)
        if (d->fds[i] >= 0)
            (void)close(d->fds[i]);
    if (d->stop_fd >= 0)
        (void)close(d->stop_fd);
    return status;
}

/* Whether the unit lets the service write where the file says; if not, what would is printed. */
static bool sandbox_lets_outputs(const struct config *config)
{
    const bool first = sandbox_check(stderr, "output_file_path", config->output_file_path);
    return sandbox_check(stderr, "output.failover_path", config->output_failover_path) && first;
}

/* Whether the unit lets the service have the network that an address is of. */
static bool sandbox_lets_network(const char *key, const char *text)
{
    struct address address;
    return address_parse(text, &address) < 0 || address.any.sa_family == AF_UNIX ||
           sandbox_check_network(stderr, key, text, &address);
}

/* Whether the unit lets the service have all that the configuration names; all that it does not is told. */
static bool sandbox_lets(const struct config *config)
{
    const bool outputs = sandbox_lets_outputs(config);
    const bool source = config->source_type != SOURCE_UDP ||
                        sandbox_lets_network("source.address", config->source_address);
    return sandbox_lets_network("metrics.listen", config->metrics_listen) && outputs && source;
}

/* The configuration, or the exit status in *ret_status: read, told to be wrong, checked, printed.
 */
static struct config *configure(const struct notify *notify, const struct command_line *line,
                                const char *path, int *ret_status)
{
    int rc;
    struct config *config = load_config(notify, line, path, &rc);
    *ret_status = rc == 0 ? EX_OK : rc == -ENOMEM ? EX_OSERR : EX_CONFIG;
    if (rc == 0 && line->print_config)
        config_print(config, stdout);
    /* The file of the service must be right for the service, whoever looks at it. */
    if (rc == 0 && line->check && line->override_count == 0 && path != NULL &&
        strcmp(path, CONFIG_DEFAULT_PATH) == 0 && !sandbox_inside() && !sandbox_lets(config))
        *ret_status = EX_CONFIG;
    else if (rc == 0 && line->check)
        printf("dbufd: %s: the configuration is right\n", path != NULL ? path : "defaults");
    return config;
}

/* Descriptors 0 to 2 are never something else's: what was closed there becomes a /dev/null that refuses
 * to be read, so that a source "-" without a standard input says so. */
static bool hold_standard_fds(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDWR) != fd)
            return false;
    return true;
}

/* Everything between the command line and the exit status. */
static int record(const struct command_line *line)
{
    int status;
    struct dbufd d = {.line = line, .config_path = line->config_path, .stop_fd = -1};
    for (int i = 0; i < FD_COUNT; i++)
        d.fds[i] = -1;
    d.crash.file = -1;
    notify_open(&d.notify);
    if (d.config_path == NULL && access(CONFIG_DEFAULT_PATH, F_OK) == 0)
        d.config_path = CONFIG_DEFAULT_PATH;
    d.config = configure(&d.notify, line, d.config_path, &status);
    if (d.config == NULL && !line->check)
        crash_save_found(&d.notify);
    if (d.config != NULL && !line->check && !line->print_config) {
        d.notify.debug = d.config->debug_mode;
        status = start(&d, line->duration_ns);
        if (status == EX_OK)
            run(&d);
        serve_end(&d);
        if (!d.left)
            status = stop(&d, status != EX_OK ? status : d.status);
        /* Held writers never end, nor does who waits for a disk: the process ends around them. */
        if (d.left || d.preparing != NULL) {
            notify_rest(&d.notify);
            _exit(d.left ? EX_TEMPFAIL : status);
        }
    }
    notify_close(&d.notify);
    config_free(d.config);
    return status;
}

int main(int argc, char *argv[])
{
    if (!hold_standard_fds())
        return EX_OSERR;
    struct command_line line;
    int status = command_line_parse(&line, argc, argv);
    if (status < 0) {
        status = record(&line);
        command_line_free(&line);
    }
    /* What --help, --check or --print-config were asked for must have been written. */
    if (fflush(stdout) != 0 && status == EX_OK)
        status = EX_IOERR;
    return status;
}
