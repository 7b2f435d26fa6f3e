/* SPDX-License-Identifier: MIT
 *
 * For the tests of the disk: halves to store, a look at the stored stream that trusts nothing, and
 * an output that fails when it is told to.
 *
 * Every block can be made again from its writer and its sequence, so that what comes back is
 * compared byte for byte.
 */
#ifndef DBUFD_TESTS_STREAM_FIXTURE_H
#define DBUFD_TESTS_STREAM_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#include "../../src/disk/format.h"
#include "../../src/disk/output.h"
#include "../../src/disk/scan.h"
#include "../../src/disk/store.h"
#include "../../src/disk/stream.h"

enum { EXTENT_BYTES = 16384, HALF_EXTENTS = 12, FIXTURE_WRITERS = 3 };

/* ---- Places ---- */

static inline void make_directory(const char *parent, char path[static 64])
{
    snprintf(path, 64, "%s/dbufd-test.XXXXXX", parent);
    assert_non_null(mkdtemp(path));
}

/* A flat one: a directory in it, as a mount leaves behind, must be empty. */
static inline void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int flags = entry->d_type == DT_DIR ? AT_REMOVEDIR : 0;
        assert_int_equal(unlinkat(dirfd(directory), entry->d_name, flags), 0);
    }
    closedir(directory);
    assert_int_equal(rmdir(path), 0);
}

static inline size_t directory_entries(const char *path)
{
    DIR *directory = opendir(path);
    size_t count = 0;
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2; /* . and .. */
}

/* ---- Random, of a seed that is printed and can be given back ---- */

static inline uint64_t seed_of_run(void)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
    printf("# SEED=%llu\n", (unsigned long long)seed);
    return seed | 1;
}

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- Blocks and halves ---- */

static inline uint64_t block_key(unsigned writer, uint64_t block)
{
    uint64_t key = (block + 1) * 0x9e3779b97f4a7c15u ^ (writer + 1) * 0xc2b2ae3d27d4eb4fu;
    next_random(&key);
    return key;
}

static inline size_t block_length(unsigned writer, uint64_t block)
{
    return block_key(writer, block) % 1500;
}

static inline uint32_t block_flags_of(unsigned writer, uint64_t block)
{
    return block_key(writer, block) >> 20 & 3;
}

static inline void block_content(unsigned writer, uint64_t block, unsigned char *room)
{
    uint64_t key = block_key(writer, block);
    size_t length = block_length(writer, block);
    for (size_t i = 0; i < length; i++) {
        if (i % 8 == 0)
            next_random(&key);
        room[i] = (unsigned char)(key >> i % 8 * 8);
    }
}

struct maker {
    unsigned char *extents; /* HALF_EXTENTS of EXTENT_BYTES */
    struct extent_header *headers[HALF_EXTENTS];
    unsigned writer_count;
    uint64_t next_block[FORMAT_WRITERS_MAX];
    uint64_t blocks, bytes; /* made in all */
    uint32_t epoch;
    uint64_t random;
};

static inline void maker_open(struct maker *maker, unsigned writer_count,
                              const uint64_t *next_block, uint64_t random)
{
    *maker = (struct maker){.writer_count = writer_count, .random = random};
    maker->extents = aligned_alloc(FORMAT_ALIGN, (size_t)HALF_EXTENTS * EXTENT_BYTES);
    assert_non_null(maker->extents);
    if (next_block)
        memcpy(maker->next_block, next_block, writer_count * sizeof(uint64_t));
}

static inline void maker_close(struct maker *maker)
{
    free(maker->extents);
}

