/* SPDX-License-Identifier: MIT
 *
 * The store: what others call. Opening, a half, housekeeping, the end; in this order.
 *
 * Happy path: open (lock, look where the stream goes on, cut what a crash left, begin a segment);
 * a half after the other (store_half.c); between them housekeeping (store_segment.c); finish.
 *
 * Failure modes: what concerns one file is got over by leaving it for a new one, once a call; what
 * concerns the disk is returned, and everything that was stored stays as it is. The next call goes
 * on at store->done. See the head of store_segment.c.
 *
 * On stop: store_finish, then store_free. store_free alone is what a crash would do, without the
 * mess: the stream stays unclosed, and is recovered by the next store_open.
 */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "recover.h"
#include "store_state.h"

uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now); /* cannot fail for the clocks that every system has */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void store_report(struct store *store, struct store_event event)
{
    if (store->options.on_event)
        store->options.on_event(store->options.context, &event);
}

/* ---- Opening ---- */

static int new_uuid(uint8_t uuid[static 16])
{
    if (getrandom(uuid, 16, 0) != 16)
        return -errno;
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4: random */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return 0;
}

/* What is at the stream's path. 1: a device, to be written straight. 0: a file, or nothing. */
static int look_at_path(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))
        return 1;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    return S_ISREG(status.st_mode) ? 0 : -EBADMSG;
}

static struct random_parameters random_of(const struct store_options *options)
{
    if (!options->random)
        return (struct random_parameters){0};
    return (struct random_parameters){.random = 1,
                                      .seed = options->seed,
                                      .min_block = options->min_block,
                                      .max_block = options->max_block};
}

static bool same_random(const struct random_parameters *a, const struct random_parameters *b)
{
    return a->random == b->random && a->seed == b->seed && a->min_block == b->min_block &&
           a->max_block == b->max_block;
}

static int allocate_store(struct store **ret, const struct store_options *options)
{
    struct store *store = calloc(1, sizeof(*store));

    if (!store)
        return -ENOMEM;
    store->options = *options;
    store->rotates = options->segment_bytes > 0 || options->segment_age_ns > 0;
    store->options.path = strdup(options->path);
    store->options.failover_path = options->failover_path ? strdup(options->failover_path) : NULL;
    store->next_blocks = calloc(FORMAT_WRITERS_MAX, sizeof(store->next_blocks[0]));
    store->page = aligned_alloc(FORMAT_ALIGN, FORMAT_ALIGN + CHECKPOINT_STORED_MAX);
    if (!store->options.output)
        store->options.output = &output_pwrite;
    store->random = random_of(options);
    bool raw = options->format == STORE_RAW;
    store->manner = (struct segment_manner){.direct = !raw && !options->buffered,
                                            .direct_only = !raw && options->direct_only,
                                            .ahead = !raw,
                                            .preallocate = !raw,
                                            .overlap = true};
    if (!store->options.path || (options->failover_path && !store->options.failover_path) ||
        !store->next_blocks || !store->page) {
        store_free(store);
        return -ENOMEM;
    }
    *ret = store;
    return 0;
}

/* A segment holds at least one extent between its checkpoints, and no place that a header could not
 * name. */
void store_set_segment_bytes(struct store *store)
{
    uint64_t most = (uint64_t)UINT32_MAX * FORMAT_ALIGN;
    uint64_t least = FORMAT_ALIGN + 2 * tally_checkpoint_bytes(&store->tally) +
                     ((store->options.extent_bytes_max + FORMAT_ALIGN - 1) & ~(FORMAT_ALIGN - 1ul));
    uint64_t bytes = store->options.segment_bytes & ~(FORMAT_ALIGN - 1ull);

    if (store->options.segment_bytes == 0 || bytes > most)
        bytes = most;
    store->segment_bytes_max = bytes > least ? bytes : least;
}

static void report_cut(void *context, const char *path, uint64_t offset, uint64_t bytes, bool torn)
{
    store_report(context, (struct store_event){.kind = torn ? STORE_TAIL_CUT : STORE_TAIL_FREED,
                                               .path = path,
                                               .offset = offset,
                                               .bytes = bytes});
}

/* A stream begins. If something came before it its first extent is not number 0: whoever verifies it
 * is told so. */
static void begin_sequences(struct store *store)
{
    const struct store_before *before = store->options.before;

    for (unsigned w = 0; before && w < store->options.writer_count; w++) {
        store->tally.writers[w].next_block = before->first_blocks[w];
        if (before->first_blocks[w] > 0)
            store->tally.next_seq = 1;
    }
}

