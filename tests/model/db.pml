/* SPDX-License-Identifier: MIT
 *
 * A model of the double buffer's protocol (src/buffer/db.c) in Promela, for spin(1).
 *
 * Spin tries every interleaving of the processes below, for a few writers, extents and blocks, and
 * shows the steps that lead to a failed assertion, or to a state in which somebody sleeps for ever, or
 * round in a circle. model.sh, beside this file, explores several configurations, and as many seeded
 * mistakes (each #ifdef MUTANT_... below), which all must be found.
 *
 * WHAT IS MODELLED
 *
 *   claim      one word {epoch, next}, read and changed in one step. The epoch counts modulo EPOCHS and
 *              starts right before its wrap.
 *   writers    db_write_begin, _end and _cancel, claim_extent, try_swap and hold: one step for each
 *              load, fetch_add, compare-exchange and futex call of the code, under the code's names.
 *   stores     a writer's plain stores, to busy and to its extent, wait in a queue of its own, and
 *              arrive in memory one by one, in order, at any later time: x86's store buffer. So every
 *              load of a writer may overtake the stores before it, which is what makes B2 and B3 hard.
 *              fetch_add and compare-exchange wait until the queue is empty. membarrier(2) waits for
 *              that with one writer after the other, in any order. futex_wake waits, too: the kernel
 *              promises a full barrier. FENCED is the protocol without membarrier: set_busy exchanges.
 *   reader     db_read with flush_ns over at any moment, the drain, db_release. db_close comes at any
 *              time after each writer has got the room for its last block.
 *   futex      to compare and to fall asleep is one step. Who sleeps goes on only when it is woken.
 *
 * WHAT IS CHECKED
 *
 *   - The reader gets every block once, whole, those of one writer in order, and has got and stored
 *     them all when it ends.
 *   - A writer stores into an extent only while it is the owner: from its fetch_add to the end of the
 *     drain. So none writes into a half that is being read, or is free, or belongs to others by now.
 *   - observe(): after each store that arrives, and each change of claim or stored, the region holds
 *     just the blocks that are published and not yet stored: each once, whole, in order. That is how
 *     recovery would find it after a kill at that moment; only control words and headers are used.
 *   - Nobody sleeps for ever: an "invalid end state".
 *   - next goes past the last extent by no more than one a writer.
 *   - Nobody goes round in a circle: with -DNP, however unfair the scheduler. (Every block makes the
 *     state a new one, so that any circle is one without a block.)
 *
 * WHAT IS NOT
 *
 *   - Processors with weaker orders than x86. P1, P2 and B1 say that two stores keep their order: a
 *     mutant exchanges them in the program. F2 and S1 say that a load stays behind a store: a mutant
 *     loads first. The acquire parts, C1 and F1 hold on x86 by themselves: they are ThreadSanitizer's.
 *   - A futex_wait that returns early: each stands in a loop that looks again. Held writers that spin:
 *     the same loop without the sleep.
 *   - The length of blocks (ROOM of them fit into an extent), times, db_account and db_state.
 *   - A writer that rests for so many swaps that its epoch comes again, 2^32 of them. EPOCHS is more than
 *     the swaps of any run here, but for one run that is about extents whose epoch comes again.
 *
 * THE ORDERED ACCESSES of db.c, in its order. model.sh compares this list with the source: whoever
 * changes one there has to come here.
 *
 *     set_busy exchange busy B1 B2 B3
 *     set_busy store busy B1
 *     wake_drain load draining B3
 *     take_extent store epoch P2
 *     try_swap load stored F1 F2 S1
 *     try_swap compare_exchange claim C1
 *     claim_extent fetch_add claim B2 C1 F2
 *     enter load claim B2
 *     publish store published P1
 *     drain_writer load busy B1 B2 B3
 *     drain_writer store draining B3
 *     drain barrier writers B2
 *     wait_sealed load closed S1
 *     wait_sealed load claim B2 S1
 *     db_release store stored F1 F2 S1
 *     db_release load claim F2
 *     db_close store closed S1
 *     db_close load claim S1
 *
 * BY HAND, in a folder of your own with a copy of this file. All constants below can be given by -D.
 *
 *     spin -a -DEXTENTS=2 -DROOM=1 db.pml && gcc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m20000
 *     spin -a -DMUTANT_NO_WAKE db.pml && gcc -O2 -DSAFETY -DREACH -o pan pan.c && ./pan -i
 *     spin -t -p -g -DMUTANT_NO_WAKE db.pml                            # replays db.pml.trail
 *     spin -a -DMUTANT_REVOKE -DROOM=1 db.pml && gcc -O2 -DNP -o pan pan.c && ./pan -l   # circles
 *
 * -i looks for a shorter trail. A line of the replay is a step of one process; the rest is observe().
 */
