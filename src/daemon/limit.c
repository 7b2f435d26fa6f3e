/* SPDX-License-Identifier: MIT
 *
 * A window begins with the first event behind the end of the one before. Pure arithmetic: nothing
 * here can fail.
 */
#include "limit.h"

bool limit_allow(struct limit *limit, uint64_t now_ns)
{
    if (limit->told == 0 || now_ns - limit->begun_ns >= LIMIT_WINDOW_NS)
        *limit = (struct limit){.begun_ns = now_ns};
    if (limit->told < LIMIT_BURST) {
        limit->told++;
        return true;
    }
    limit->left_out++;
    return false;
}

bool limit_over(struct limit *limit, uint64_t now_ns, bool end, uint64_t *ret_left_out)
{
    if (limit->left_out == 0 || (!end && now_ns - limit->begun_ns < LIMIT_WINDOW_NS))
        return false;
    *ret_left_out = limit->left_out;
    limit->left_out = 0;
    return true;
}
