/* SPDX-License-Identifier: MIT
 *
 * Why each block is stored once.
 *
 * The region has, in the order in which they are stored, the extents that were not released. The disk
 * has some of them from the front on, whole; a torn one is cut off and comes again. How many that are
 * is seen by comparing the two (replay_there.c), from where the region says that the half begins which
 * was being stored. So a record of what is stored, which could be wrong by the moment of the kill, is
 * not needed, and what is true after a kill is true after a kill in here: the region's target is kept
 * up to date by replay as it was by the run.
 *
 * Segments prove it once more: each writer's next block, as the store has found it in the files, must
 * be the first that is to be stored. Raw files have no sequences; there the bytes are compared. Each
 * half that is stored is marked so in the region before the next one is begun.
 *
 * Failure modes:
 *   - the segments are gone: a new stream begins, with the blocks that the region has
 *   - some are gone, or a power cut took what was not synced: verifying the stream shows the gap
 *   - another stream is there, or this one has gone on without the region's blocks, so that their
 *     sequences are taken: -ESTALE, it is no place for them
 *   - blocks that contradict the others of their writer (a damaged region): left out, and counted
 */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../disk/stream.h"
#include "replay_there.h"

struct replay {
    struct region_view view;
    struct replay_options options;
    const char *path;
    const char *failover_path; /* NULL: none */
    enum store_format format;
    struct store *store; /* NULL: not yet open */
    bool finished;

    struct extent_header **extents; /* all, in the order in which they are stored */
    size_t count;
    size_t there;    /* of them are on the disk already, from the first on (segments) */
    size_t done;     /* of them are in halves that are stored */
    uint64_t before; /* stored bytes of those of the half that is being stored that are there */

    struct extent_header **half; /* what is stored of this half */
    size_t half_count;
    size_t half_end; /* behind its extents */
    bool gathered;   /* it is known */

    uint64_t next_blocks[FORMAT_WRITERS_MAX];
    struct replay_account account;
};

static void list_extents(struct replay *r)
{
    bool damaged;

    for (uint32_t e = 0; e < r->view.epoch_count; e++) {
        for (uint32_t i = 0; i < r->view.extent_count; i++) {
            struct extent_header *extent =
                region_extent(&r->view, r->view.first_epoch + e, i, &damaged);
            r->account.extents_damaged += damaged;
            if (extent != NULL)
                r->extents[r->count++] = extent;
        }
    }
}

int replay_open(struct replay **ret, const struct region_view *view,
                const struct replay_options *options)
{
    struct replay *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    r->view = *view;
    r->options = *options;
    const struct region_run *run = &view->control->run;
    const bool elsewhere = options->path != NULL;
    r->path = elsewhere ? options->path : run->path;
    r->failover_path = elsewhere || run->failover_path[0] == '\0' ? NULL : run->failover_path;
    r->format = elsewhere ? options->format : (enum store_format)run->format;
    r->extents = calloc(2 * (size_t)view->extent_count, sizeof(struct extent_header *));
    r->half = calloc(view->extent_count, sizeof(struct extent_header *));
    if (r->extents == NULL || r->half == NULL) {
        replay_free(r);
        return -ENOMEM;
    }
    list_extents(r);
    *ret = r;
    return 0;
}

/* ---- The stream ------------------------------------------------------------------------------- */

static void keep_target(void *context, const struct store_target *target)
{
    struct replay *r = context;
    const struct region_target kept = {.epoch = target->epoch,
                                       .number = target->number,
                                       .offset = target->offset,
                                       .position = target->position + r->before};
    control_set_target(r->view.control, &kept);
}

/* What was being stored, if that is still to be done. */
static bool find_target(const struct replay *r, struct store_target *ret)
{
    const struct region_target target = control_target(r->view.control);

    *ret = (struct store_target){.epoch = target.epoch,
                                 .number = target.number,
                                 .offset = target.offset,
                                 .position = target.position};
    return r->options.path == NULL && r->view.epoch_count > 0 &&
           target.epoch == r->view.first_epoch;
}

