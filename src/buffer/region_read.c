/* SPDX-License-Identifier: MIT
 *
 * Reading what a process has left behind.
 *
 * Why a published block is whole: see P1 and P2 at the head of db.c. The process was killed between
 * any two of its stores, and what it had stored before is there. So an extent whose header says this
 * epoch has this epoch's count, and as many whole blocks as that says. A block that was being written
 * is behind them and in no count.
 *
 * A sealed half whose last blocks were still being written, one that was being stored, and the open
 * one look the same from here.
 */
#include "region_read.h"

#include <errno.h>
#include <string.h>

static bool is_power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* Whether the control pages can be true of a region of `bytes` bytes. */
static bool geometry_fits(const struct control *control, size_t bytes)
{
    const uint64_t room = bytes - REGION_CONTROL_BYTES;

    return control->control_bytes == REGION_CONTROL_BYTES &&
           is_power_of_two(control->extent_bytes) && control->extent_bytes >= REGION_EXTENT_LEAST &&
           control->extent_bytes <= REGION_EXTENT_MOST && control->extent_count > 0 &&
           control->extent_count <= room / 2 / control->extent_bytes && control->writer_count > 0 &&
           control->writer_count <= FORMAT_WRITERS_MAX;
}

static bool run_is_readable(const struct region_run *run)
{
    return memchr(run->name, '\0', sizeof(run->name)) != NULL &&
           memchr(run->path, '\0', sizeof(run->path)) != NULL &&
           memchr(run->failover_path, '\0', sizeof(run->failover_path)) != NULL;
}

int region_look(void *map, size_t bytes, struct region_view *ret)
{
    struct control *control = map;
    if (bytes < REGION_CONTROL_BYTES)
        return -EBADMSG;
    const uint64_t magic = atomic_load_explicit(&control->magic, memory_order_acquire);
    if (magic == 0)
        return -ENODATA;
    if (magic != REGION_MAGIC)
        return -EBADMSG;
    if (control->version != REGION_VERSION)
        return -ENOTSUP;

    const uint32_t open = (uint32_t)(atomic_load(&control->claim) >> 32);
    const uint32_t stored = atomic_load(&control->stored);
    const uint32_t unstored = open + 1 - stored; /* epochs wrap */
    if (!geometry_fits(control, bytes) || unstored > 2 || !run_is_readable(&control->run))
        return -EBADMSG;

    const size_t half_bytes = (size_t)control->extent_bytes * control->extent_count;
    unsigned char *halves = (unsigned char *)map + REGION_CONTROL_BYTES;
    *ret = (struct region_view){.control = control,
                                .halves = {halves, halves + half_bytes},
                                .extent_bytes = control->extent_bytes,
                                .extent_count = control->extent_count,
                                .writer_count = control->writer_count,
                                .first_epoch = stored,
                                .epoch_count = unstored};
    return 0;
}

/* What can be read of an extent. */
struct readable {
    uint32_t used, count; /* both 0: nothing */
    uint64_t bytes;       /* of data */
    bool damaged;
};

/* Walks as many blocks as the header says, as far as they are right. */
static void read_blocks(const unsigned char *data, uint32_t used, uint32_t count,
                        struct readable *ret)
{
    while (ret->count < count && used - ret->used >= sizeof(struct block_header)) {
        const struct block_header *block = (const void *)(data + ret->used);
        if (block->length > FORMAT_BLOCK_MAX || block_bytes(block->length) > used - ret->used)
            return;
        ret->used += (uint32_t)block_bytes(block->length);
        ret->bytes += block->length;
        ret->count++;
    }
}

static struct extent_header *extent_at(const struct region_view *view, uint32_t epoch,
                                       uint32_t index)
{
    return (void *)(view->halves[epoch & 1] + (size_t)index * view->extent_bytes);
}

static struct readable read_extent(const struct region_view *view, uint32_t epoch, uint32_t index)
{
    const struct extent_header *header = extent_at(view, epoch, index);
    const struct live_header *live = (const void *)header;
    const uint32_t room = view->extent_bytes - (uint32_t)sizeof(*header);
    struct readable readable = {0};

    if (atomic_load_explicit(&live->epoch, memory_order_acquire) != epoch || /* P2 */
        atomic_load_explicit(&live->published, memory_order_acquire) == 0)   /* P1 */
        return readable;
    if (header->writer < view->writer_count && header->first_block <= UINT64_MAX / 2)
        read_blocks((const unsigned char *)(header + 1), header->used < room ? header->used : room,
                    header->block_count, &readable);
    readable.damaged = readable.used != header->used || readable.count != header->block_count;
    return readable;
}

struct extent_header *region_extent(const struct region_view *view, uint32_t epoch, uint32_t index,
                                    bool *ret_damaged)
{
    struct extent_header *header = extent_at(view, epoch, index);
    const struct readable readable = read_extent(view, epoch, index);

    *ret_damaged = readable.damaged;
    if (readable.count == 0)
        return NULL;
    header->used = readable.used;
    header->block_count = readable.count;
    header->flags = 0;
    return header;
}

struct region_content region_content(const struct region_view *view)
{
    struct region_content content = {0};

    for (uint32_t e = 0; e < view->epoch_count; e++) {
        for (uint32_t i = 0; i < view->extent_count; i++) {
            const struct readable readable = read_extent(view, view->first_epoch + e, i);
            content.extents += readable.count > 0;
            content.blocks += readable.count;
            content.bytes += readable.bytes;
            content.damaged += readable.damaged;
        }
    }
    return content;
}

void region_stored(struct region_view *view)
{
    assert(view->epoch_count > 0);
    view->first_epoch++;
    view->epoch_count--;
    atomic_store_explicit(&view->control->stored, view->first_epoch, memory_order_release);
}
