/* SPDX-License-Identifier: MIT
 *
 * Happy path: an event becomes one journal entry with its MESSAGE_ID, its fields and its line. Run
 * from a terminal it is the line alone. Failure modes: the journal's socket is gone: the line goes
 * to stderr, which the service manager keeps.
 *
 * A manager that keeps no descriptors says nothing: it closes what it gets. So it is given the end of
 * a pipe first, and whether that was closed is seen at the other end.
 */
#include "notify.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "limit.h"

enum { FIELDS_MAX = 64, FIELD_BYTES = 512, LINE_BYTES = 2048, BARRIER_USEC = 5000000 };

static const struct {
    int priority;
    const char *id;
    const char *name;
} events[EVENT_COUNT] = {
#define EVENT(name, priority, id) [EVENT_##name] = {priority, id, #name},
#include "events.def"
#undef EVENT
};

/* Any thread may tell something; a writer does so only when its source begins or ends. */
struct limits {
    pthread_mutex_t lock;
    struct limit of[EVENT_COUNT];
};

/* The service manager says which file it has put behind stderr; if it is still that one, it is the
 * journal. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    uint64_t device, inode;
    return stream != NULL && sscanf(stream, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void notify_open(struct notify *ret)
{
    uint64_t watchdog_usec = 0;
    if (sd_watchdog_enabled(/* unset_environment= */ 0, &watchdog_usec) <= 0)
        watchdog_usec = 0;
    struct limits *limits = calloc(1, sizeof(*limits));
    if (limits != NULL)
        (void)pthread_mutex_init(&limits->lock, NULL); /* cannot fail without attributes */
    *ret = (struct notify){
        .journal = stderr_is_journal(), .watchdog_ns = watchdog_usec * 1000, .limits = limits};
}

/* An entry while it is put together; the journal wants "NAME=value" pieces. */
struct entry {
    struct iovec pieces[FIELDS_MAX];
    char texts[FIELDS_MAX][FIELD_BYTES];
    int count;
};

static void add(struct entry *entry, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct entry *entry, const char *format, ...)
{
    assert(entry->count < FIELDS_MAX);
    char *text = entry->texts[entry->count];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, FIELD_BYTES, format, args); /* a path too long for a field is cut */
    va_end(args);
    entry->pieces[entry->count++] = (struct iovec){.iov_base = text, .iov_len = strlen(text)};
}

static bool send_to_journal(enum event event, const struct event_field *fields, size_t field_count,
                            char *line)
{
    struct entry entry = {.count = 0};
    add(&entry, "PRIORITY=%d", events[event].priority);
    add(&entry, "MESSAGE_ID=%s", events[event].id);
    add(&entry, "DBUFD_EVENT=%s", events[event].name);
    add(&entry, "SYSLOG_IDENTIFIER=dbufd");
    for (size_t i = 0; i < field_count; i++) {
        if (fields[i].text != NULL)
            add(&entry, "DBUFD_%s=%s", fields[i].name, fields[i].text);
        else
            add(&entry, "DBUFD_%s=%" PRIu64, fields[i].name, fields[i].number);
        if (strcmp(fields[i].name, "ERRNO") == 0)
            add(&entry, "ERRNO=%" PRIu64, fields[i].number);
    }
    assert(entry.count < FIELDS_MAX);
    entry.pieces[entry.count++] = (struct iovec){.iov_base = line, .iov_len = strlen(line)};
    return sd_journal_sendv(entry.pieces, entry.count) >= 0;
}

/* The journal's name for the line that a person reads. */
static const char message_is[] = "MESSAGE=";
enum { MESSAGE_BYTES = sizeof(message_is) - 1 };

static void tell(const struct notify *notify, enum event event, const struct event_field *fields,
                 size_t field_count, char line[static LINE_BYTES])
{
    memcpy(line, message_is, MESSAGE_BYTES);
    if (!notify->journal || !send_to_journal(event, fields, field_count, line))
        fprintf(stderr, "dbufd: %s\n", line + MESSAGE_BYTES);
}

/* ---- Repetition ------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void tell_left_out(const struct notify *notify, enum event event, uint64_t count)
{
    const struct event_field fields[] = {{"OF_EVENT", events[event].name, 0},
                                         {"COUNT", NULL, count}};
    char line[LINE_BYTES];
    (void)snprintf(line + MESSAGE_BYTES, sizeof(line) - MESSAGE_BYTES,
                   "%s came too often: %" PRIu64 " more of it were left out within a minute",
                   events[event].name, count);
    tell(notify, EVENT_LEFT_OUT, fields, 2, line);
}

static bool allowed(const struct notify *notify, enum event event)
{
    struct limits *limits = notify->limits;
    uint64_t left_out;
    /* A report comes as often as the user wants it, and so does the answer to a reload; and of a wrong
     * file every mistake is told. */
    if (limits == NULL || event == EVENT_REPORT || event == EVENT_CONFIG_INVALID ||
        event == EVENT_RELOADED || event == EVENT_RELOAD_REFUSED || event == EVENT_NEEDS_RESTART)
        return true;
    const uint64_t now = now_ns();
    (void)pthread_mutex_lock(&limits->lock);
    const bool over = limit_over(&limits->of[event], now, /* end= */ false, &left_out);
    const bool allow = limit_allow(&limits->of[event], now);
    (void)pthread_mutex_unlock(&limits->lock);
    if (over)
        tell_left_out(notify, event, left_out);
    return allow;
}

