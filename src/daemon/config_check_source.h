/* SPDX-License-Identifier: MIT
 *
 * The part of config_check that is about the source. Private to config_check*.c.
 */
#ifndef DBUFD_DAEMON_CONFIG_CHECK_SOURCE_H
#define DBUFD_DAEMON_CONFIG_CHECK_SOURCE_H

#include "config_fault.h"

/* Writes every fault of the source among the good values. As config_check. */
void config_check_source(struct check *check);

#endif
