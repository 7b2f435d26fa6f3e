/* SPDX-License-Identifier: MIT
 *
 * The double buffer's protocol.
 *
 * THE WORDS IN MEMORY
 *
 *   claim      {epoch:32 | next:32}, the single source of truth. Its epoch says which half is open
 *              (epoch & 1) and that all before are sealed; next is the next extent to be taken. Held
 *              writers and the reader sleep on its epoch: there is no second word to keep in step.
 *   stored     how many epochs have been stored: the half before the open one is free if and only if
 *              stored == the open epoch.
 *   busy       one per writer, on its own line: NONE, CLAIMING, or IN_A / IN_B while it is inside a
 *              block of half A or B.
 *   published  one per extent, in its header: {used:32 | block_count:32}. What a block must be in to
 *              exist. A writer that dies takes only the block with it that it had not published.
 *
 * A WRITER
 *
 *   enter      busy = IN(own epoch); if claim's epoch is still its own, and the extent has room: go.
 *   claim      busy = CLAIMING; fetch_add(claim, 1). The value that it *returns* decides epoch and
 *              index. An extent taken this way takes one block, whether its half is sealed meanwhile
 *              or not: otherwise two writers could swap the halves under each other for ever.
 *   publish    published += block, then busy = NONE.
 *   full       next has passed the last extent, which is how the wish for room is recorded. If the
 *              other half is free: swap, without waiting for the reader to be scheduled. If it is not:
 *              sleep on claim's epoch.
 *
 * THE READER
 *
 *   seal       happens by the swap itself: one compare-exchange of claim from {e, any} to {e+1, 0}, by
 *              a writer that found e full or by the reader when flush_ns is over. It ends by waking
 *              everyone who sleeps on the epoch, always.
 *   drain      it has seen epoch e+1; it waits until no writer is CLAIMING or IN(e). From then on every
 *              extent of half e is final: whoever enters later sees e+1 and turns away.
 *   free       stored = e+1; if the open half is full by now, nobody else will swap: the reader does.
 *
 * WHY IT IS ENOUGH: the pairs. Every ordered access below carries the label of its line here.
 *
 *   P1 publish   The writer: the block, then published (release). An observer of the region: published
 *                (acquire), then the block. A block that counts is complete. This is the crash's pair.
 *   P2 header    The writer: published = 0, then epoch (release). An observer: epoch (acquire), then
 *                published. An extent of this epoch never shows an older epoch's count.
 *   B1 leave     The writer: the block, then busy = NONE (release). Drain: busy (acquire), then the
 *                block. The reader sees all of it.
 *   B2 enter     The writer: busy = IN or CLAIMING, then load claim. Drain: claim has the new epoch, then
 *                load busy. One of the two sees the other (Dekker), so no writer is unseen in a sealed
 *                half. The writer's side is plain stores; the reader pays for both sides by
 *                membarrier(2), once a half. Where the kernel has none, the writer exchanges (seq_cst).
 *   B3 last wake The writer: busy = NONE, then load draining. Drain: draining = the writer, then
 *                futex_wait(busy). The same Dekker with the same membarrier: no wake-up is lost.
 *   C1 claim     Swap (release), then fetch_add (acquire). A writer in the new epoch sees that its half is
 *                free, and what it overwrites has been read.
 *   F1 free      The reader: reads the half, then stored (release). Swap: stored (acquire), then C1. The
 *                reading comes before the overwriting.
 *   F2 hold      The writer: next past the end, then load stored. Free: stored, then load claim. Both
 *                seq_cst: either the writer finds the half free, or the reader finds the wish for it.
 *   S1 close     Closing: closed, then load stored. The reader: stored, then load closed. The same again.
 *                And closed, then load claim: who finds it closed finds every claim.
 *
 *   futex_wait compares in the kernel: a sleeper misses no swap between its look and its sleep.
 *
 * WHAT IT COSTS: storing a half waits for the one block that each writer has in flight. A writer
 * that is preempted inside a block delays that half; the others fill the other one meanwhile, and
 * are then held, asleep, which gives the core to the straggler.
 *
 * Epochs wrap and are only compared for equality. While an epoch e is open, stored is e or e-1. What is
 * left in a half from an older epoch forgets its blocks whenever the half is drained, so that it is not
 * taken for new when its epoch comes again. A writer that rests would have to come back in exactly the
 * one of 2^32 epochs that has the number of its own: after 49 days at a swap each millisecond.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "db_parts.h"
#include "wait.h"

/* The steps at which a test can stop a thread: it defines this and includes this file. `writer` is
 * NULL for the reader. Nothing in the product. */
