/* SPDX-License-Identifier: MIT
 *
 * An output that does what it is told to, and writes down everything that it does to the disk: so that
 * a test can make what a power cut would have left at any moment of it.
 *
 * The model of a disk: what was written to a file is durable when a later sync of that file has
 * returned, what was done to names when a later sync of the directory has. Of the rest every block of
 * 4096 bytes may have been kept or dropped, or only some of its sectors; every change of a size and of a
 * name may have happened or not.
 */
#ifndef DBUFD_TESTS_RECORD_H
#define DBUFD_TESTS_RECORD_H

#include <pthread.h>

#include "../unit/stream_fixture.h"

enum { RECORD_FILES_MAX = 64, RECORD_FDS_MAX = 1024, BLOCK_BYTES = 4096, SECTOR_BYTES = 512 };

enum deed {
    DEED_CREATE,
    DEED_WRITE,
    DEED_SIZE,
    DEED_GROW,
    DEED_SYNC,
    DEED_RENAME,
    DEED_REMOVE,
    DEED_SYNC_DIRECTORY,
    DEED_DECLARE
};

struct entry {
    enum deed deed;
    int file;        /* which: names come and go */
    uint64_t offset; /* WRITE; SIZE and GROW: the size, or the least one */
    size_t bytes;    /* WRITE */
    unsigned char *data;
    char name[64];     /* CREATE, RENAME: the new one; REMOVE */
    char old_name[64]; /* RENAME */
    uint64_t declared; /* DECLARE: so much is durable, says the store */
};

struct record {
    struct output output;
    pthread_mutex_t lock; /* more than one thread may write */
    struct entry *entries;
    size_t count, room;
    int file_of_fd[RECORD_FDS_MAX];
    char names[RECORD_FILES_MAX][64]; /* now; "": none */
    int files;
    uint64_t free_bytes;
    ssize_t results[OUTPUT_IN_FLIGHT_MAX]; /* of writes in flight */
};

static inline const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static inline struct entry *record_add(struct record *record, enum deed deed, int file)
{
    if (record->count == record->room) {
        record->room = record->room * 2 + 64;
        record->entries = realloc(record->entries, record->room * sizeof(struct entry));
        assert_non_null(record->entries);
    }
    struct entry *entry = &record->entries[record->count++];
    *entry = (struct entry){.deed = deed, .file = file};
    return entry;
}

static inline int record_file(const struct record *record, const char *name)
{
    for (int file = 0; file < record->files; file++)
        if (strcmp(record->names[file], name) == 0)
            return file;
    return -1;
}

static inline int record_new_file(struct record *record, const char *name)
{
    assert_true(record->files < RECORD_FILES_MAX);
    strcpy(record->names[record->files], name);
    strcpy(record_add(record, DEED_CREATE, record->files)->name, name);
    return record->files++;
}

static inline int record_open(void *context, const char *path, int flags)
{
    struct record *record = context;
    int fd = output_pwrite.open(NULL, path, flags);
    if (fd < 0)
        return fd;
    assert_true(fd < RECORD_FDS_MAX);
    pthread_mutex_lock(&record->lock);
    int file = record_file(record, base_name(path));
    if (file < 0)
        file = record_new_file(record, base_name(path));
    else if (flags & O_TRUNC)
        record_add(record, DEED_SIZE, file);
    record->file_of_fd[fd] = file;
    pthread_mutex_unlock(&record->lock);
    return fd;
}

static inline ssize_t record_write(void *context, int fd, const struct iovec *pieces, int count,
                                   off_t offset)
{
    struct record *record = context;
    size_t bytes = 0, at = 0;
    for (int i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    unsigned char *data = malloc(bytes);
    assert_non_null(data);
    for (int i = 0; i < count; at += pieces[i++].iov_len)
        memcpy(data + at, pieces[i].iov_base, pieces[i].iov_len);
    ssize_t written = output_pwrite.write(NULL, fd, pieces, count, offset);
    assert_true(written > 0);
    pthread_mutex_lock(&record->lock);
    struct entry *entry = record_add(record, DEED_WRITE, record->file_of_fd[fd]);
    entry->offset = (uint64_t)offset;
    entry->bytes = (size_t)written;
    entry->data = data;
    pthread_mutex_unlock(&record->lock);
    return written;
}

/* A write in flight may be on the disk, in any part, from its beginning on. */
static inline int record_begin_write(void *context, unsigned slot, int fd,
                                     const struct iovec *pieces, int count, off_t offset)
{
    struct record *record = context;
    record->results[slot] = record_write(context, fd, pieces, count, offset);
    return 0;
}

static inline ssize_t record_end_write(void *context, unsigned slot)
{
    return ((struct record *)context)->results[slot];
}

/* Adds an entry for what was done to an open file, if it was. */
static inline int record_done(struct record *record, int rc, enum deed deed, int fd, uint64_t size)
{
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&record->lock);
    record_add(record, deed, record->file_of_fd[fd])->offset = size;
    pthread_mutex_unlock(&record->lock);
    return rc;
}

