/* SPDX-License-Identifier: MIT
 *
 * The store's file calls with several writes in flight, by io_uring. All else is as in output_pwrite.
 */
#ifndef DBUFD_DISK_URING_H
#define DBUFD_DISK_URING_H

#include "output.h"

/* -errno: the kernel does not give us a ring (EPERM, ENOSYS: forbidden), or one that does not work. */
int uring_open(struct output *ret);

/* No write may be in flight. NULL, and one that was never opened, is fine. */
void uring_close(struct output *output);

#endif
