/* SPDX-License-Identifier: MIT
 *
 * The store's next segment: asking for it ahead of time. See prepare.h.
 *
 * Happy path: when half of the open segment is full, or an old one is to go, the next is asked for;
 * store_begin takes it.
 * Failure modes: it could not be made: told by the next housekeeping, which asks again. store_begin makes
 * one by itself if it must.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store_state.h"

/* Takes note of what became of what was asked for. */
static int note_answer(struct store *store)
{
    struct prepare_answer answer;

    if (!prepare_answer(store->prepare, &answer))
        return 0;
    if (answer.old_gone) {
        account_add(&store->account.segments_deleted, 1);
        store_report(store, (struct store_event){.kind = STORE_SEGMENT_DELETED,
                                                 .path = answer.old_path,
                                                 .number = answer.old_number,
                                                 .bytes = answer.old_bytes,
                                                 .reason = store->old_reason});
    }
    if (answer.old_path && !answer.old_gone)
        store->retention_due = true; /* it is tried again */
    free(answer.old_path);
    return answer.rc;
}

static void ask(struct store *store, struct prepare_order order)
{
    order.manner = store->manner;
    order.bytes = store->segment_bytes_max;
    order.min_free = store->options.min_free_bytes;
    memcpy(order.uuid, store->uuid, sizeof(order.uuid));
    prepare_ask(store->prepare, &order);
}

int store_replace_old(struct store *store, const struct stream_file *old, enum store_reason reason)
{
    struct prepare_order order = {
        .old_path = strdup(old->path), .old_number = old->number, .old_bytes = old->bytes};

    if (!order.old_path)
        return -ENOMEM;
    store->old_reason = reason;
    ask(store, order);
    return note_answer(store);
}

int store_prepare_next(struct store *store)
{
    if (!store->prepare)
        return 0;
    int rc = note_answer(store);
    if (rc < 0 || !store->begun || store->away || !prepare_is_idle(store->prepare) ||
        store->segment.offset < store->segment_bytes_max / 2)
        return rc;
    ask(store, (struct prepare_order){0});
    return note_answer(store);
}