#ifndef DB_STEP
#define DB_STEP(step, writer) ((void)0)
#endif

/* ---- Words ---------------------------------------------------------------------------------- */

static uint64_t published_of(uint32_t used, uint32_t count)
{
    return (uint64_t)used << 32 | count;
}

static uint32_t used_of(uint64_t published)
{
    return (uint32_t)(published >> 32);
}

/* The half of claim that is the epoch: a futex is 32 bits. */
static uint32_t *epoch_word(struct control *control)
{
    return (uint32_t *)(void *)&control->claim + 1;
}

/* The reader's half of B2 and B3: after it, every writer has either made its busy store visible, or
 * will load what the reader stored before. */
static void barrier_on_writers(const struct db *db)
{
    if (!db->fenced) {
        long rc = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
        assert(rc == 0); /* it was registered in db_open */
    }
}

/* ---- Writer --------------------------------------------------------------------------------- */

/* The writer's half of B2 and B3: a store that its next load may not overtake. */
static void set_busy(struct db_writer *w, enum busy busy)
{
    if (w->fenced)
        (void)atomic_exchange_explicit(&w->busy, busy, memory_order_seq_cst); /* B1 B2 B3 */
    else
        atomic_store_explicit(&w->busy, busy, memory_order_release); /* B1 */
    atomic_signal_fence(memory_order_seq_cst); /* B2 B3: the compiler must not either */
}

/* After a set_busy that the reader may be asleep on. */
static inline void wake_drain(struct db_writer *w)
{
    if (atomic_load_explicit(&w->control->draining, memory_order_seq_cst) == w->number) /* B3 */
        futex_wake_all(&w->busy);
}

static void leave(struct db_writer *w)
{
    set_busy(w, BUSY_NONE);
    wake_drain(w);
}

/* Makes {epoch, index} the writer's extent. Inside the busy section only. */
static void take_extent(struct db_writer *w, uint32_t epoch, uint32_t index)
{
    const struct db *db = w->db;
    struct live_header *h =
        (void *)(db->halves[epoch & 1] + (size_t)index * db->geometry.extent_bytes);

    /* A kill may come between any two of these stores: see P1 and P2. */
    atomic_store_explicit(&h->published, 0, memory_order_relaxed);
    atomic_store_explicit(&h->epoch, epoch, memory_order_release); /* P2 */
    DB_STEP("heading", w);
    h->writer = (uint16_t)(w->number - 1);
    h->first_block = w->first_block + atomic_load_explicit(&w->blocks, memory_order_relaxed);
    h->dropped = 0;

    w->epoch = epoch;
    w->busy_in = BUSY_IN_A + (epoch & 1);
    w->extent = h;
    w->published = 0;
    w->room = db->geometry.extent_bytes - (uint32_t)sizeof(*h);
}

/* Opens the other half if it is free. True: epoch is not the open one any more (whoever did it). */
static bool try_swap(struct control *control, uint32_t epoch)
{
    if (atomic_load_explicit(&control->stored, memory_order_seq_cst) != epoch) /* F1 F2 S1 */
        return false;
    DB_STEP("swapping", NULL);
    uint64_t claim = atomic_load_explicit(&control->claim, memory_order_relaxed);
    do {
        if (epoch_of(claim) != epoch)
            return true;
    } while (!atomic_compare_exchange_weak_explicit(&control->claim, &claim, claim_of(epoch + 1),
                                                    memory_order_seq_cst, /* C1 */
                                                    memory_order_relaxed));
    DB_STEP("swapped", NULL);
    futex_wake_all(epoch_word(control));
    return true;
}

static void account_hold(struct db_writer *w, uint64_t ns)
{
    const uint64_t usec = ns / 1000;
    const unsigned bits = usec == 0 ? 0 : 64 - (unsigned)__builtin_clzll(usec);
    const unsigned class = bits < DB_HOLD_CLASSES ? bits : DB_HOLD_CLASSES - 1;
    atomic_fetch_add_explicit(&w->held_ns, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->hold_times[class], 1, memory_order_relaxed);
}

