/* SPDX-License-Identifier: MIT
 *
 * dbufctl recover: gets the blocks out of what was in dbufd's memory: a rescue file, or the file that
 * crash_buffer names; or, of a stream alone, cuts its torn tail (recover_stream.c).
 *
 * Happy path: what was published and not stored becomes a new stream, or the bytes of a new file; the
 * file that it comes from stays as it is.
 * Failure modes: damage in it costs what is damaged, and is counted; a disk that refuses ends it, to be
 * called again.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../buffer/region.h"
#include "../daemon/replay.h"
#include "../disk/stream.h"
#include "ctl.h"
#include "print.h"
#include "recover_stream.h"

static int say_account(const struct replay_account *account, const char *output)
{
    char bytes[24];

    printf("%" PRIu64 " blocks, %s of data, were stored in %s", account->blocks,
           format_bytes(account->bytes, bytes), output);
    if (account->blocks_lost > 0) {
        printf("; %" PRIu64 " between them are missing", account->blocks_lost);
    }
    if (account->extents_damaged > 0 || account->blocks_doubtful > 0) {
        printf("; damaged: %" PRIu64 " extents hold more that cannot be read, %" PRIu64
               " blocks contradict others and were left out",
               account->extents_damaged, account->blocks_doubtful);
    }
    printf("\n");
    return account->blocks_lost + account->extents_damaged + account->blocks_doubtful > 0
               ? EXIT_DAMAGED
               : 0;
}

static int refused(const char *output, int rc)
{
    if (rc == -EBADMSG || rc == -ENOTSUP) {
        fprintf(stderr, "dbufctl: %s: was not written by dbufd, or by another version\n", output);
        return EXIT_CANNOT;
    }
    return cannot(output, -rc);
}

static int recover(const struct region_view *view, const char *output, enum store_format format)
{
    const struct replay_options options = {.path = output, .format = format};
    struct replay *replay;
    struct replay_account account;
    int rc = replay_open(&replay, view, &options);

    if (rc < 0) {
        return cannot(output, -rc);
    }
    do {
        rc = replay_step(replay);
    } while (rc == 1);
    replay_account(replay, &account);
    replay_free(replay);
    return rc < 0 ? refused(output, rc) : say_account(&account, output);
}

static int open_region(const char *path, struct region *ret, struct region_view *ret_view)
{
    int rc = region_adopt_copy(ret, path);

    if (rc == 0) {
        rc = region_look(ret->map, ret->bytes, ret_view);
        if (rc == 0) {
            return 0;
        }
        region_close(ret);
    }
    switch (rc) {
    case -EWOULDBLOCK:
        fprintf(stderr, "dbufctl: %s: a dbufd that runs has it\n", path);
        return EXIT_CANNOT;
    case -EBADMSG:
        fprintf(stderr, "dbufctl: %s: is no memory of dbufd's\n", path);
        return EXIT_CANNOT;
    case -ENOTSUP:
        fprintf(stderr,
                "dbufctl: %s: is the memory of another version of dbufd: take its dbufctl\n", path);
        return EXIT_CANNOT;
    case -ENODATA:
        fprintf(stderr, "dbufctl: %s: no block was ever put in there\n", path);
        return EXIT_CANNOT;
    default:
        return cannot(path, -rc);
    }
}

/* Whether it is a file of the double buffer's memory. */
static bool is_region(const char *path)
{
    struct region region;
    struct region_view view;
    int rc = region_adopt_copy(&region, path);
    if (rc < 0) {
        return false;
    }
    rc = region_look(region.map, region.bytes, &view);
    region_close(&region);
    return rc == 0 || rc == -ENOTSUP;
}

/* Whether there is a file, or a segment of a stream; a pipe or a device may be. */
static bool is_there(const char *output)
{
    struct stream_files files;

    if (stream_list(output, &files) < 0) {
        return false; /* the store will say why */
    }
    const bool there = files.count > 0;
    stream_files_free(&files);
    return there;
}

int recover_command(const struct command *self, int argc, char **argv)
{
    static const struct option options[] = {
        {"raw", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'}, {0}};
    enum store_format format = STORE_SEGMENTS;
    struct region region;
    struct region_view view;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            format = STORE_RAW;
            break;
        case 'h':
            return command_help(self);
        default:
            return option_error(self, argv);
        }
    }
    if (argc - optind == 1 && is_region(argv[optind])) {
        return usage_error(self, "%s is from dbufd's memory: into which OUTPUT?", argv[optind]);
    }
    if (argc - optind == 1 && format == STORE_SEGMENTS) {
        return recover_stream(argv[optind]);
    }
    if (argc - optind != 2) {
        return usage_error(self, "which STREAM; or which RESCUE, and into which OUTPUT?");
    }
    const char *output = argv[optind + 1];
    if (is_there(output)) {
        return cannot(output, EEXIST); /* what is there may have gone on without these blocks */
    }
    int rc = open_region(argv[optind], &region, &view);
    if (rc != 0) {
        return rc;
    }
    rc = recover(&view, output, format);
    region_close(&region);
    return rc;
}
