/* SPDX-License-Identifier: MIT
 *
 * An ordered array: ranges are nearly always added, and seldom taken out again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ranges.h"

static int make_room(struct ranges *ranges)
{
    if (ranges->count < ranges->room) {
        return 0;
    }
    size_t room = ranges->room > 0 ? ranges->room * 2 : 8;
    struct range *items = realloc(ranges->items, room * sizeof(*items));
    if (items == NULL) {
        return -ENOMEM;
    }
    ranges->items = items;
    ranges->room = room;
    return 0;
}

int ranges_add(struct ranges *ranges, struct range range)
{
    if (ranges->count > 0 && ranges->items[ranges->count - 1].end == range.first) {
        ranges->items[ranges->count - 1].end = range.end;
        return 0;
    }
    int rc = make_room(ranges);
    if (rc == 0) {
        ranges->items[ranges->count++] = range;
    }
    return rc;
}

int ranges_take(struct ranges *ranges, uint64_t first, uint64_t end)
{
    size_t low = 0, high = ranges->count; /* the range wanted is the last with ->first <= first */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges->items[middle].first <= first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 || ranges->items[low - 1].end < end || first >= end) {
        return 0;
    }
    struct range *range = &ranges->items[low - 1];
    size_t behind = ranges->count - low;
    if (range->first == first && range->end == end) {
        memmove(range, range + 1, behind * sizeof(*range));
        ranges->count--;
    } else if (range->first == first) {
        range->first = end;
    } else if (range->end == end) {
        range->end = first;
    } else {
        int rc = make_room(ranges);
        if (rc < 0) {
            return rc;
        }
        range = &ranges->items[low - 1];
        memmove(range + 2, range + 1, behind * sizeof(*range));
        range[1] = range[0];
        range[0].end = first;
        range[1].first = end;
        ranges->count++;
    }
    return 1;
}

void ranges_free(struct ranges *ranges)
{
    free(ranges->items);
    *ranges = (struct ranges){0};
}