/* Waits until `epoch` is not the open one. */
static void hold(struct db_writer *w, uint32_t epoch)
{
    struct control *control = w->control;
    uint64_t since_ns = now_ns();
    atomic_fetch_add_explicit(&control->held, 1, memory_order_relaxed);
    DB_STEP("holding", w);
    while (epoch_of(atomic_load_explicit(&control->claim, memory_order_relaxed)) == epoch) {
        if (w->db->spin)
            cpu_relax();
        else
            futex_wait(epoch_word(control), epoch, 0);
    }
    atomic_fetch_sub_explicit(&control->held, 1, memory_order_relaxed);
    account_hold(w, now_ns() - since_ns);
}

/* Takes a new extent, and is held while there is none. Ends inside the busy section. */
static __attribute__((noinline)) void claim_extent(struct db_writer *w, size_t need)
{
    assert(need <= w->db->geometry.extent_bytes - sizeof(struct extent_header));
    struct control *control = w->control;
    const uint32_t extent_count = w->db->geometry.extent_count;
    for (;;) {
        set_busy(w, BUSY_CLAIMING);
        DB_STEP("claiming", w);
        /* Who finds it full has gone past the end, which is the wish for room, and comes again only in
         * another epoch: next ends at most one a writer too far, and cannot carry into the epoch. */
        const uint64_t claim =
            atomic_fetch_add_explicit(&control->claim, 1, memory_order_seq_cst); /* B2 C1 F2 */
        if (next_of(claim) < extent_count) {
            DB_STEP("claimed", w);
            take_extent(w, epoch_of(claim), next_of(claim));
            set_busy(w, w->busy_in);
            wake_drain(w); /* it may sleep on CLAIMING, and this epoch be none of its business */
            return;
        }
        leave(w);
        DB_STEP("full", w);
        if (!try_swap(control, epoch_of(claim)))
            hold(w, epoch_of(claim));
    }
}

/* Enters the busy section. True: the writer's extent is open and has room for `need` bytes. False: it
 * must claim one, without leaving. */
static inline bool enter(struct db_writer *w, size_t need)
{
    set_busy(w, w->busy_in);
    DB_STEP("entering", w);
    uint64_t claim = atomic_load_explicit(&w->control->claim, memory_order_seq_cst); /* B2 */
    return epoch_of(claim) == w->epoch && used_of(w->published) + need <= w->room;
}

/* Where the block in hand lies: its header, then its data. */
static inline unsigned char *place(const struct db_writer *w)
{
    return (unsigned char *)(w->extent + 1) + used_of(w->published);
}

/* Counts the block in hand, for others and for the writer itself: place is behind it from here on. */
static inline void count(struct db_writer *w, size_t bytes)
{
    const uint64_t blocks = atomic_load_explicit(&w->blocks, memory_order_relaxed);
    const uint64_t total = atomic_load_explicit(&w->bytes, memory_order_relaxed);
    atomic_store_explicit(&w->blocks, blocks + 1, memory_order_relaxed);
    atomic_store_explicit(&w->bytes, total + bytes, memory_order_relaxed);
    w->published += published_of((uint32_t)block_bytes(bytes), 1);
}

/* What has been counted exists from here on. Ends the busy section. */
static inline void publish(struct db_writer *w)
{
    DB_STEP("publishing", w);
    atomic_store_explicit(&w->extent->published, w->published, memory_order_release); /* P1 */
    DB_STEP("published", w);
    leave(w);
}

void *db_write_begin(struct db_writer *w, size_t max_bytes)
{
    if (!enter(w, block_bytes(max_bytes)))
        claim_extent(w, block_bytes(max_bytes));
    return place(w) + sizeof(struct block_header);
}

void db_write_end(struct db_writer *w, size_t bytes, uint32_t flags, uint64_t time_ns)
{
    unsigned char *at = place(w);
    const size_t taken = block_bytes(bytes);
    assert(taken <= w->room - used_of(w->published));

    /* What is stored must not depend on what lay here before. */
    for (size_t i = sizeof(struct block_header) + bytes; i < taken; i++)
        at[i] = 0;
    *(struct block_header *)(void *)at = (struct block_header){(uint32_t)bytes, flags, time_ns};
    count(w, bytes);
    publish(w);
}

/* Stores the last eight bytes of a counted block once more, shifted to where zeros follow them: the padding.
 * Taken from the source, as a load from where the block has just been copied to would wait for the
 * copying; and a word zeroed before the copying would wait for a line far ahead in a large block. */