static inline int record_sync(void *context, int fd)
{
    return record_done(context, output_pwrite.sync(NULL, fd), DEED_SYNC, fd, 0);
}

static inline int record_truncate(void *context, int fd, uint64_t bytes)
{
    return record_done(context, output_pwrite.truncate(NULL, fd, bytes), DEED_SIZE, fd, bytes);
}

static inline int record_allocate(void *context, int fd, uint64_t from, uint64_t to)
{
    return record_done(context, output_pwrite.allocate(NULL, fd, from, to), DEED_GROW, fd, to);
}

static inline int record_free_bytes(void *context, int fd, uint64_t *ret)
{
    (void)fd;
    *ret = ((struct record *)context)->free_bytes;
    return 0;
}

static inline int record_rename(void *context, const char *from, const char *to)
{
    struct record *record = context;
    int rc = output_pwrite.rename(NULL, from, to);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&record->lock);
    int file = record_file(record, base_name(from));
    assert_true(file >= 0);
    struct entry *entry = record_add(record, DEED_RENAME, file);
    strcpy(entry->name, base_name(to));
    strcpy(entry->old_name, base_name(from));
    strcpy(record->names[file], base_name(to));
    pthread_mutex_unlock(&record->lock);
    return 0;
}

static inline int record_remove(void *context, const char *path)
{
    struct record *record = context;
    int rc = output_pwrite.remove(NULL, path);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&record->lock);
    int file = record_file(record, base_name(path));
    assert_true(file >= 0);
    strcpy(record_add(record, DEED_REMOVE, file)->name, base_name(path));
    record->names[file][0] = 0;
    pthread_mutex_unlock(&record->lock);
    return 0;
}

static inline int record_sync_directory(void *context, const char *path)
{
    struct record *record = context;
    int rc = output_pwrite.sync_directory(NULL, path);
    pthread_mutex_lock(&record->lock);
    if (rc == 0)
        record_add(record, DEED_SYNC_DIRECTORY, -1);
    pthread_mutex_unlock(&record->lock);
    return rc;
}

/* The store has said that so much is durable. */
static inline void record_declare(struct record *record, uint64_t declared)
{
    record_add(record, DEED_DECLARE, -1)->declared = declared;
}

static inline void record_init(struct record *record)
{
    *record = (struct record){.output = output_pwrite, .free_bytes = 1 << 20};
    pthread_mutex_init(&record->lock, NULL);
    record->output.context = record;
    record->output.open = record_open;
    record->output.write = record_write;
    record->output.sync = record_sync;
    record->output.truncate = record_truncate;
    record->output.allocate = record_allocate;
    record->output.free_bytes = record_free_bytes;
    record->output.rename = record_rename;
    record->output.remove = record_remove;
    record->output.sync_directory = record_sync_directory;
}

/* From now on several writes are in flight, small ones. */
static inline void record_overlap(struct record *record)
{
    record->output.writes_in_flight = 3;
    record->output.write_bytes = 2 * EXTENT_BYTES;
    record->output.begin_write = record_begin_write;
    record->output.end_write = record_end_write;
}

static inline void record_free(struct record *record)
{
    for (size_t i = 0; i < record->count; i++)
        free(record->entries[i].data);
    free(record->entries);
    pthread_mutex_destroy(&record->lock);
}

/* ---- What a power cut leaves ---- */

struct remains {
    unsigned char *data[RECORD_FILES_MAX];
    uint64_t bytes[RECORD_FILES_MAX], room[RECORD_FILES_MAX];
    char names[RECORD_FILES_MAX * 2][64];
    int files[RECORD_FILES_MAX * 2]; /* that the names stand for; -1: none */
    int name_count;
};

/* How the lots fall for what is not durable. */
enum luck {
    LUCK_ALL_KEPT,
    LUCK_ALL_DROPPED,
    LUCK_ONE_IN_EIGHT_HURT,
    LUCK_ANY,
    LUCK_ORDERED,
    LUCKS
};

struct lots {
    uint64_t random;
    enum luck luck;
    size_t kept_until; /* LUCK_ORDERED: entries before here are kept, those behind are not */
};

enum fate { KEPT, DROPPED, TORN };

static inline enum fate draw(struct lots *lots, size_t entry)
{
    uint64_t lot = next_random(&lots->random) >> 20;
    switch (lots->luck) {
    case LUCK_ALL_KEPT:
        return KEPT;
    case LUCK_ALL_DROPPED:
        return DROPPED;
    case LUCK_ONE_IN_EIGHT_HURT:
        return lot % 8 ? KEPT : lot / 8 % 2 ? DROPPED : TORN;
    case LUCK_ORDERED:
        return entry < lots->kept_until ? KEPT : DROPPED;
    default:
        return (enum fate)(lot % 3);
    }
}

