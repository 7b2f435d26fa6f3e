/* SPDX-License-Identifier: MIT
 *
 * The load's other side of buffer.h and buffer_node.h: credits, waiting, memory, failure.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../src/buffer/region.h"
#include "buffer_node.h"

enum { PAGE_BYTES = 4096 };

void die(const char *what, int error)
{
    fprintf(stderr, "bench buffer: %s%s%s\n", what, error != 0 ? ": " : "",
            error != 0 ? strerror(error) : "");
    _exit(1);
}

void tally_fail(const struct tally *tally, unsigned writer, uint64_t seq)
{
    fprintf(stderr, "bench buffer: writer %u of %u: block %llu came after %llu blocks\n", writer,
            tally->load->writers, (unsigned long long)seq,
            writer < WRITERS_MOST ? (unsigned long long)tally->next[writer] : 0);
    _exit(1);
}

bool tally_idle(struct tally *tally)
{
    if (__atomic_load_n(&tally->load->blocks, __ATOMIC_ACQUIRE) == tally->blocks)
        return false;
    sched_yield();
    return true;
}

void touch(void *memory, size_t bytes)
{
    volatile unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i += PAGE_BYTES)
        at[i] = at[i];
}

unsigned char *resident_memory(size_t bytes)
{
    struct region region;
    int rc = region_open(&region, bytes);
    if (rc < 0)
        die("memory", -rc);
    touch(region.map, region.bytes);
    return region.map;
}

void nodes_open(struct load *load, enum nodes nodes, size_t link_bytes)
{
    const size_t share = load->capacity_bytes / load->writers / LINE * LINE;
    unsigned char *arenas = nodes == NODES_ARENA ? resident_memory(share * load->writers) : NULL;
    for (unsigned i = 0; i < load->writers; i++) {
        struct lane *lane = &load->lanes[i];
        lane->arena = arenas != NULL ? arenas + i * share : NULL;
        lane->share = share;
        lane->link_bytes = link_bytes;
    }
}

unsigned nodes_most(const struct load *load, size_t link_bytes)
{
    const size_t mean = (load->min_bytes + load->max_bytes) / 2;
    unsigned most = 1;
    while (most < load->capacity_bytes / node_bytes(link_bytes, mean))
        most *= 2;
    return most;
}

void lane_wait(struct lane *lane, size_t need)
{
    for (;;) {
        lane->given = __atomic_load_n(&lane->credit, __ATOMIC_ACQUIRE);
        if (lane->taken + need - lane->given <= lane->share)
            return;
        /* Says that it sleeps, then looks once more; lane_give does it the other way round. */
        __atomic_store_n(&lane->waiting, 1, __ATOMIC_SEQ_CST);
        lane->given = __atomic_load_n(&lane->credit, __ATOMIC_SEQ_CST);
        if (lane->taken + need - lane->given > lane->share)
            syscall(SYS_futex, &lane->waiting, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        __atomic_store_n(&lane->waiting, 0, __ATOMIC_RELAXED);
    }
}

void lane_give(struct lane *lane, uint64_t given)
{
    __atomic_store_n(&lane->credit, given, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&lane->waiting, 0, __ATOMIC_SEQ_CST) != 0)
        syscall(SYS_futex, &lane->waiting, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