static inline void make_extent(struct maker *maker, struct extent_header *header, unsigned writer)
{
    size_t fill = 1 + next_random(&maker->random) % (EXTENT_BYTES - sizeof(*header));
    size_t used = 0;

    memset(header, 0xee, EXTENT_BYTES); /* what an earlier half left there */
    *header = (struct extent_header){.writer = (uint16_t)writer,
                                     .epoch = maker->epoch,
                                     .first_block = maker->next_block[writer],
                                     .dropped = (uint32_t)(maker->epoch % 3)};
    for (;;) {
        uint64_t block = maker->next_block[writer];
        size_t length = block_length(writer, block);
        if (sizeof(*header) + used + block_bytes(length) > EXTENT_BYTES ||
            (used >= fill && header->block_count > 0))
            break;
        struct block_header *at = (struct block_header *)((unsigned char *)(header + 1) + used);
        memset(at, 0, block_bytes(length));
        *at = (struct block_header){.length = (uint32_t)length,
                                    .flags = block_flags_of(writer, block),
                                    .time_ns = block * 1000 + writer};
        block_content(writer, block, (unsigned char *)(at + 1));
        used += block_bytes(length);
        maker->next_block[writer]++;
        maker->blocks++;
        maker->bytes += length;
        header->block_count++;
    }
    header->used = (uint32_t)used;
    header->time_ns = header->first_block * 1000 + writer;
}

/* A half with `count` extents; its headers are maker->headers. */
static inline void make_half(struct maker *maker, size_t count)
{
    assert_true(count <= HALF_EXTENTS);
    for (size_t i = 0; i < count; i++) {
        maker->headers[i] = (struct extent_header *)(maker->extents + i * EXTENT_BYTES);
        make_extent(maker, maker->headers[i],
                    (unsigned)(next_random(&maker->random) % maker->writer_count));
    }
    maker->epoch++;
}

/* ---- The stored stream ---- */

struct seen {
    size_t segments;
    uint64_t blocks, bytes; /* in the files */
    uint64_t next_seq;
    uint64_t next_block[FORMAT_WRITERS_MAX];
    uint32_t writer_count;                        /* by the last checkpoint */
    uint64_t checkpoint_blocks, checkpoint_bytes; /* by the last checkpoint */
    uint64_t dropped;
    uint32_t digest;
    bool random;
    bool closed; /* the last extent is a checkpoint with CLOSE */
    bool ended;  /* the last segment ended with a checkpoint END, and was the end of its file */
};

static inline void see_blocks(const struct scan_extent *extent)
{
    const struct extent_header *header = extent->header;
    const struct block_header *block;
    const unsigned char *data;
    unsigned char expected[1500];
    uint64_t sequence = header->first_block;
    size_t position = 0;

    while (scan_block(extent->data, header->used, &position, &block, &data) == 1) {
        assert_int_equal(block->length, block_length(header->writer, sequence));
        assert_int_equal(block->flags, block_flags_of(header->writer, sequence));
        assert_int_equal(block->time_ns, sequence * 1000 + header->writer);
        block_content(header->writer, sequence, expected);
        assert_memory_equal(data, expected, block->length);
        sequence++;
    }
    assert_int_equal(sequence, header->first_block + header->block_count);
}

static inline void see_checkpoint(struct seen *seen, const struct scan_extent *extent, bool first)
{
    const struct checkpoint_writer *writers;
    const struct checkpoint *checkpoint =
        scan_checkpoint(extent->data, extent->header->used, &writers);

    assert_non_null(checkpoint);
    if (!first) {
        assert_int_equal(checkpoint->blocks, seen->checkpoint_blocks);
        assert_int_equal(checkpoint->bytes, seen->checkpoint_bytes);
    }
    seen->checkpoint_blocks = checkpoint->blocks;
    seen->checkpoint_bytes = checkpoint->bytes;
    seen->writer_count = checkpoint->writer_count;
    seen->random = checkpoint->random;
    seen->digest = checkpoint->digest;
    seen->dropped = 0;
    for (uint32_t w = 0; w < checkpoint->writer_count; w++) {
        if (!first)
            assert_int_equal(writers[w].next_block, seen->next_block[w]);
        seen->next_block[w] = writers[w].next_block;
        seen->dropped += writers[w].dropped;
    }
    seen->closed = extent->header->flags & EXTENT_CLOSE;
    seen->ended = extent->header->flags & EXTENT_END;
}

static inline void see_extent(struct seen *seen, const struct scan_extent *extent, bool first)
{
    const struct extent_header *header = extent->header;

    if (!first)
        assert_int_equal(header->seq, seen->next_seq);
    seen->next_seq = header->seq + 1;
    if (header->flags & EXTENT_CHECKPOINT) {
        see_checkpoint(seen, extent, first);
        return;
    }
    assert_false(first);
    assert_int_equal(header->first_block, seen->next_block[header->writer]);
    see_blocks(extent);
    seen->next_block[header->writer] += header->block_count;
    seen->blocks += header->block_count;
    seen->checkpoint_blocks += header->block_count;
    size_t position = 0;
    const struct block_header *block;
    const unsigned char *data;
    while (scan_block(extent->data, header->used, &position, &block, &data) == 1) {
        seen->bytes += block->length;
        seen->checkpoint_bytes += block->length;
    }
    seen->closed = seen->ended = false;
}

