/* SPDX-License-Identifier: MIT
 *
 * What the store has to tell, in words. Called by the thread that has the store.
 */
#ifndef DBUFD_DAEMON_DISK_EVENTS_H
#define DBUFD_DAEMON_DISK_EVENTS_H

#include "../disk/store.h"

/* For store_options.on_event; the context is the const struct notify. */
void disk_event(void *context, const struct store_event *event);

/* What a user can do about an errno of the disk. */
const char *disk_remedy(int error);

#endif