static bool is_device(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

/* What is on the disk: r->there, or raw target->position. A device cannot be asked: of segments the half
 * comes again, in a stream of its own; raw bytes do not. */
static int find_there(struct replay *r, struct store_target *target)
{
    const struct there_extents extents = {r->extents, r->count};

    if (is_device(r->path))
        return 0;
    struct stream_files files;
    int rc = stream_list_both(r->path, r->failover_path, &files);
    if (rc < 0)
        return rc;
    rc = r->format == STORE_RAW ? there_in_raw(&files, target, &extents, &target->position)
                                : there_in_segments(&files, target, &extents, &r->there);
    stream_files_free(&files);
    return rc;
}

/* The first block of each writer that is to be stored; of one that has none, what is behind its last. */
static void find_next_blocks(struct replay *r)
{
    bool seen[FORMAT_WRITERS_MAX] = {false};

    for (size_t i = 0; i < r->count; i++) {
        const struct extent_header *extent = r->extents[i];
        if (i < r->there)
            r->next_blocks[extent->writer] = extent->first_block + extent->block_count;
        else if (!seen[extent->writer])
            r->next_blocks[extent->writer] = extent->first_block;
        seen[extent->writer] = seen[extent->writer] || i >= r->there;
    }
}

/* Whether the stream goes on where the region's blocks do, or before: then some are lost. */
static int check_next_blocks(struct replay *r)
{
    const uint64_t *next = store_next_blocks(r->store);
    bool seen[FORMAT_WRITERS_MAX] = {false};

    for (size_t i = r->there; i < r->count; i++) {
        const unsigned writer = r->extents[i]->writer;
        if (!seen[writer] && next[writer] > r->next_blocks[writer])
            return -ESTALE;
        if (!seen[writer])
            r->account.blocks_lost += r->next_blocks[writer] - next[writer];
        seen[writer] = true;
    }
    return 0;
}

static int open_store(struct replay *r)
{
    const struct region_run *run = &r->view.control->run;
    struct store_target target;
    struct store_before before = {.uuid = run->stream_uuid, .first_blocks = r->next_blocks};
    const struct store_options options = {
        .path = r->path,
        .failover_path = r->failover_path,
        .format = r->format,
        .durability = DURABILITY_HALF, /* what the region gives up must be on the disk */
        .segment_bytes = r->options.path == NULL ? run->segment_bytes : 0,
        .min_free_bytes = r->options.min_free_bytes,
        .extent_bytes_max = r->view.extent_bytes,
        .writer_count = r->view.writer_count,
        .random = run->random != 0,
        .seed = run->seed,
        .min_block = run->min_block,
        .max_block = run->max_block,
        .on_event = r->options.on_event,
        .context = r->options.context,
        .on_target = keep_target,
        .target_context = r,
        .before = &before,
        .output = r->options.output,
    };

    if (find_target(r, &target)) {
        int rc = is_device(r->path) ? 0 : store_await(r->path);
        if (rc == 0 && r->failover_path != NULL)
            rc = store_await(r->failover_path);
        if (rc == -EWOULDBLOCK)
            return -EBUSY;
        if (rc == 0)
            rc = find_there(r, &target);
        if (rc < 0)
            return rc;
        before.target = &target;
    }
    find_next_blocks(r);
    int rc = store_open(&r->store, &options);
    if (rc < 0)
        return rc == -EWOULDBLOCK ? -EBUSY : rc; /* -EAGAIN is the same, and means a full device */
    rc = check_next_blocks(r);
    if (rc < 0) {
        (void)store_finish(r->store); /* it holds nothing: unclosed, its next start would say so */
        store_free(r->store);
        r->store = NULL;
        return rc;
    }
    return 1;
}

/* ---- A half ----------------------------------------------------------------------------------- */

/* Whether the extent is to be stored. */
static bool is_missing(struct replay *r, const struct extent_header *extent)
{
    uint64_t *next = &r->next_blocks[extent->writer];

    if (extent->first_block < *next) {
        r->account.blocks_doubtful += extent->block_count;
        return false;
    }
    r->account.blocks_lost += extent->first_block - *next;
    *next = extent->first_block + extent->block_count;
    return true;
}

static void gather(struct replay *r)
{
    size_t i = r->done;

    r->half_count = 0;
    r->before = 0;
    for (; i < r->count && r->extents[i]->epoch == r->view.first_epoch; i++) {
        struct extent_header *extent = r->extents[i];
        if (i < r->there) {
            r->account.blocks_there += extent->block_count;
            r->before += extent_stored_bytes(extent->used);
        } else if (is_missing(r, extent))
            r->half[r->half_count++] = extent;
    }
    r->half_end = i;
    r->gathered = true;
}

static int store_epoch(struct replay *r)
{
    if (!r->gathered)
        gather(r);
    int rc = r->half_count > 0 ? store_write(r->store, r->half, r->half_count) : 0;
    if (rc < 0)
        return rc;
    region_stored(&r->view);
    r->done = r->half_end;
    r->gathered = false;
    const struct store_account stored = store_account(r->store);
    r->account.blocks = stored.blocks;
    r->account.bytes = stored.bytes;
    return 1;
}

static int finish(struct replay *r)
{
    int rc = store_finish(r->store);
    if (rc < 0)
        return rc;
    store_free(r->store);
    r->store = NULL;
    r->finished = true;
    return 0;
}

int replay_step(struct replay *r)
{
    if (r->finished)
        return 0;
    if (r->store == NULL)
        return open_store(r);
    return r->view.epoch_count > 0 ? store_epoch(r) : finish(r);
}

void replay_account(const struct replay *r, struct replay_account *ret)
{
    *ret = r->account;
    (void)strncpy(ret->path, r->store != NULL ? store_path(r->store) : r->path,
                  sizeof(ret->path) - 1);
}

void replay_free(struct replay *r)
{
    if (r == NULL)
        return;
    store_free(r->store);
    free(r->extents);
    free(r->half);
    free(r);
}
