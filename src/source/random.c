/* SPDX-License-Identifier: MIT
 *
 * random: blocks that anyone can make again.
 *
 * The generator is counter-based: nothing is carried from one word to the next, so any block can
 * be made alone, from what the files say about it.
 *
 *     key(seed, writer, block)   three rounds of a 64-bit mixer (David Stafford's "Mix13"), which
 *                                is a bijection: no two blocks of one writer share a key
 *     word i                     x = key + i * STEP;  mum(x, x ^ TWIST), where mum multiplies
 *                                64 x 64 -> 128 bits and folds the halves with exclusive or
 *     length                     min + (key * (max - min + 1)) >> 64
 *
 * Words and both constants are the construction of Wang Yi's wyrand (wyhash, public domain,
 * https://github.com/wangyi-fudan/wyhash): one multiplication for 8 bytes. It is no cipher.
 *
 * What comes out is part of the format: files that exist are verified with it. It never changes.
 *
 * Happy path: source_produce gives the writer's next block, for ever.
 * Failure modes: none but memory at open. A block that does not fit the room is the end: it only
 * happens when a limit on the bytes is reached, and a part of a block could not be verified.
 * On stop: nothing was taken from outside, so it ends at once.
 */
#include "random.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kind.h"

#define STEP   0xa0761d6478bd642fULL
#define TWIST  0xe7037ed1a0b428dbULL
#define GOLDEN 0x9e3779b97f4a7c15ULL /* odd, so that multiplying by it is a bijection */

__extension__ typedef unsigned __int128 product;

static inline uint64_t mum(uint64_t a, uint64_t b)
{
    product ab = (product)a * b;
    return (uint64_t)ab ^ (uint64_t)(ab >> 64);
}

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static uint64_t block_key(uint64_t seed, unsigned writer, uint64_t block)
{
    uint64_t key = mix(seed + GOLDEN);
    key = mix(key + (writer + 1ULL) * GOLDEN);
    return mix(key + (block + 1) * GOLDEN);
}

size_t random_block_bytes(uint64_t seed, unsigned writer, uint64_t block, size_t min_block,
                          size_t max_block)
{
    assert(min_block <= max_block);
    product scaled = (product)block_key(seed, writer, block) * (max_block - min_block + 1);
    return min_block + (size_t)(scaled >> 64);
}

void random_block_fill(uint64_t seed, unsigned writer, uint64_t block, void *room, size_t bytes)
{
    uint64_t x = block_key(seed, writer, block);
    unsigned char *at = room;
    unsigned char *words_end = at + (bytes & ~(size_t)7);

    for (; at < words_end; at += 8, x += STEP) {
        uint64_t word = mum(x, x ^ TWIST);
        memcpy(at, &word, 8);
    }
    uint64_t last = mum(x, x ^ TWIST);
    memcpy(at, &last, bytes & 7);
}

/* ---- The source ------------------------------------------------------------------------------ */

struct random_source {
    struct source source;
    uint64_t seed; /* [I] and so are the next three */
    unsigned writer;
    size_t min_block, max_block;
    uint64_t next_block; /* [W] */
    bool ended;          /* [W] */
};

static int random_open(struct source **ret, const struct source_options *options)
{
    assert(options->min_block <= options->max_block);
    struct random_source *r = malloc(sizeof(*r));
    if (!r)
        return -ENOMEM;
    *r = (struct random_source){.source.ops = &source_random_ops,
                                .seed = options->seed,
                                .writer = options->writer,
                                .min_block = options->min_block,
                                .max_block = options->max_block};
    *ret = &r->source;
    return 0;
}

static void random_begin_at(struct source *source, uint64_t next_block)
{
    ((struct random_source *)source)->next_block = next_block;
}

static void random_close(struct source *source)
{
    free(source);
}

static int random_wait(struct source *source, int timeout_ms)
{
    (void)source; /* there is always something to say */
    (void)timeout_ms;
    return 1;
}

static int random_produce(struct source *source, void *room, size_t room_bytes,
                          struct block_info *ret)
{
    struct random_source *r = (struct random_source *)source;
    if (r->ended)
        return 0;
    size_t bytes =
        random_block_bytes(r->seed, r->writer, r->next_block, r->min_block, r->max_block);
    if (bytes > room_bytes) {
        r->ended = true;
        return 0;
    }
    random_block_fill(r->seed, r->writer, r->next_block, room, bytes);
    r->next_block++;
    *ret = (struct block_info){.bytes = bytes};
    return 1;
}

static void random_stop(struct source *source)
{
    ((struct random_source *)source)->ended = true;
}

const struct source_ops source_random_ops = {
    .name = "random",
    .open = random_open,
    .begin_at = random_begin_at,
    .close = random_close,
    .wait = random_wait,
    .produce = random_produce,
    .stop = random_stop,
};
