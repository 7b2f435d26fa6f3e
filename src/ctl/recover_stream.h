/* SPDX-License-Identifier: MIT
 *
 * dbufctl recover, for the files of a stream.
 */
#ifndef DBUFD_CTL_RECOVER_STREAM_H
#define DBUFD_CTL_RECOVER_STREAM_H

/* Cuts a torn tail off and keeps it, and says what it did. Returns the exit status. */
int recover_stream(const char *stream);

#endif
