/* SPDX-License-Identifier: MIT
 *
 * The double buffer's life, and what others may know of it. The protocol is in db.c.
 *
 * Happy path: db_open makes a region, or takes the caller's, and fills in the control pages; db_free gives
 * all back.
 * Failure modes: no memory: -errno, and the caller keeps his region.
 */
#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "db_parts.h"

/* ---- What others may know ---------------------------------------------------------------------- */

struct db_account db_account(const struct db_writer *w)
{
    struct db_account ret = {
        .blocks = atomic_load_explicit(&w->blocks, memory_order_relaxed),
        .bytes = atomic_load_explicit(&w->bytes, memory_order_relaxed),
        .held_ns = atomic_load_explicit(&w->held_ns, memory_order_relaxed),
    };
    for (unsigned class = 0; class < DB_HOLD_CLASSES; class ++) {
        ret.hold_times[class] = atomic_load_explicit(&w->hold_times[class], memory_order_relaxed);
        ret.holds += ret.hold_times[class];
    }
    return ret;
}

struct db_state db_state(const struct db *db)
{
    uint32_t stored = atomic_load_explicit(&db->control->stored, memory_order_relaxed);
    uint64_t claim = atomic_load_explicit(&db->control->claim, memory_order_relaxed);
    uint32_t claimed = next_of(claim);
    if (claimed > db->geometry.extent_count)
        claimed = db->geometry.extent_count;
    return (struct db_state){
        .epoch = epoch_of(claim),
        .claimed = claimed,
        .extent_count = db->geometry.extent_count,
        .halves_unstored = stored != epoch_of(claim),
        .writers_held = atomic_load_explicit(&db->control->held, memory_order_relaxed),
    };
}

struct db_writer *db_writer(struct db *db, unsigned index)
{
    assert(index < db->writer_count);
    return &db->writers[index];
}

const struct region *db_region(const struct db *db)
{
    return &db->region;
}

size_t db_region_bytes(const struct db_geometry *geometry)
{
    return REGION_CONTROL_BYTES + 2 * (size_t)geometry->extent_bytes * geometry->extent_count;
}

void db_set_target(struct db *db, const struct region_target *target)
{
    control_set_target(db->control, target);
}

/* ---- Life -------------------------------------------------------------------------------------- */

void db_set_next_blocks(struct db *db, const uint64_t next_block[])
{
    for (unsigned i = 0; i < db->writer_count; i++) {
        assert(atomic_load_explicit(&db->writers[i].blocks, memory_order_relaxed) == 0);
        db->writers[i].first_block = next_block[i];
    }
}

static void open_writers(struct db *db, const struct db_options *options)
{
    for (unsigned i = 0; i < db->writer_count; i++) {
        struct db_writer *w = &db->writers[i];
        w->db = db;
        w->control = db->control;
        w->fenced = db->fenced;
        w->number = i + 1;
        w->first_block = options->next_block != NULL ? options->next_block[i] : 0;
        /* Not the open epoch: its first begin must claim. */
        w->epoch = options->first_epoch - 1;
        w->busy_in = BUSY_IN_A + (w->epoch & 1);
    }
}

/* Makes the region one that can be found. */
static void open_control(struct db *db, const struct db_options *options)
{
    struct control *control = db->control;
    atomic_init(&control->claim, claim_of(options->first_epoch));
    atomic_init(&control->stored, options->first_epoch);
    control->version = REGION_VERSION;
    control->control_bytes = REGION_CONTROL_BYTES;
    control->extent_bytes = db->geometry.extent_bytes;
    control->extent_count = db->geometry.extent_count;
    control->writer_count = db->writer_count;
    if (options->run != NULL)
        control->run = *options->run;
    control_open(control);
}

int db_open(struct db **ret, const struct db_options *options)
{
    assert(options->writer_count >= 1 && options->writer_count <= FORMAT_WRITERS_MAX);
    struct db *db = calloc(1, sizeof(*db));
    if (db == NULL)
        return -ENOMEM;
    db->geometry = options->geometry;
    db->writer_count = options->writer_count;
    db->spin = options->spin;
    db->reading = options->first_epoch;
    db->opened_ns = now_ns();

    const size_t half_bytes = (size_t)db->geometry.extent_bytes * db->geometry.extent_count;
    int rc = 0;
    if (options->region != NULL)
        db->region = *options->region;
    else
        rc = region_open(&db->region, db_region_bytes(&db->geometry));
    if (rc < 0)
        goto fail;
    assert(db->region.bytes >= db_region_bytes(&db->geometry));
    db->control = db->region.map;
    db->halves[0] = (unsigned char *)db->region.map + REGION_CONTROL_BYTES;
    db->halves[1] = db->halves[0] + half_bytes;

    db->writers = aligned_alloc(LINE_BYTES, db->writer_count * sizeof(*db->writers));
    if (db->writers == NULL) {
        rc = -ENOMEM;
        goto fail;
    }
    memset(db->writers, 0, db->writer_count * sizeof(*db->writers));
    db->fenced = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
    open_writers(db, options);
    open_control(db, options);
    *ret = db;
    return 0;

fail:
    if (options->region != NULL)
        db->region = (struct region){0}; /* it stays the caller's */
    db_free(db);
    return rc;
}

void db_free(struct db *db)
{
    if (db == NULL)
        return;
    free(db->writers);
    region_close(&db->region);
    free(db);
}