/* Whether the segment is at the stream's own place. */
static bool is_home(const struct store *store, const char *path)
{
    const char *slash = strrchr(store->options.path, '/');
    size_t length = slash ? (size_t)(slash - store->options.path) + 1 : 0;

    return strncmp(path, store->options.path, length) == 0 && !strchr(path + length, '/');
}

/* The stream as it was found, and where to go on in it. */
static int take_over(struct store *store, const struct recovery *recovery)
{
    const struct store_before *before = store->options.before;

    store->number = recovery->number;
    if (!recovery->found) {
        begin_sequences(store);
        return new_uuid(store->uuid);
    }
    if (before && memcmp(before->uuid, recovery->uuid, sizeof(store->uuid)) != 0)
        return -ESTALE;
    memcpy(store->uuid, recovery->uuid, sizeof(store->uuid));
    store->tally = recovery->tally;
    if (!store->rotates && is_home(store, recovery->path)) {
        store->resume_path = strdup(recovery->path);
        store->resume_offset = recovery->end;
        if (!store->resume_path)
            return -ENOMEM;
    }
    return 0;
}

static int open_segments(struct store *store, const struct stream_files *files)
{
    struct recovery *recovery = malloc(sizeof(*recovery)); /* it is large */
    const struct store_before *before = store->options.before;
    int rc = recovery ? recover_look(files, before ? before->target : NULL, store->options.output,
                                     recovery)
                      : -ENOMEM;

    if (rc < 0) {
        free(recovery);
        return rc;
    }
    if (recovery->found)
        rc = segment_probe(recovery->path);
    if (rc == 0)
        rc = take_over(store, recovery);
    if (rc == 0)
        rc = recover_cut(recovery, store->options.output, report_cut, store);
    recover_free(recovery);
    free(recovery);
    return rc;
}

/* A raw stream has nothing to recover; but segments are not to be spoilt by appending to them. */
static int look_at_raw(const char *path)
{
    uint64_t magic = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t got = pread(fd, &magic, sizeof(magic), 0);
    int rc = got < 0 ? -errno : 0;
    close(fd);
    return rc == 0 && magic == SEGMENT_MAGIC ? -EBADMSG : rc;
}

/* How much of the half that the run before was storing is in the output: whoever calls has looked. */
static void take_part(struct store *store)
{
    const struct store_before *before = store->options.before;

    if (!before || !before->target)
        return;
    store->stored_in_part = true;
    store->part_epoch = before->target->epoch;
    store->part_position = before->target->position;
}

static int open_raw(struct store *store, const struct stream_files *files)
{
    const struct stream_file *last = files->count ? &files->files[files->count - 1] : NULL;

    begin_sequences(store);
    take_part(store);
    if (!last)
        return 0;
    int rc = segment_probe(last->path);
    if (rc == 0)
        rc = look_at_raw(last->path);
    if (rc < 0)
        return rc;
    store->number = last->number;
    if (!store->rotates && is_home(store, last->path)) {
        store->resume_path = strdup(last->path);
        store->resume_offset = last->bytes;
        if (!store->resume_path)
            return -ENOMEM;
    }
    return 0;
}

/* What a killed run was making ready would keep its room for ever if none were made again. `ahead`: one is
 * made ready there from now on. */
static int clear_next(struct store *store, const char *stream_path, bool ahead)
{
    const struct output *output = store->options.output;
    char *path;
    int rc = stream_next_path(stream_path, &path);

    if (rc < 0)
        return rc;
    rc = output->remove(output->context, path);
    if (rc == -ENOENT)
        rc = 0;
    if (rc == 0 && ahead)
        rc = prepare_open(&store->prepare, output, path, store->options.own_thread);
    free(path);
    return rc;
}

/* The newest file is the only one that a killed process can have had writes in flight to. */
static int await_newest(const struct stream_files *files)
{
    int rc = files->count > 0 ? segment_await(files->files[files->count - 1].path) : 0;

    return rc == -ENOENT ? 0 : rc;
}

int store_await(const char *path)
{
    struct stream_lock lock;
    struct stream_files files;
    int rc = stream_lock(path, &lock);

    if (rc < 0)
        return rc;
    rc = stream_list(path, &files);
    if (rc == 0) {
        rc = await_newest(&files);
        stream_files_free(&files);
    }
    stream_unlock(&lock);
    return rc;
}

