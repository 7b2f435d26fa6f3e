/* SPDX-License-Identifier: MIT */
#include "stall.h"

static const uint64_t second_ns = 1000000000;
static const uint64_t busy_ns = 500000000; /* of processor time: nobody who waits needs so much */

struct stall_verdict stall_judge(struct stall *stall, const struct stall_seen *seen)
{
    struct stall_verdict verdict = {0};
    const uint64_t waited_ns = stall->since_ns != 0 ? seen->now_ns - stall->since_ns : 0;

    verdict.sec = waited_ns / second_ns;
    if (stall->since_ns == 0 || seen->progress != stall->progress || seen->idle) {
        verdict.alive = true;
        verdict.over = stall->told_ns != 0;
        *stall = (struct stall){
            .progress = seen->progress, .since_ns = seen->now_ns, .cpu_ns = seen->cpu_ns};
        return verdict;
    }
    const bool in_kernel = seen->storing && seen->cpu_ns - stall->cpu_ns < busy_ns;
    verdict.alive = in_kernel && waited_ns < STALL_MAX_NS;
    verdict.tell = in_kernel && waited_ns >= STALL_TOLD_NS &&
                   (stall->told_ns == 0 || seen->now_ns - stall->told_ns >= STALL_REPEAT_NS);
    if (verdict.tell)
        stall->told_ns = seen->now_ns;
    return verdict;
}