/* Reads one segment up to extents of sequence `void_from` on. */
static inline void see_segment(struct seen *seen, const char *path, uint64_t void_from)
{
    struct scan *scan;
    struct scan_extent extent;
    bool head = true;

    assert_int_equal(scan_open(&scan, path), 0);
    while (scan_next(scan, &extent) == 1) {
        if (void_from != UINT64_MAX && seen->next_seq == void_from && !head)
            break; /* what follows comes again in the next segment */
        if (extent.fault == SCAN_EMPTY_TAIL) {
            assert_false(seen->ended); /* then the file is cut to what is used */
            continue;
        }
        if (extent.fault != SCAN_OK)
            print_error("%s: fault %d at %llu, %llu bytes\n", path, extent.fault,
                        (unsigned long long)extent.offset, (unsigned long long)extent.bytes);
        assert_int_equal(extent.fault, SCAN_OK);
        if (head)
            assert_int_equal(extent.header->seq, scan_header(scan)->first_seq);
        see_extent(seen, &extent, seen->segments == 0 && head);
        head = false;
    }
    scan_close(scan);
    seen->segments++;
}

/* Reads the whole stream; every sequence must be consecutive, every byte right. Segments are taken
 * by the number in their headers. */
static inline void see_stream(const char *path, struct seen *ret)
{
    struct stream_files files;
    uint64_t first_seq[256];
    size_t count = 0;
    size_t order[256];

    *ret = (struct seen){0};
    assert_int_equal(stream_list(path, &files), 0);
    assert_true(files.count < 256);
    for (size_t i = 0; i < files.count; i++) {
        struct scan *scan;
        assert_int_equal(scan_open(&scan, files.files[i].path), 0);
        first_seq[i] = scan_header(scan)->first_seq;
        scan_close(scan);
        size_t at = count++;
        for (; at > 0 && first_seq[order[at - 1]] > first_seq[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && first_seq[order[i + 1]] == first_seq[order[i]])
            continue; /* all of it is void */
        see_segment(ret, files.files[order[i]].path,
                    i + 1 < count ? first_seq[order[i + 1]] : UINT64_MAX);
    }
    stream_files_free(&files);
}

/* ---- Events ---- */

struct events {
    unsigned count[STORE_TAIL_FREED + 1];
    struct store_event last[STORE_TAIL_FREED + 1];
};

static inline void count_event(void *context, const struct store_event *event)
{
    struct events *events = context;
    events->count[event->kind]++;
    events->last[event->kind] = *event;
    assert_non_null(event->path);
}

/* ---- A test's own directory, and a stream in it ---- */

static const char *test_parent; /* of the group's directories */
static char test_directory[64];
static char stream_path[96];

static inline int make(void **unused)
{
    (void)unused;
    make_directory(test_parent, test_directory);
    snprintf(stream_path, sizeof(stream_path), "%s/s.dbuf", test_directory);
    return 0;
}

static inline int clear(void **unused)
{
    (void)unused;
    remove_directory(test_directory);
    return 0;
}

static inline struct store_options options_of(struct events *events)
{
    return (struct store_options){
        .path = stream_path,
        .format = STORE_SEGMENTS,
        .durability = DURABILITY_HALF,
        .extent_bytes_max = EXTENT_BYTES,
        .writer_count = FIXTURE_WRITERS,
        .on_event = events ? count_event : NULL,
        .context = events,
    };
}

/* Opens the stream and a maker that goes on where the stream does. */
static inline struct store *open_with(const struct store_options *options, struct maker *maker,
                                      uint64_t random)
{
    struct store *store = NULL;
    assert_int_equal(store_open(&store, options), 0);
    maker_open(maker, options->writer_count, store_next_blocks(store), random);
    return store;
}

static inline void write_halves(struct store *store, struct maker *maker, int halves)
{
    for (int i = 0; i < halves; i++) {
        make_half(maker, HALF_EXTENTS);
        assert_int_equal(store_write(store, maker->headers, HALF_EXTENTS), 0);
        assert_int_equal(store_housekeep(store), 0);
    }
}

static inline void close_both(struct store *store, struct maker *maker)
{
    assert_int_equal(store_finish(store), 0);
    store_free(store);
    maker_close(maker);
}

/* ---- An output that fails ---- */

enum call {
    CALL_OPEN,
    CALL_WRITE,
    CALL_BEGIN_WRITE,
    CALL_SYNC,
    CALL_TRUNCATE,
    CALL_ALLOCATE,
    CALL_SETTLE,
    CALL_FREE_BYTES,
    CALL_RENAME,
    CALL_REMOVE,
    CALL_SYNC_DIRECTORY,
    CALLS
};

/* As errors: only a part is written, or said to be: half of the first piece, all but a byte, or up to
 * a sector in the middle. */
enum { SHORT_WRITE = -1, SHORT_BY_ONE = -2, SHORT_TO_SECTOR = -3 };

struct faulty {
    struct output output;
    enum call call; /* which kind fails */
    unsigned first; /* the how manieth of them, from 1; 0: none */
    unsigned times; /* so many in a row */
    int error;      /* positive, or SHORT_WRITE and its like */
    int then;       /* of the second failure and those behind it; 0: the same */
    uint64_t room;  /* of the file system, with the one file in it; UINT64_MAX: the truth */
    unsigned seen[CALLS];
    unsigned failed;
    struct flight_of {
        int fd, count;
        const struct iovec *pieces;
        off_t offset;
        bool begun, ended;
        ssize_t result;
    } flights[OUTPUT_IN_FLIGHT_MAX];
};

static inline bool fails(struct faulty *faulty, enum call call)
{
    unsigned n = ++faulty->seen[call];
    bool now = faulty->first > 0 && call == faulty->call && n >= faulty->first &&
               n - faulty->first < faulty->times;
    faulty->failed += now;
    return now;
}

static inline int faulty_open(void *context, const char *path, int flags)
{
    struct faulty *faulty = context;
    return fails(faulty, CALL_OPEN) ? -faulty->error : output_pwrite.open(NULL, path, flags);
}

static inline ssize_t faulty_write(void *context, int fd, const struct iovec *pieces, int count,
                                   off_t offset)
{
    struct faulty *faulty = context;
    if (!fails(faulty, CALL_WRITE))
        return output_pwrite.write(NULL, fd, pieces, count, offset);
    int error = faulty->then && faulty->failed > 1 ? faulty->then : faulty->error;
    if (error == SHORT_BY_ONE || error == SHORT_TO_SECTOR) {
        ssize_t written = output_pwrite.write(NULL, fd, pieces, count, offset);
        if (written <= 1024 || offset < 0)
            return written;
        return error == SHORT_BY_ONE ? written - 1 : (written / 2 & ~511) | 512;
    }
    if (error == SHORT_WRITE) {
        /* The second half of the first piece is missing, and all the others. An odd number of
         * bytes; O_DIRECT takes only whole sectors, so that more is written than is said. */
        ssize_t written = output_pwrite.write(NULL, fd, pieces, 1, offset);
        return written > 1 && offset >= 0 ? written / 2 + 1 : written;
    }
    /* As on a real disk, some of it may be there. */
    if (error != EINTR && offset >= 0)
        (void)output_pwrite.write(NULL, fd, pieces, 1, offset);
    return -error;
}

/* Writes in flight: every second one is on the disk long before it is asked for. */
static inline int faulty_begin_write(void *context, unsigned slot, int fd,
                                     const struct iovec *pieces, int count, off_t offset)
{
    struct faulty *faulty = context;
    struct flight_of *flight = &faulty->flights[slot];

    assert_false(flight->begun);
    if (fails(faulty, CALL_BEGIN_WRITE))
        return -faulty->error;
    *flight = (struct flight_of){fd, count, pieces, offset, .begun = true};
    if (slot % 2) {
        flight->result = faulty_write(context, fd, pieces, count, offset);
        flight->ended = true;
    }
    return 0;
}

static inline ssize_t faulty_end_write(void *context, unsigned slot)
{
    struct faulty *faulty = context;
    struct flight_of *flight = &faulty->flights[slot];

    assert_true(flight->begun);
    flight->begun = false;
    return flight->ended
               ? flight->result
               : faulty_write(context, flight->fd, flight->pieces, flight->count, flight->offset);
}

static inline bool faulty_in_flight(const struct faulty *faulty)
{
    for (size_t i = 0; i < OUTPUT_IN_FLIGHT_MAX; i++)
        if (faulty->flights[i].begun)
            return true;
    return false;
}

static inline int faulty_sync(void *context, int fd)
{
    struct faulty *faulty = context;
    assert_false(faulty_in_flight(faulty));
    return fails(faulty, CALL_SYNC) ? -faulty->error : output_pwrite.sync(NULL, fd);
}

static inline int faulty_truncate(void *context, int fd, uint64_t bytes)
{
    struct faulty *faulty = context;
    assert_false(faulty_in_flight(faulty));
    return fails(faulty, CALL_TRUNCATE) ? -faulty->error : output_pwrite.truncate(NULL, fd, bytes);
}

static inline int faulty_allocate(void *context, int fd, uint64_t from, uint64_t to)
{
    struct faulty *faulty = context;
    if (!fails(faulty, CALL_ALLOCATE))
        return output_pwrite.allocate(NULL, fd, from, to);
    if (faulty->error == ENOSPC) /* ext4 leaves what it got */
        (void)output_pwrite.allocate(NULL, fd, from, from + (to - from) / 2);
    return -faulty->error;
}

static inline int faulty_settle(void *context, int fd, uint64_t before, uint64_t from, uint64_t to)
{
    struct faulty *faulty = context;
    return fails(faulty, CALL_SETTLE) ? -faulty->error
                                      : output_pwrite.settle(NULL, fd, before, from, to);
}

static inline int faulty_free_bytes(void *context, int fd, uint64_t *ret)
{
    struct faulty *faulty = context;
    if (fails(faulty, CALL_FREE_BYTES))
        return -faulty->error;
    if (faulty->room == UINT64_MAX)
        return output_pwrite.free_bytes(NULL, fd, ret);
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    *ret = faulty->room > (uint64_t)status.st_size ? faulty->room - (uint64_t)status.st_size : 0;
    return 0;
}

static inline int faulty_rename(void *context, const char *from, const char *to)
{
    struct faulty *faulty = context;
    return fails(faulty, CALL_RENAME) ? -faulty->error : output_pwrite.rename(NULL, from, to);
}

static inline int faulty_remove(void *context, const char *path)
{
    struct faulty *faulty = context;
    return fails(faulty, CALL_REMOVE) ? -faulty->error : output_pwrite.remove(NULL, path);
}

static inline int faulty_sync_directory(void *context, const char *path)
{
    struct faulty *faulty = context;
    return fails(faulty, CALL_SYNC_DIRECTORY) ? -faulty->error
                                              : output_pwrite.sync_directory(NULL, path);
}

/* Fails from the `first` call of the kind on, `times` times. */
static inline void faulty_init(struct faulty *faulty, enum call call, unsigned first,
                               unsigned times, int error)
{
    *faulty = (struct faulty){
        .output =
            {
                .context = faulty,
                .open = faulty_open,
                .write_bytes = output_pwrite.write_bytes,
                .begin_write =
                    faulty_begin_write, /* of which there are none in flight: see overlap */
                .end_write = faulty_end_write,
                .write = faulty_write,
                .sync = faulty_sync,
                .truncate = faulty_truncate,
                .allocate = faulty_allocate,
                .settle = faulty_settle,
                .free_bytes = faulty_free_bytes,
                .rename = faulty_rename,
                .remove = faulty_remove,
                .sync_directory = faulty_sync_directory,
            },
        .call = call,
        .first = first,
        .times = times,
        .error = error,
        .room = UINT64_MAX,
    };
}

/* A half is several writes, and three of them are in flight. */
static inline void faulty_overlap(struct faulty *faulty)
{
    faulty->output.writes_in_flight = 3;
    faulty->output.write_bytes = 2 * EXTENT_BYTES;
}

#endif