static inline void put_padding(struct db_writer *w, const void *data, size_t bytes)
{
    uint64_t last = 0;
    if (bytes > sizeof(last)) {
        memcpy(&last, (const unsigned char *)data + bytes - sizeof(last), sizeof(last));
        last >>= 64 - bytes % 8 * 8;
    } else {
        memcpy(&last, data, bytes);
    }
    memcpy(place(w) - sizeof(last), &last, sizeof(last));
}

/* Copies the block into the extent, where there is room, and publishes it. Counted before the copying, so
 * that less has to be remembered over it. */
static inline void put(struct db_writer *w, const void *data, size_t bytes, uint32_t flags,
                       uint64_t time_ns)
{
    unsigned char *at = place(w);
    *(struct block_header *)(void *)at = (struct block_header){(uint32_t)bytes, flags, time_ns};
    count(w, bytes);
    memcpy(at + sizeof(struct block_header), data, bytes);
    if (bytes % 8 != 0)
        put_padding(w, data, bytes);
    publish(w);
}

/* Apart from db_write, so that the usual block does not pay for the registers of the seldom one. */
static __attribute__((noinline)) void write_to_new_extent(struct db_writer *w, const void *data,
                                                          size_t bytes, uint32_t flags,
                                                          uint64_t time_ns)
{
    claim_extent(w, block_bytes(bytes));
    put(w, data, bytes, flags, time_ns);
}

void db_write_cancel(struct db_writer *w)
{
    leave(w);
}

void db_write(struct db_writer *w, const void *data, size_t bytes, uint32_t flags, uint64_t time_ns)
{
    if (enter(w, block_bytes(bytes)))
        put(w, data, bytes, flags, time_ns);
    else
        write_to_new_extent(w, data, bytes, flags, time_ns);
}

/* ---- Reader --------------------------------------------------------------------------------- */

/* Waits until `w` can no longer be inside a block of the sealed epoch. */
static void drain_writer(struct db *db, struct db_writer *w, uint32_t epoch)
{
    const uint32_t in_sealed = BUSY_IN_A + (epoch & 1);
    for (;;) {
        uint32_t busy = atomic_load_explicit(&w->busy, memory_order_seq_cst); /* B1 B2 B3 */
        if (busy != BUSY_CLAIMING && busy != in_sealed)
            return;
        if (atomic_load_explicit(&db->control->draining, memory_order_relaxed) != w->number) {
            atomic_store_explicit(&db->control->draining, w->number, memory_order_seq_cst); /* B3 */
            barrier_on_writers(db);
            continue; /* look once more: it may have left without seeing draining */
        }
        DB_STEP("draining", NULL);
        futex_wait(&w->busy, busy, 0);
    }
}

/* Makes every extent of the sealed epoch final. */
static void drain(struct db *db, uint32_t epoch)
{
    DB_STEP("sealed", NULL);
    barrier_on_writers(db); /* B2 */
    for (unsigned i = 0; i < db->writer_count; i++)
        drain_writer(db, &db->writers[i], epoch);
    DB_STEP("drained", NULL);
    atomic_store_explicit(&db->control->draining, 0, memory_order_relaxed);
}

static struct live_header *header_at(const struct db_half *half, uint32_t index)
{
    return (void *)(half->extents + (size_t)index * half->geometry.extent_bytes);
}

/* Of a final half. An extent that nobody took in this epoch forgets the blocks that it holds of an older
 * one. They would count again when its epoch does, 2^32 swaps later. */
static void forget_old(const struct db_half *half)
{
    for (uint32_t i = 0; i < half->geometry.extent_count; i++) {
        struct live_header *h = header_at(half, i);
        if (atomic_load_explicit(&h->epoch, memory_order_relaxed) != half->epoch &&
            atomic_load_explicit(&h->published, memory_order_relaxed) != 0)
            atomic_store_explicit(&h->published, 0, memory_order_relaxed);
    }
}

static bool half_has_blocks(const struct db_half *half)
{
    for (uint32_t i = 0; i < half->geometry.extent_count; i++)
        if (db_half_extent(half, i) != NULL)
            return true;
    return false;
}