static inline void set_bytes(struct remains *remains, int file, uint64_t bytes)
{
    if (bytes > remains->room[file]) {
        remains->room[file] = bytes;
        remains->data[file] = realloc(remains->data[file], bytes);
        assert_non_null(remains->data[file]);
    }
    if (bytes > remains->bytes[file])
        memset(remains->data[file] + remains->bytes[file], 0, bytes - remains->bytes[file]);
    remains->bytes[file] = bytes;
}

/* Some or all sectors of a block. */
static inline void put_block(struct remains *remains, const struct entry *entry, size_t at,
                             size_t bytes, enum fate fate, struct lots *lots)
{
    uint64_t end = entry->offset + at + bytes;
    uint64_t kept = fate == KEPT ? UINT64_MAX : next_random(&lots->random) >> 9;

    if (end > remains->bytes[entry->file])
        set_bytes(remains, entry->file, end);
    for (size_t sector = 0; sector < bytes; sector += SECTOR_BYTES) {
        size_t length = bytes - sector < SECTOR_BYTES ? bytes - sector : SECTOR_BYTES;
        if (kept >> (sector / SECTOR_BYTES) & 1)
            memcpy(remains->data[entry->file] + entry->offset + at + sector,
                   entry->data + at + sector, length);
    }
}

static inline void do_again(struct remains *remains, const struct entry *entry, size_t index,
                            bool durable, struct lots *lots)
{
    if (entry->deed == DEED_WRITE) {
        for (size_t at = 0; at < entry->bytes; at += BLOCK_BYTES) {
            size_t bytes = entry->bytes - at < BLOCK_BYTES ? entry->bytes - at : BLOCK_BYTES;
            enum fate fate = durable ? KEPT : draw(lots, index);
            if (fate != DROPPED)
                put_block(remains, entry, at, bytes, fate, lots);
        }
    } else if (durable || draw(lots, index) == KEPT) {
        if (entry->deed == DEED_SIZE || entry->offset > remains->bytes[entry->file])
            set_bytes(remains, entry->file, entry->offset);
    }
}

static inline void set_name(struct remains *remains, const char *name, int file)
{
    int at = 0;
    while (at < remains->name_count && strcmp(remains->names[at], name) != 0)
        at++;
    if (at == remains->name_count) {
        assert_true(at < RECORD_FILES_MAX * 2);
        strcpy(remains->names[remains->name_count++], name);
    }
    remains->files[at] = file;
}

static inline void do_name_again(struct remains *remains, const struct entry *entry)
{
    for (int at = 0; at < remains->name_count; at++) {
        bool old = entry->deed == DEED_RENAME && strcmp(remains->names[at], entry->old_name) == 0;
        bool removed = entry->deed == DEED_REMOVE && strcmp(remains->names[at], entry->name) == 0;
        if ((old || removed) && remains->files[at] == entry->file)
            remains->files[at] = -1;
    }
    if (entry->deed != DEED_REMOVE)
        set_name(remains, entry->name, entry->file);
}

static inline bool is_of_name(enum deed deed)
{
    return deed == DEED_CREATE || deed == DEED_RENAME || deed == DEED_REMOVE;
}

/* The disk as a power cut behind the first `prefix` entries may have left it. */
static inline void remains_make(struct remains *ret, const struct record *record, size_t prefix,
                                struct lots *lots)
{
    size_t synced[RECORD_FILES_MAX] = {0}, names_synced = 0;

    *ret = (struct remains){0};
    for (size_t i = 0; i < prefix; i++) {
        if (record->entries[i].deed == DEED_SYNC)
            synced[record->entries[i].file] = i;
        if (record->entries[i].deed == DEED_SYNC_DIRECTORY)
            names_synced = i;
    }
    for (size_t i = 0; i < prefix; i++) {
        const struct entry *entry = &record->entries[i];
        if (entry->deed == DEED_WRITE || entry->deed == DEED_SIZE || entry->deed == DEED_GROW)
            do_again(ret, entry, i, i < synced[entry->file], lots);
        if (is_of_name(entry->deed) && (i < names_synced || draw(lots, i) == KEPT))
            do_name_again(ret, entry);
    }
}

static inline void remains_free(struct remains *remains)
{
    for (int i = 0; i < RECORD_FILES_MAX; i++)
        free(remains->data[i]);
}

/* Puts them into `directory`. */
static inline void remains_put(const struct remains *remains, const char *directory)
{
    static const unsigned char zeros[BLOCK_BYTES];
    char path[192];

    for (int at = 0; at < remains->name_count; at++) {
        int file = remains->files[at];
        if (file < 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, remains->names[at]);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)remains->bytes[file]), 0);
        for (uint64_t block = 0; block < remains->bytes[file]; block += BLOCK_BYTES) {
            size_t bytes = remains->bytes[file] - block < BLOCK_BYTES
                               ? (size_t)(remains->bytes[file] - block)
                               : BLOCK_BYTES;
            const unsigned char *data = remains->data[file] + block;
            if (memcmp(data, zeros, bytes) != 0)
                assert_int_equal(pwrite(fd, data, bytes, (off_t)block), (ssize_t)bytes);
        }
        close(fd);
    }
}

#endif