#ifndef WRITERS
#define WRITERS 2 /* 1 to 3 */
#endif
#ifndef EXTENTS
#define EXTENTS 1 /* of a half */
#endif
#ifndef ROOM
#define ROOM 2 /* blocks that fit into an extent */
#endif
#ifndef BLOCKS
#define BLOCKS 2 /* that each writer begins */
#endif
#ifndef CANCELS
#define CANCELS 0 /* how many of them, in all, may be cancelled */
#endif
#ifndef FLUSHES
#define FLUSHES 0 /* how often flush_ns may be over */
#endif
#ifndef STORES
#define STORES 4 /* of a writer that may be on their way to memory */
#endif
#ifndef EPOCHS
#define EPOCHS 8 /* an even number, so that halves take turns over the wrap */
#endif
#ifndef FIRST
#define FIRST (EPOCHS - 1)
#endif

#define AFTER(e)     (((e) + 1) % EPOCHS)
#define BEFORE(e)    (((e) + EPOCHS - 1) % EPOCHS)
#define EXTENT(e, i) (((e) & 1) * EXTENTS + (i))

/* enum busy */
#define NONE     0
#define CLAIMING 1
#define IN(e)    (2 + ((e) & 1))

/* ---- Memory ----------------------------------------------------------------------------------- */

byte claim_epoch = FIRST, claim_next; /* one word: never touched in two steps */
byte stored = FIRST;
bit closed;
byte draining; /* 1 + the writer on whose busy word the reader sleeps, or 0 */
byte busy[WRITERS];

/* The extents: the headers, and the blocks behind them. `writer` and `first_block` travel with the
 * epoch: nobody looks at them before there is a count. */
byte h_epoch[2 * EXTENTS], h_whose[2 * EXTENTS], h_published[2 * EXTENTS];
byte content[2 * EXTENTS * ROOM];

#define BLOCK(writer, number) (1 + (writer) * BLOCKS + (number)) /* as content; 0 is no block */
#define WHOSE(writer, first)  ((writer) * BLOCKS + (first))

/* The stores that have not yet arrived: what, in which extent, which value. */
mtype = { BUSY, EPOCH, CONTENT, PUBLISHED };
chan stores[WRITERS] = [STORES] of { mtype, byte, byte };
#define ALL_ARRIVED(who) (len(stores[who]) == 0)

/* Who sleeps where. */
bit held[WRITERS]; /* on claim's epoch */
byte reader_sleeps;
#define ON_EPOCH     1
#define ON_BUSY(who) (2 + (who))

/* ---- What only the checks know ---------------------------------------------------------------- */

byte reading = FIRST;    /* the reader's: the epoch that it reads next, or is storing */
bit half_is_final;       /* that epoch is drained and not yet released */
byte owner[2 * EXTENTS]; /* 1 + the writer that may write into it; 0: none */
byte published[WRITERS]; /* blocks whose count has arrived */
byte was_read[WRITERS], was_stored[WRITERS];
byte begun;              /* writers that have begun their last block */
byte flushes, cancels;