static int open_files(struct store *store)
{
    struct stream_files files;
    const char *other = store->options.failover_path;
    int rc = stream_lock(store->options.path, &store->lock);

    if (rc == 0 && other)
        rc = stream_lock(other, &store->other_lock);
    if (rc == 0)
        rc =
            clear_next(store, store->options.path,
                       store->options.format == STORE_SEGMENTS && store->options.segment_bytes > 0);
    if (rc == 0 && other)
        rc = clear_next(store, other, /* ahead= */ false);
    if (rc == 0)
        rc = store_list(store, &files);
    if (rc < 0)
        return rc;
    store->numbered = files.count > 0 && files.files[files.count - 1].number > 0;
    rc = await_newest(&files);
    if (rc == 0)
        rc = store->options.format == STORE_RAW ? open_raw(store, &files)
                                                : open_segments(store, &files);
    stream_files_free(&files);
    return rc;
}

/* The stream has these writers from here on, or more. */
static void take_writers(struct store *store)
{
    if (store->tally.writer_count < store->options.writer_count)
        store->tally.writer_count = store->options.writer_count;
    for (unsigned w = 0; w < store->options.writer_count; w++)
        store->next_blocks[w] = store->tally.writers[w].next_block;
}

static int open_stream(struct store *store)
{
    int kind = look_at_path(store->options.path);
    int rc = kind;

    if (kind == 1) {
        store->device = true;
        store->number = 1;
        begin_sequences(store);
        if (store->options.format == STORE_RAW)
            take_part(store);
        rc = new_uuid(store->uuid);
        if (rc == 0)
            rc = segment_open_device(&store->segment, store->options.output, store->options.path);
    } else if (kind == 0)
        rc = open_files(store);
    if (rc < 0)
        return rc;
    take_writers(store);
    store->first_bytes = store->tally.bytes;
    atomic_store(&store->account.digest, store->tally.digest);
    store_set_segment_bytes(store);
    store->gaps = store->options.before != NULL;
    store->options.before = NULL; /* it was valid until here */
    rc = store_begin(store);
    /* Room and a reader for the pipe may come later: store_write begins then. */
    return no_room(rc) || rc == -EAGAIN ? 0 : rc;
}

int store_open(struct store **ret, const struct store_options *options)
{
    struct store *store;

    assert(options->writer_count > 0 && options->writer_count <= FORMAT_WRITERS_MAX);
    assert(options->extent_bytes_max % FORMAT_ALIGN == 0 && options->extent_bytes_max > 0);
    int rc = allocate_store(&store, options);
    if (rc < 0)
        return rc;
    rc = open_stream(store);
    if (rc < 0) {
        store_free(store);
        return rc;
    }
    *ret = store;
    return 0;
}

const uint64_t *store_next_blocks(const struct store *store)
{
    return store->next_blocks;
}

const uint8_t *store_uuid(const struct store *store)
{
    return store->uuid;
}

/* ---- Storing ---- */

/* Whether a call that failed is to be made again at once: a file is left once a call; room is made for
 * as long as there is something to give up for it. */
static bool goes_on(struct store *store, int rc, bool *again)
{
    if (!store_recover(store, rc) || !(*again || (no_room(rc) && store->options.full_deletes)))
        return false;
    *again = false;
    return true;
}

int store_write(struct store *store, struct extent_header *const extents[], size_t count)
{
    assert(!store->finished);
    if (!store->pending)
        store_begin_half(store, extents, count);
    segment_doubt_room(&store->segment);
    int rc = store_look(store);
    bool again = true;
    while (rc == 0) {
        rc = store_half(store, extents, count);
        if (rc == 0) {
            store->pending = false;
            store_note_success(store);
            store_mark(store); /* the caller releases it: nobody can ask for it again */
            return 0;
        }
        if (goes_on(store, rc, &again))
            rc = 0;
    }
    return rc;
}

void store_tune(struct store *store, const struct store_tuning *tuning)
{
    struct store_options *options = &store->options;

    options->durability = tuning->durability;
    options->sync_interval_ns = tuning->sync_interval_ns;
    options->segment_bytes = tuning->segment_bytes;
    options->segment_age_ns = tuning->segment_age_ns;
    options->retain_bytes = tuning->retain_bytes;
    options->retain_age_ns = tuning->retain_age_ns;
    options->full_deletes = tuning->full_deletes;
    options->min_free_bytes = tuning->min_free_bytes;
    store->rotates = options->segment_bytes > 0 || options->segment_age_ns > 0;
    store_set_segment_bytes(store);
    store->retention_due = true;
}

