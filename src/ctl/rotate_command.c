/* SPDX-License-Identifier: MIT
 *
 * dbufctl rotate: makes the dbufd that records a stream end its segment.
 *
 * Happy path: the stream's lock names the process; SIGUSR2 is sent to it; the next segment comes; what
 * was written until then is closed, and can be taken away.
 * Failure modes: no daemon has the stream; it belongs to another user; it is in a container, where its
 * process id means somebody else here (so its name is looked at first: SIGUSR2 ends a process that does
 * not care for it); the disk refuses: then no segment comes in time, and that is told.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../disk/stream.h"
#include "ctl.h"

enum { WAIT_S = 15, LOOK_MS = 20 };

/* The number of the newest segment by its name, and how many there are; -errno. */
static int newest(const char *stream, uint64_t *ret_number, size_t *ret_count)
{
    struct stream_files files;
    int rc = stream_list(stream, &files);
    if (rc < 0) {
        return rc;
    }
    *ret_number = files.count > 0 ? files.files[files.count - 1].number : 0;
    *ret_count = files.count;
    stream_files_free(&files);
    return 0;
}

/* Whether the process is a dbufd, for all that can be seen from here. */
static bool is_dbufd(pid_t pid)
{
    char path[64], name[16] = "";
    snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool is = fgets(name, sizeof(name), file) != NULL && strcmp(name, "dbufd\n") == 0;
    (void)fclose(file); /* only read from */
    return is;
}

/* The descriptor is of one process for ever, whoever gets its number when it has ended. */
static int open_process(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int send_rotate(int process)
{
    return syscall(SYS_pidfd_send_signal, process, SIGUSR2, NULL, 0) < 0 ? -errno : 0;
}

/* A descriptor of the process that has the stream; -1: it is told why there is none. */
static int find_daemon(const char *stream)
{
    pid_t pid, again;
    int rc = stream_holder(stream, &pid);
    if (rc < 0) {
        (void)cannot(stream, -rc);
        return -1;
    }
    if (rc == 0) {
        fprintf(stderr, "dbufctl: %s: no dbufd that runs has this stream\n", stream);
        return -1;
    }
    if (pid == 0) {
        fprintf(stderr,
                "dbufctl: %s: a dbufd has it, and could not leave its process id; "
                "kill -USR2 does the same\n",
                stream);
        return -1;
    }
    int process = open_process(pid);
    /* It must still be the one that has the stream, now that it cannot be mistaken any more. */
    if (process < 0 || !is_dbufd(pid) || stream_holder(stream, &again) != 1 || again != pid) {
        fprintf(stderr,
                "dbufctl: %s: process %ld has it, and no dbufd is seen there from here: does it "
                "run in a container? kill -USR2 does the same there\n",
                stream, (long)pid);
        if (process >= 0) {
            (void)close(process);
        }
        return -1;
    }
    return process;
}

/* Waits for another segment than there was. */
static int wait_for_segment(const char *stream, uint64_t number, size_t count)
{
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000};
    for (int i = 0; i < WAIT_S * 1000 / LOOK_MS; i++) {
        uint64_t number_now;
        size_t count_now;
        (void)nanosleep(&look, NULL);
        int rc = newest(stream, &number_now, &count_now);
        if (rc < 0) {
            return cannot(stream, -rc);
        }
        /* One that was moved away before leaves its name to the next one. */
        if (number_now > number || (number == 0 && count_now > count)) {
            return 0;
        }
    }
    fprintf(stderr,
            "dbufctl: %s: dbufd was asked, and no segment has begun within %d s: the disk refuses, "
            "or output.flush_interval is longer; its messages tell\n",
            stream, WAIT_S);
    return EXIT_CANNOT;
}

static int rotate(const char *stream)
{
    uint64_t number;
    size_t count;
    int rc = newest(stream, &number, &count);
    if (rc < 0) {
        return cannot(stream, -rc);
    }
    int process = find_daemon(stream);
    if (process < 0) {
        return EXIT_CANNOT;
    }
    rc = send_rotate(process);
    (void)close(process);
    return rc < 0 ? cannot(stream, -rc) : wait_for_segment(stream, number, count);
}

int rotate_command(const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            return command_help(self);
        }
        return option_error(self, argv);
    }
    if (argc - optind != 1) {
        return usage_error(self, "which STREAM? That is the output_file_path of a dbufd that runs");
    }
    return rotate(argv[optind]);
}