static void tell_all_left_out(const struct notify *notify, bool end)
{
    struct limits *limits = notify->limits;
    const uint64_t now = now_ns();
    for (int event = 0; limits != NULL && event < EVENT_COUNT; event++) {
        uint64_t left_out;
        (void)pthread_mutex_lock(&limits->lock);
        const bool over = limit_over(&limits->of[event], now, end, &left_out);
        (void)pthread_mutex_unlock(&limits->lock);
        if (over)
            tell_left_out(notify, (enum event)event, left_out);
    }
}

void notify_tick(const struct notify *notify)
{
    tell_all_left_out(notify, /* end= */ false);
}

void notify_rest(const struct notify *notify)
{
    tell_all_left_out(notify, /* end= */ true);
}

void notify_close(struct notify *notify)
{
    notify_rest(notify);
    if (notify->limits != NULL)
        (void)pthread_mutex_destroy(&notify->limits->lock);
    free(notify->limits);
    notify->limits = NULL;
}

void notify_event(const struct notify *notify, enum event event, const struct event_field *fields,
                  size_t field_count, const char *format, ...)
{
    char line[LINE_BYTES];
    if ((events[event].priority == LOG_DEBUG && !notify->debug) || !allowed(notify, event))
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line + MESSAGE_BYTES, sizeof(line) - MESSAGE_BYTES, format, args);
    va_end(args);
    tell(notify, event, fields, field_count, line);
}

void notify_ready(void)
{
    (void)sd_notify(0, "READY=1");
}

/* The time tells the manager that it is its own request that is answered, and not one before it. */
void notify_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_ns() / 1000);
}

void notify_status(const char *text)
{
    (void)sd_notifyf(0, "STATUS=%s", text);
}

void notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void notify_failed(int error, const char *text)
{
    (void)sd_notifyf(0, "STATUS=%s", text);
    if (error != 0)
        (void)sd_notifyf(0, "ERRNO=%d", error);
}

void notify_extend(uint64_t usec)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, usec);
}

/* ---- Descriptors ---- */

int notify_take_fds(struct notify_fd **ret, size_t *ret_count)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(/* unset_environment= */ 1, &names);
    if (count < 0)
        return count;
    struct notify_fd *fds = calloc((size_t)count + 1, sizeof(*fds));
    for (int i = 0; i < count; i++) {
        if (fds != NULL)
            fds[i] = (struct notify_fd){.fd = SD_LISTEN_FDS_START + i, .name = names[i]};
        else
            free(names[i]);
    }
    free(names);
    if (fds == NULL)
        return -ENOMEM;
    *ret = fds;
    *ret_count = (size_t)count;
    return 0;
}

void notify_fds_free(struct notify_fd *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(fds[i].name);
    free(fds);
}

/* Waits until the manager has seen everything so far. */
static int barrier(void)
{
    int rc = sd_notify_barrier(/* unset_environment= */ 0, BARRIER_USEC);
    return rc == 0 ? -EOPNOTSUPP : rc < 0 ? rc : 0;
}

/* Whether the manager keeps what it is given: our end of a pipe hangs up if it does not. */
static int probe(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int rc = sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=dbufd-probe", &ends[1], 1);
    (void)close(ends[1]);
    rc = rc == 0 ? -EOPNOTSUPP : rc < 0 ? rc : barrier();
    struct pollfd ours = {.fd = ends[0], .events = 0};
    if (rc == 0 && poll(&ours, 1, 0) < 0)
        rc = -errno;
    if (rc == 0 && ours.revents != 0)
        rc = -ENOSPC;
    notify_forget_fd("dbufd-probe");
    (void)close(ends[0]);
    return rc;
}

int notify_keep_fd(int fd, const char *name)
{
    char message[NAME_MAX];
    int rc = probe();
    if (rc < 0)
        return rc;
    (void)snprintf(message, sizeof(message), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    rc = sd_pid_notify_with_fds(0, 0, message, &fd, 1);
    return rc == 0 ? -EOPNOTSUPP : rc < 0 ? rc : barrier();
}

void notify_forget_fd(const char *name)
{
    (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

void notify_watchdog(const struct notify *notify)
{
    if (notify->watchdog_ns != 0)
        (void)sd_notify(0, "WATCHDOG=1");
}