void store_change(struct store *store, const struct store_change *change)
{
    struct store_options *options = &store->options;
    const unsigned writers = store->tally.writer_count;

    assert(!store->finished && !store->pending);
    assert(change->writer_count > 0 && change->writer_count <= FORMAT_WRITERS_MAX);
    options->extent_bytes_max = change->extent_bytes_max;
    options->writer_count = change->writer_count;
    options->random = change->random;
    options->seed = change->seed;
    options->min_block = change->min_block;
    options->max_block = change->max_block;

    const struct random_parameters random = random_of(options);
    take_writers(store);
    store_set_segment_bytes(store);
    if (store->tally.writer_count != writers || !same_random(&random, &store->random))
        store->checkpoint_due = true;
    store->random = random;
    store_mark(store);
}

bool store_rotate(struct store *store)
{
    if (store->device)
        return false;
    store->rotate_asked = true;
    return true;
}

/* Between two halves. What fails is tried again, here or with the next half. */
static int rotate_if_asked(struct store *store)
{
    if (!store->rotate_asked || store->pending)
        return 0;
    int rc = store_look(store);
    if (rc == 0 && store->begun)
        rc = store_end(store, EXTENT_END);
    if (rc == 0)
        rc = store_begin(store);
    if (rc < 0)
        (void)store_recover(store, rc); /* a file that failed is left; room may be made */
    return rc;
}

static int sync_by_interval(struct store *store)
{
    if (store->options.durability != DURABILITY_INTERVAL || !store->begun ||
        store->segment.offset == store->durable_offset ||
        clock_ns(CLOCK_MONOTONIC) - store->sync_time_ns < store->options.sync_interval_ns)
        return 0;
    int rc = store_sync(store);
    if (rc < 0)
        (void)store_recover(store, rc); /* it is left; the next half begins a new one */
    return rc;
}

int store_housekeep(struct store *store)
{
    int rotated = rotate_if_asked(store);
    int synced = sync_by_interval(store);
    store_look_at_age(store);
    int retained = store_retain(store); /* first: what it gives up may be the next */
    int prepared = store_prepare_next(store);

    if (rotated < 0)
        return rotated;
    if (synced < 0)
        return synced;
    return prepared < 0 ? prepared : retained;
}

int store_finish(struct store *store)
{
    assert(!store->finished);
    if (store->pending)
        return -EBUSY;
    bool again = true;
    for (;;) {
        int rc = store_look(store);
        if (rc == 0)
            rc = store_begin(store);
        if (rc == 0)
            rc = store_end(store, EXTENT_END | EXTENT_CLOSE);
        if (rc == 0)
            break;
        if (!goes_on(store, rc, &again))
            return rc;
    }
    store->finished = true;
    return 0;
}

void store_free(struct store *store)
{
    if (!store)
        return;
    prepare_close(store->prepare);
    segment_close(&store->segment);
    stream_unlock(&store->other_lock);
    stream_unlock(&store->lock);
    free(store->resume_path);
    free(store->page);
    free(store->next_blocks);
    free((char *)(uintptr_t)store->options.path);
    free((char *)(uintptr_t)store->options.failover_path);
    free(store);
}

/* ---- What others may know ---- */

static uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

struct store_account store_account(const struct store *store)
{
    const struct account *account = &store->account;
    /* Before the bytes: so nobody ever sees more of them durable than stored. */
    uint64_t durable_bytes = counted(&account->durable_bytes);

    return (struct store_account){
        .blocks = counted(&account->blocks),
        .bytes = counted(&account->bytes),
        .extents = counted(&account->extents),
        .file_bytes = counted(&account->file_bytes),
        .durable_bytes = durable_bytes,
        .segments = counted(&account->segments),
        .segments_deleted = counted(&account->segments_deleted),
        .write_ns = counted(&account->write_ns),
        .sync_ns = counted(&account->sync_ns),
        .syncs = counted(&account->syncs),
        .digest = atomic_load_explicit(&account->digest, memory_order_acquire),
    };
}

const char *store_path(const struct store *store)
{
    return store->segment.path ? store->segment.path : store->options.path;
}

uint64_t store_offset(const struct store *store)
{
    return store->segment.offset;
}
