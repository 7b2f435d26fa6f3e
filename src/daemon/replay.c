/* SPDX-License-Identifier: MIT
 *
 * Why each block is stored once.
 *
 * Segments: the store finds the last whole extent in the files, and with it each writer's next block;
 * everything before is there, by the way in which it is stored. So an extent of the region whose
 * blocks are all before its writer's next one is on the disk, one that begins with the next one is
 * not, and a torn one was cut off and comes again whole. No record of what was being stored is needed
 * for it, so none can be wrong. What is true after a kill is true after a kill in here.
 *
 * Raw: files without sequences. The region's target says where the half that was being stored begins,
 * and the file's size how much of it is there; the store leaves that much out. Each half that is
 * stored is marked so in the region before the next one is begun, as there is one target only.
 *
 * Failure modes:
 *   - the segments are gone: a new stream begins, with the blocks that the region has
 *   - some are gone, or a power cut took what was not synced: verifying the stream shows the gap
 *   - another stream is there: -ESTALE, it is no place for these blocks
 *   - blocks that contradict the others of their writer (a damaged region): left out, and counted
 */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct replay {
    struct region_view view;
    struct replay_options options;
    const char *path;
    enum store_format format;
    struct store *store; /* NULL: not yet open */
    bool finished;

    struct extent_header **extents; /* of the half that is being stored, */
    size_t count;
    bool gathered; /* it is known which those are */
    uint64_t next_blocks[FORMAT_WRITERS_MAX];
    struct replay_account account;
};

int replay_open(struct replay **ret, const struct region_view *view,
                const struct replay_options *options)
{
    struct replay *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return -ENOMEM;
    r->view = *view;
    r->options = *options;
    r->path = options->path != NULL ? options->path : view->control->run.path;
    r->format = options->path != NULL ? options->format
                                      : (enum store_format)view->control->run.format;
    r->account.extents_damaged = region_content(view).damaged; /* before they are put right */
    r->extents = calloc(view->extent_count, sizeof(struct extent_header *));
    if (r->extents == NULL) {
        free(r);
        return -ENOMEM;
    }
    *ret = r;
    return 0;
}

/* ---- The stream ------------------------------------------------------------------------------- */

/* The first block that the region has of each writer. */
static void find_first_blocks(struct replay *r)
{
    const struct region_view *view = &r->view;
    bool seen[FORMAT_WRITERS_MAX] = {false}, damaged;

    for (uint32_t e = 0; e < view->epoch_count; e++) {
        for (uint32_t i = 0; i < view->extent_count; i++) {
            const struct extent_header *extent =
                region_extent(view, view->first_epoch + e, i, &damaged);
            if (extent == NULL || seen[extent->writer])
                continue;
            seen[extent->writer] = true;
            r->next_blocks[extent->writer] = extent->first_block;
        }
    }
}

static void keep_target(void *context, const struct store_target *target)
{
    struct replay *r = context;
    const struct region_target kept = {.epoch = target->epoch,
                                       .number = target->number,
                                       .offset = target->offset,
                                       .position = target->position};
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
    return r->options.path == NULL && target.epoch - r->view.first_epoch < r->view.epoch_count;
}

static int open_store(struct replay *r)
{
    const struct region_run *run = &r->view.control->run;
    struct store_target target;
    struct store_before before = {.uuid = run->stream_uuid, .first_blocks = r->next_blocks};
    const struct store_options options = {
        .path = r->path,
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

    find_first_blocks(r);
    if (find_target(r, &target))
        before.target = &target;
    int rc = store_open(&r->store, &options);
    if (rc < 0)
        return rc == -EWOULDBLOCK ? -EBUSY : rc; /* -EAGAIN is the same, and means a full device */
    memcpy(r->next_blocks, store_next_blocks(r->store),
           r->view.writer_count * sizeof(r->next_blocks[0]));
    return 1;
}

/* ---- A half ----------------------------------------------------------------------------------- */

/* Whether the extent is to be stored. */
static bool is_missing(struct replay *r, const struct extent_header *extent)
{
    uint64_t *next = &r->next_blocks[extent->writer];

    if (extent->first_block + extent->block_count <= *next) {
        r->account.blocks_there += extent->block_count;
        return false;
    }
    if (extent->first_block < *next) { /* no extent of ours is stored by halves */
        r->account.blocks_doubtful += extent->block_count;
        return false;
    }
    r->account.blocks_lost += extent->first_block - *next;
    *next = extent->first_block + extent->block_count;
    return true;
}

static void gather(struct replay *r)
{
    bool damaged;

    r->count = 0;
    for (uint32_t i = 0; i < r->view.extent_count; i++) {
        struct extent_header *extent = region_extent(&r->view, r->view.first_epoch, i, &damaged);
        if (extent != NULL && is_missing(r, extent))
            r->extents[r->count++] = extent;
    }
    r->gathered = true;
}

static int store_epoch(struct replay *r)
{
    if (!r->gathered)
        gather(r);
    int rc = r->count > 0 ? store_write(r->store, r->extents, r->count) : 0;
    if (rc < 0)
        return rc;
    region_stored(&r->view);
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
    free(r);
}