hidden mtype what;
hidden byte x, value, i, e, n, b, w, expected[WRITERS];

#define COPY(to, from)                     \
    i = 0;                                 \
    do                                     \
    :: i < WRITERS -> to[i] = from[i]; i++ \
    :: else -> break                       \
    od

/* What somebody finds who knows only the headers, in the halves of so many epochs from `first`: blocks
 * that go on where `expected` stands. */
inline look_at_halves(first, count, any_epoch)
{
    i = 0;
    do
    :: i < (count) * EXTENTS ->
        e = (first + i / EXTENTS) % EPOCHS;
        n = EXTENT(e, i % EXTENTS);
        if
        :: (h_epoch[n] == e || any_epoch) && h_published[n] != 0 ->
            w = h_whose[n] / BLOCKS;
            assert(h_whose[n] % BLOCKS == expected[w]);
            b = 0;
            do
            :: b < h_published[n] ->
                assert(content[n * ROOM + b] == BLOCK(w, expected[w]));
                expected[w]++;
                b++
            :: else -> break
            od
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* Recovery after a kill at this moment. */
inline observe()
{
    assert(claim_epoch == stored || claim_epoch == AFTER(stored));
    COPY(expected, was_stored);
    look_at_halves(stored, 1 + (claim_epoch != stored), false);
    i = 0;
    do
    :: i < WRITERS -> assert(expected[i] == published[i]); i++
    :: else -> break
    od
}

inline store_arrives(who)
{
    stores[who]?what, x, value;
    if
    :: what == BUSY -> busy[who] = value
    :: else ->
        assert(owner[x] == who + 1);
        if
        :: what == EPOCH -> h_epoch[x] = value % EPOCHS; h_whose[x] = value / EPOCHS
        :: what == CONTENT -> content[x * ROOM + value % ROOM] = value / ROOM
        :: what == PUBLISHED ->
            h_published[x] = value;
            if
            :: value != 0 -> published[who]++
            :: else
            fi
        fi;
        observe()
    fi
}

/* ---- Words and waiting ------------------------------------------------------------------------ */

#ifdef MUTANT_SEAL_WORD /* to sleep on a word apart from claim, stored after the compare-exchange */
byte seal = FIRST;
#define SEEN_EPOCH seal
#else
#define SEEN_EPOCH claim_epoch
#endif

inline futex_wake_all_on_epoch()
{
    d_step {
#ifndef MUTANT_NO_WAKE /* a swap that wakes nobody */
        i = 0;
        do
        :: i < WRITERS -> held[i] = 0; i++
        :: else -> break
        od;
        if
        :: reader_sleeps == ON_EPOCH -> reader_sleeps = 0
        :: else
        fi
#else
        skip
#endif
    }
}

/* try_swap, behind its look at stored. A compare-exchange that fails has changed nothing and is tried
 * again: the one that succeeds, or finds another epoch, stands for all. */
inline swap(epoch_to_seal, all_arrived)
{
    if
    :: d_step { /* C1 */
        claim_epoch == epoch_to_seal && all_arrived ->
        claim_epoch = AFTER(epoch_to_seal);
        claim_next = 0;
        observe()
       };
#ifdef MUTANT_SEAL_WORD
       seal = AFTER(epoch_to_seal);
#endif
       futex_wake_all_on_epoch()
    :: claim_epoch != epoch_to_seal
    fi
}

/* The reader's half of B2 and B3. */
inline barrier_on_writers()
{
#ifdef FENCED
    skip
#else
    unfenced = (1 << WRITERS) - 1;
    do
    :: atomic { (unfenced & 1) && ALL_ARRIVED(0) -> unfenced = unfenced & ~1 }
#if WRITERS > 1
    :: atomic { (unfenced & 2) && ALL_ARRIVED(1) -> unfenced = unfenced & ~2 }
#endif
#if WRITERS > 2
    :: atomic { (unfenced & 4) && ALL_ARRIVED(2) -> unfenced = unfenced & ~4 }
#endif
    :: unfenced == 0 -> break
    od
#endif
}

/* ---- Writer ----------------------------------------------------------------------------------- */

/* The writer's half of B2 and B3: what stands behind it must not overtake it, but here it does. */
#ifdef FENCED
#define SET_BUSY(value) ALL_ARRIVED(_pid) -> busy[_pid] = value
#else
#define SET_BUSY(value) stores[_pid]!BUSY, 0, value
#endif

inline wake_drain()
{
    if
    :: draining == _pid + 1 -> /* B3 */
#ifndef MUTANT_LEAVE_BLIND /* a leaving writer does not look at draining; weakens B3 */
        d_step {
            ALL_ARRIVED(_pid) ->
            if
            :: reader_sleeps == ON_BUSY(_pid) -> reader_sleeps = 0
            :: else
            fi
        }
#endif
    :: draining != _pid + 1
    fi
}

#define COUNT_BEGUN begun = begun + (left == 1)

active [WRITERS] proctype writer()
{
    byte epoch = BEFORE(FIRST), extent, used = ROOM; /* used == ROOM: has no extent */
    byte left = BLOCKS, number, seen;

db_write_begin:
    if
    :: atomic { left == 0 -> epoch = 0; extent = 0; used = 0; goto done }
#ifdef MUTANT_NOT_BUSY /* busy is not set before a block in an extent that it has */
    :: left != 0
#else
    :: atomic { left != 0 -> SET_BUSY(IN(epoch)) } /* B2 */
#endif
    fi;
    if
#ifdef MUTANT_STALE_EPOCH /* goes on in its extent without a look at claim's epoch */
    :: atomic { used < ROOM -> COUNT_BEGUN; goto in_block }
    :: atomic { used == ROOM -> epoch = 0; extent = 0; used = 0 }
#else
    :: atomic { claim_epoch == epoch && used < ROOM -> COUNT_BEGUN; goto in_block } /* B2 */
    :: atomic { claim_epoch != epoch || used == ROOM -> epoch = 0; extent = 0; used = 0 }
#endif
    fi;

claim_extent:
#ifdef MUTANT_CLAIM_OUTSIDE /* claims outside the busy section */
    SET_BUSY(NONE);
#else
    SET_BUSY(CLAIMING); /* B2 */
#endif
#ifdef MUTANT_NO_WISH /* does not go past the end */
    if
    :: claim_next < EXTENTS
    :: atomic { claim_next >= EXTENTS -> seen = claim_epoch; goto no_room }
    fi;
#endif
    atomic {
        ALL_ARRIVED(_pid) -> /* fetch_add: B2 C1 F2 */
        seen = claim_epoch;
        x = claim_next;
        claim_next++;
        assert(claim_next <= EXTENTS + WRITERS);
        if
        :: x >= EXTENTS -> goto no_room
        :: else
        fi;
        extent = EXTENT(seen, x);
        epoch = seen;
        seen = 0;
        assert(owner[extent] == 0 && !(half_is_final && (reading & 1) == (epoch & 1)));
        owner[extent] = _pid + 1
    };
    atomic {
#ifdef MUTANT_EPOCH_FIRST /* the header's epoch before published = 0; weakens P2 */
        stores[_pid]!EPOCH, extent, epoch + EPOCHS * WHOSE(_pid, number);
        stores[_pid]!PUBLISHED, extent, 0;
#else
        stores[_pid]!PUBLISHED, extent, 0;
        stores[_pid]!EPOCH, extent, epoch + EPOCHS * WHOSE(_pid, number); /* P2 */
#endif
        SET_BUSY(IN(epoch));
        COUNT_BEGUN
    };
    wake_drain();
#ifdef MUTANT_REVOKE /* gives a new extent up again if its half is sealed by now */
    if
    :: atomic { claim_epoch != epoch -> begun = begun - (left == 1); goto claim_extent }
    :: claim_epoch == epoch
    fi;
#endif

in_block:
    if
    :: atomic { /* db_write_end */
#ifdef MUTANT_PUBLISH_FIRST /* publishes, then copies; weakens P1 */
        stores[_pid]!PUBLISHED, extent, used + 1;
        stores[_pid]!CONTENT, extent, BLOCK(_pid, number) * ROOM + used;
#else
        stores[_pid]!CONTENT, extent, BLOCK(_pid, number) * ROOM + used;
#ifdef MUTANT_LEAVE_FIRST /* leaves, then publishes; weakens B1 */
        SET_BUSY(NONE);
#endif
        stores[_pid]!PUBLISHED, extent, used + 1; /* P1 */
#endif
        used++;
        number++;
        left--;
#ifndef MUTANT_LEAVE_FIRST
        SET_BUSY(NONE) /* B1 */
#endif
       }
    :: atomic { cancels < CANCELS -> cancels++; left--; SET_BUSY(NONE) }
    fi;
    wake_drain();
    goto db_write_begin;

no_room:
    SET_BUSY(NONE); /* B1 */
    wake_drain();
    if
#ifdef MUTANT_SWAP_NOT_FREE /* swaps while the other half is not free */
    :: true -> swap(seen, ALL_ARRIVED(_pid))
#else
    :: stored == seen -> swap(seen, ALL_ARRIVED(_pid)) /* F1 F2 */
    :: stored != seen ->
hold:
        if
#ifdef MUTANT_SLEEP_NOT_ATOMIC /* looks, then sleeps */
        :: SEEN_EPOCH == seen -> held[_pid] = 1;
#else
        :: atomic { SEEN_EPOCH == seen -> held[_pid] = 1 };
#endif
            held[_pid] == 0;
            goto hold
        :: SEEN_EPOCH != seen
        fi
#endif
    fi;
    seen = 0;
    goto claim_extent;

done:
    skip
}

/* Brings the writers' stores to memory. */
active proctype memory()
{
    byte who;
end:
    do
    :: atomic {
        if
        :: nempty(stores[0]) -> who = 0
#if WRITERS > 1
        :: nempty(stores[1]) -> who = 1
#endif
#if WRITERS > 2
        :: nempty(stores[2]) -> who = 2
#endif
        fi;
        d_step { store_arrives(who); who = 0 }
       }
    od
}

/* ---- Reader ----------------------------------------------------------------------------------- */

active proctype reader()
{
    byte next, who, saw_busy, unfenced;
    bit due, saw_closed;

wait_sealed:
#ifndef MUTANT_CLOSED_AFTER_CLAIM /* an old look at claim with a new one at closed */
    saw_closed = closed; /* S1 */
#endif
    atomic {
        if
        :: SEEN_EPOCH != reading -> saw_closed = 0; due = 0; goto drain
        :: SEEN_EPOCH == reading -> next = claim_next /* B2 S1 */
        :: SEEN_EPOCH == reading && flushes < FLUSHES && !due -> next = claim_next; flushes++; due = 1
        fi;
#ifdef MUTANT_CLOSED_AFTER_CLAIM
    };
    saw_closed = closed;
    atomic {
#endif
        if
        :: next == 0 && saw_closed -> goto done
        :: next == 0 && !saw_closed && due -> due = 0; saw_closed = 0; goto wait_sealed /* -ETIMEDOUT */
        :: next != 0 && (saw_closed || due) -> next = 0; saw_closed = 0
        :: else -> next = 0; goto sleep
        fi
    };
try_swap:
    swap(reading, true);
    goto wait_sealed;

sleep:
    if
    :: atomic { SEEN_EPOCH == reading -> reader_sleeps = ON_EPOCH };
        if
        :: reader_sleeps == 0
        :: atomic { reader_sleeps != 0 && flushes < FLUSHES -> flushes++; due = 1; reader_sleeps = 0 }
        fi
    :: SEEN_EPOCH != reading
    fi;
    goto wait_sealed;

drain:
#ifndef MUTANT_NO_DRAIN /* the reader waits for nobody */
#ifndef MUTANT_NO_BARRIER_B2 /* no membarrier before the drain; weakens B2 */
    barrier_on_writers(); /* B2 */
#endif
drain_writer:
    atomic {
        if
        :: busy[who] == CLAIMING || busy[who] == IN(reading) -> /* B1 B2 B3 */
            saw_busy = busy[who]
        :: else ->
            who++;
            if
            :: who < WRITERS -> goto drain_writer
            :: else -> who = 0; goto drained
            fi
        fi;
        if
        :: draining == who + 1 -> goto wait_for_writer
        :: else -> draining = who + 1; saw_busy = 0 /* B3 */
        fi
    };
#ifndef MUTANT_NO_BARRIER_B3 /* no membarrier before sleeping on busy; weakens B3 */
    barrier_on_writers();
#endif
    goto drain_writer;

wait_for_writer:
    if
    :: atomic { busy[who] == saw_busy -> saw_busy = 0; reader_sleeps = ON_BUSY(who) };
        reader_sleeps == 0
    :: atomic { busy[who] != saw_busy -> saw_busy = 0 }
    fi;
    goto drain_writer;

drained:
#endif
    atomic { /* the half is final; forget_old, half_has_blocks, and the caller of db_read stores them */
        draining = 0;
        half_is_final = 1;
        i = 0;
        do
        :: i < EXTENTS ->
            n = EXTENT(reading, i);
            owner[n] = 0;
            if
#ifndef MUTANT_READ_STALE /* an old extent keeps its blocks */
            :: h_epoch[n] != reading -> h_published[n] = 0
#endif
            :: else
            fi;
            i++
        :: else -> break
        od;
        COPY(expected, was_read);
        look_at_halves(reading, 1, true);
        COPY(was_read, expected)
    };

db_release:
#ifdef MUTANT_FREE_LATE /* loads claim, then stores stored; weakens F2 */
    due = (claim_epoch == AFTER(reading) && claim_next > EXTENTS);
#endif
    d_step { /* F1 F2 S1 */
        half_is_final = 0;
        reading = AFTER(reading);
        stored = reading;
        COPY(was_stored, was_read);
        observe()
    };
    if
#ifdef MUTANT_FREE_BLIND /* does not look for held writers */
    :: true
#else
#ifdef MUTANT_FREE_LATE
    :: atomic { due == 1 -> due = 0; goto try_swap }
    :: due == 0
#else
    :: claim_epoch == reading && claim_next > EXTENTS -> goto try_swap /* F2 */
    :: claim_epoch != reading || claim_next <= EXTENTS
#endif
#endif
    fi;
    goto wait_sealed;

done:
    atomic {
        saw_closed = 0;
        n = cancels;
        i = 0;
        do
        :: i < WRITERS -> assert(was_stored[i] == published[i]); n = n + was_stored[i]; i++
        :: else -> break
        od;
        assert(n == WRITERS * BLOCKS)
    }
}

/* ---- Anyone ----------------------------------------------------------------------------------- */

/* "No writer will begin again": each has its room for its last block, and may be inside it. */
active proctype db_close()
{
    byte epoch;
    begun == WRITERS;
#ifdef MUTANT_CLOSE_LATE /* loads stored, then stores closed; weakens S1 */
    epoch = claim_epoch;
    if
    :: stored == epoch -> closed = 1; swap(epoch, true)
    :: stored != epoch -> closed = 1
    fi;
#else
    closed = 1; /* S1 */
#ifndef MUTANT_CLOSE_QUIET /* neither swaps nor wakes */
    epoch = claim_epoch;
    if
    :: stored == epoch -> swap(epoch, true) /* S1 */
    :: stored != epoch
    fi;
#endif
#endif
    epoch = 0
}
