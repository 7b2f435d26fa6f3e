/* SPDX-License-Identifier: MIT
 *
 * dbufd's double buffer, read in two ways. By extent is the product's own: a writer's extent says
 * in its header which blocks it holds, so the reader need not touch them. By block is what a
 * queue's reader does: it walks every block and checks its writer and sequence, which is passed as
 * its time.
 */
#include <stdlib.h>

#include "../../src/buffer/db.h"
#include "buffer.h"

enum { TOGETHER = 8, TURN_BYTES = 4096, LARGE_BYTES = 1024 };

static void *open_db(struct load *load)
{
    struct db *db;
    size_t least_bytes;
    struct db_options options = {.writer_count = load->writers};
    int rc = db_geometry(load->capacity_bytes, load->writers, load->max_bytes, &options.geometry,
                         &least_bytes);
    if (rc == 0)
        rc = db_open(&db, &options);
    if (rc < 0)
        die("db_open", -rc);
    touch(db_region(db)->map, db_region(db)->bytes);
    return db;
}

static void write_all(void *queue, struct lane *lane)
{
    struct db_writer *w = db_writer(queue, lane->writer);
    struct block block;
    while (lane_next(lane, &block))
        db_write(w, block.data, block.bytes, 0, block.seq);
}

/* The product's own way: what the header says of the blocks. */
static void take_header(struct tally *tally, const struct extent_header *extent)
{
    if (extent->used < extent->block_count * block_bytes(tally->load->min_bytes) ||
        extent->used > extent->block_count * block_bytes(tally->load->max_bytes))
        tally_fail(tally, extent->writer, extent->first_block);
    tally_blocks(tally, extent->writer, extent->first_block, extent->block_count);
}

struct walk {
    const struct extent_header *extent;
    const unsigned char *at, *end;
    uint64_t seq;
};

/* The next blocks of an extent, a page or so. */
static void take_some(struct tally *tally, struct walk *walk)
{
    const unsigned char *at = walk->at;
    const unsigned char *stop = walk->end - at > TURN_BYTES ? at + TURN_BYTES : walk->end;
    uint64_t seq = walk->seq;
    while (at < stop) {
        const struct block_header *block = (const void *)at;
        if (block->time_ns != seq++)
            tally_fail(tally, walk->extent->writer, block->time_ns);
        at += block_bytes(block->length);
    }
    __builtin_prefetch(at);
    walk->at = at;
    walk->seq = seq;
}

/* Walks the blocks of some extents in turn: where a block begins is known from the one before, and
 * while its line comes from memory the other extents have their turn. (Small blocks follow so closely
 * that the processor sees what comes: then one extent at a time is faster.) */
static void take_blocks(struct tally *tally, const struct extent_header *const *extents,
                        unsigned count)
{
    struct walk walks[TOGETHER];
    for (unsigned i = 0; i < count; i++) {
        const unsigned char *first = (const unsigned char *)(extents[i] + 1);
        walks[i] =
            (struct walk){extents[i], first, first + extents[i]->used, extents[i]->first_block};
    }
    while (count != 0) {
        for (unsigned i = 0; i < count; i++) {
            take_some(tally, &walks[i]);
            if (walks[i].at >= walks[i].end) {
                if (walks[i].seq != walks[i].extent->first_block + walks[i].extent->block_count)
                    tally_fail(tally, walks[i].extent->writer, walks[i].seq);
                walks[i--] = walks[--count];
            }
        }
    }
}

static void take_half(struct tally *tally, const struct db_half *half, bool by_block)
{
    const bool large = tally->load->min_bytes + tally->load->max_bytes >= 2 * LARGE_BYTES;
    const unsigned together = large ? TOGETHER : 1;
    const struct extent_header *extents[TOGETHER];
    unsigned count = 0;
    for (uint32_t i = 0; i < half->geometry.extent_count; i++) {
        const struct extent_header *extent = db_half_extent(half, i);
        if (extent == NULL)
            continue;
        take_header(tally, extent);
        extents[count++] = extent;
        if (by_block && count == together)
            take_blocks(tally, extents, count);
        count %= together;
    }
    if (by_block)
        take_blocks(tally, extents, count);
}

static void read_halves(struct db *db, struct tally *tally, bool by_block)
{
    const uint64_t flush_ns = 3600 * 1000000000ULL;
    struct db_half half;
    int rc;
    while ((rc = db_read(db, flush_ns, &half)) != 0) {
        if (rc != 1)
            die("db_read", -rc);
        take_half(tally, &half, by_block);
        db_release(db);
    }
}

static void read_by_extent(void *queue, struct tally *tally)
{
    read_halves(queue, tally, false);
}

static void read_by_block(void *queue, struct tally *tally)
{
    read_halves(queue, tally, true);
}

static void writers_done(void *queue)
{
    db_close(queue);
}

const struct contestant dbufd_by_extent = {"dbufd", open_db, write_all, read_by_extent,
                                           writers_done};
const struct contestant dbufd_by_block = {"dbufd", open_db, write_all, read_by_block, writers_done};
