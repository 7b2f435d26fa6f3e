/* SPDX-License-Identifier: MIT
 *
 * What the outside is told: events to the journal, or to stderr in the same words where there is no
 * journal; and the service's state to systemd. notify.c alone sees libsystemd.
 *
 * notify_event may be called by any thread and may wait for the journal's socket; a writer calls it
 * only when its source begins or ends. Descriptors may be given away and forgotten by any one thread at a
 * time. The rest is the main thread's. Nothing here fails: there is
 * nobody left to tell.
 */
#ifndef DBUFD_DAEMON_NOTIFY_H
#define DBUFD_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event {
#define EVENT(name, priority, id) EVENT_##name,
#include "events.def"
#undef EVENT
    EVENT_COUNT
};

struct notify {
    bool journal;          /* stderr is the journal, so its own protocol can be used */
    _Atomic bool debug;    /* events of priority debug are told too */
    uint64_t watchdog_ns;  /* systemd wants a sign of life this often; 0: it does not */
    struct limits *limits; /* how often each event was told; NULL: no limit */
};

/* Finds out where we run. */
void notify_open(struct notify *ret);
/* Tells what is left to be told; the last thing before the process ends. */
void notify_rest(const struct notify *notify);
/* The same, and frees what it has: no thread may tell anything any more. */
void notify_close(struct notify *notify);

/* One journal field of an event: DBUFD_<name>, a text or, with text NULL, a number. ERRNO becomes
 * the journal's own field of that name too. */
struct event_field {
    const char *name;
    const char *text;
    uint64_t number;
};

/* An event that comes too often is left out (see limit.h), but for reports, reloads and wrong settings. */
void notify_event(const struct notify *notify, enum event event, const struct event_field *fields,
                  size_t field_count, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* To be called each second: tells how many events were left out, when their time has come. */
void notify_tick(const struct notify *notify);

/* Writers run; or go on, after notify_reloading. */
void notify_ready(void);
/* Another configuration is being gone over to. */
void notify_reloading(void);
/* The one line that `systemctl status` shows. */
void notify_status(const char *text);
void notify_stopping(void);
/* Why it ends, for `systemctl status`: `error` is an errno, or 0. */
void notify_failed(int error, const char *text);
/* Gives a slow stop or start `usec` more microseconds. */
void notify_extend(uint64_t usec);
/* ---- Descriptors that the service manager keeps while dbufd is started again ---- */

struct notify_fd {
    int fd;
    char *name;
};
/* Takes those that it hands over, once; the descriptors are the caller's, the rest is to be given to
 * notify_fds_free. -errno. */
int notify_take_fds(struct notify_fd **ret, size_t *ret_count);
void notify_fds_free(struct notify_fd *fds, size_t count);

/* Makes it keep a copy, under a name of its own, and waits until it does. -EOPNOTSUPP: there is no
 * service manager; -ENOSPC: it keeps none, or no more; -ETIMEDOUT: it does not answer. */
int notify_keep_fd(int fd, const char *name);
/* Makes it let go of all with this name. */
void notify_forget_fd(const char *name);

/* A sign of life. */
void notify_watchdog(const struct notify *notify);

#endif