/* Waits until the epoch that is to be read is sealed. 1, 0 and -ETIMEDOUT as db_read. */
static int wait_sealed(struct db *db, uint64_t deadline_ns)
{
    struct control *control = db->control;
    const uint32_t epoch = db->reading;
    for (;;) {
        /* closed first: when it is set, no writer claims any more, and claim, looked at after it, tells
         * of every block. The other way round the last ones could come in between unseen. */
        const bool closed = atomic_load_explicit(&control->closed, memory_order_seq_cst); /* S1 */
        DB_STEP("looking", NULL);
        uint64_t claim = atomic_load_explicit(&control->claim, memory_order_seq_cst); /* B2 S1 */
        if (epoch_of(claim) != epoch)
            return 1;
        const bool due = now_ns() >= deadline_ns;
        if (closed || due) {
            if (next_of(claim) == 0)
                return closed ? 0 : -ETIMEDOUT;
            (void)try_swap(control, epoch); /* the other half is free: this is its only reader */
            continue;
        }
        futex_wait(epoch_word(control), epoch, deadline_ns);
    }
}

int db_read(struct db *db, uint64_t flush_ns, struct db_half *ret)
{
    for (;;) {
        int rc = wait_sealed(db, db->opened_ns + flush_ns);
        if (rc == -ETIMEDOUT)
            db->opened_ns = now_ns(); /* nothing in it: its age starts anew */
        if (rc != 1)
            return rc;
        db->opened_ns = now_ns();
        drain(db, db->reading);
        struct db_half half = {
            .extents = db->halves[db->reading & 1], .geometry = db->geometry, .epoch = db->reading};
        forget_old(&half);
        if (half_has_blocks(&half)) {
            *ret = half;
            return 1;
        }
        db_release(db); /* sealed before anything came, or all extents were given back */
        /* Relaxed: who does not see it yet is told to look again, by wait_sealed in the next call. */
        if (!atomic_load_explicit(&db->control->closed, memory_order_relaxed))
            return -ETIMEDOUT;
    }
}

struct extent_header *db_half_extent(const struct db_half *half, uint32_t index)
{
    assert(index < half->geometry.extent_count);
    struct live_header *h = header_at(half, index);
    /* Relaxed: after the drain (B1) nobody else touches it. What is not of this epoch is forgotten. */
    return atomic_load_explicit(&h->published, memory_order_relaxed) != 0 ? (void *)h : NULL;
}

void db_release(struct db *db)
{
    struct control *control = db->control;
    db->reading++;
    atomic_store_explicit(&control->stored, db->reading, memory_order_seq_cst); /* F1 F2 S1 */
    DB_STEP("freed", NULL);
    uint64_t claim = atomic_load_explicit(&control->claim, memory_order_seq_cst); /* F2 */
    if (epoch_of(claim) == db->reading && next_of(claim) > db->geometry.extent_count)
        (void)try_swap(control, db->reading);
}

/* ---- Anyone --------------------------------------------------------------------------------- */

void db_seal(struct db *db)
{
    /* Relaxed: of an epoch that is open no more there is nothing to seal, and the swap has woken all. */
    uint64_t claim = atomic_load_explicit(&db->control->claim, memory_order_relaxed);
    (void)try_swap(db->control, epoch_of(claim));
}

void db_close(struct db *db)
{
    struct control *control = db->control;
    atomic_store_explicit(&control->closed, 1, memory_order_seq_cst); /* S1 */
    /* If the reader sleeps, the other half is free and this wakes it; if not, it will look. */
    uint64_t claim = atomic_load_explicit(&control->claim, memory_order_seq_cst); /* S1 */
    (void)try_swap(control, epoch_of(claim));
}

void db_reopen(struct db *db)
{
    struct control *control = db->control;
    /* Relaxed: the threads that were inside have been joined, and the next ones are yet to be started. */
    const uint64_t claim = atomic_load_explicit(&control->claim, memory_order_relaxed);
    assert(atomic_load_explicit(&control->closed, memory_order_relaxed) == 1);
    assert(next_of(claim) == 0);
    assert(epoch_of(claim) == db->reading || epoch_of(claim) == db->reading + 1);
    assert(atomic_load_explicit(&control->stored, memory_order_relaxed) == db->reading);
    /* db_close may have sealed the open half when the reader had seen already that it is empty. */
    db->reading = epoch_of(claim);
    atomic_store_explicit(&control->stored, db->reading, memory_order_relaxed);
    db->opened_ns = now_ns();
    atomic_store_explicit(&control->closed, 0, memory_order_relaxed);
}
