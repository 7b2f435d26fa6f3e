/* SPDX-License-Identifier: MIT
 *
 * Happy path: the main loop sees that metrics_fd is readable, metrics_run has libmicrohttpd accept, read,
 * ask for the text, and send it as far as the kernel takes it; the rest goes in later turns.
 * Failure modes: no memory for an answer: the connection is closed. No descriptor left: libmicrohttpd accepts
 * again when a connection has ended. A client that does not come on: its time ends; that libmicrohttpd
 * counts anew with each byte is not enough against one that sends a byte now and then.
 */
#include "metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "metrics_text.h"

struct connection {
    int fd; /* -1: none */
    uint64_t begun_ns;
};

struct metrics {
    struct MHD_Daemon *server;
    struct listener listener;
    metrics_give *give;
    void *context;
    uint64_t now_ns; /* of the last metrics_run */
    struct connection connections[METRICS_CONNECTIONS];
};

/* ---- Answers ---- */

struct answer {
    unsigned status;
    const char *type;
    const char *text; /* NULL: the metrics */
};

static const struct answer answers[] = {
    {MHD_HTTP_OK, METRICS_CONTENT_TYPE, NULL},
    {MHD_HTTP_OK, "text/plain", "dbufd " DBUFD_VERSION ": its metrics are at /metrics\n"},
    {MHD_HTTP_NOT_FOUND, "text/plain", "not found: the metrics are at /metrics\n"},
    {MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n"},
};
enum { ANSWER_METRICS, ANSWER_ROOT, ANSWER_NOT_FOUND, ANSWER_METHOD };

static const struct answer *answer_to(const char *method, const char *path)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return &answers[ANSWER_METHOD];
    if (strcmp(path, "/metrics") == 0)
        return &answers[ANSWER_METRICS];
    return &answers[strcmp(path, "/") == 0 ? ANSWER_ROOT : ANSWER_NOT_FOUND];
}

static struct MHD_Response *make_response(const struct metrics *m, const struct answer *answer)
{
    size_t bytes;
    struct MHD_Response *response;
    if (answer->text != NULL) {
        union {
            const char *constant;
            void *data; /* is only read */
        } text = {.constant = answer->text};
        return MHD_create_response_from_buffer(strlen(answer->text), text.data,
                                               MHD_RESPMEM_PERSISTENT);
    }
    char *text = m->give(m->context, &bytes);
    if (text == NULL)
        return NULL;
    response = MHD_create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        free(text);
    return response;
}

/* The head of a request is there. It is answered at once: a body that would follow is not read, and the
 * connection closed. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *body, size_t *body_bytes, void **ret_state)
{
    (void)version;
    (void)body;
    (void)body_bytes;
    (void)ret_state;
    const struct answer *answer = answer_to(method, path);
    struct MHD_Response *response = make_response(context, answer);
    if (response == NULL)
        return MHD_NO;
    bool made = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type) &&
                MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        made = made && MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    const enum MHD_Result rc =
        made ? MHD_queue_response(connection, answer->status, response) : MHD_NO;
    MHD_destroy_response(response);
    return rc;
}

/* ---- Connections ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **ret_mine,
                          enum MHD_ConnectionNotificationCode code)
{
    struct metrics *m = context;
    struct connection *mine = *ret_mine;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (mine != NULL)
            mine->fd = -1;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (size_t i = 0; i < METRICS_CONNECTIONS && mine == NULL; i++)
        if (m->connections[i].fd < 0)
            mine = &m->connections[i];
    if (mine == NULL || info == NULL)
        return; /* libmicrohttpd has no more of them than there are */
    *mine = (struct connection){.fd = info->connect_fd, .begun_ns = m->now_ns};
    *ret_mine = mine;
}

/* libmicrohttpd sees the end of it then. */
static void end_old(const struct metrics *m)
{
    for (size_t i = 0; i < METRICS_CONNECTIONS; i++) {
        const struct connection *c = &m->connections[i];
        if (c->fd >= 0 && m->now_ns - c->begun_ns >= METRICS_SECONDS * 1000000000ULL)
            (void)shutdown(c->fd, SHUT_RDWR);
    }
}

/* ---- What the main loop calls ---- */

static struct MHD_Daemon *start_server(struct metrics *m)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL, /* port= */ 0, /* who may come: all */ NULL, NULL, on_request, m,
        MHD_OPTION_LISTEN_SOCKET, m->listener.fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)METRICS_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)METRICS_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)METRICS_MEMORY_BYTES,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)1024, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, m, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

int metrics_open(struct metrics **ret, const struct address *address,
                 const struct metrics *instead_of, metrics_give *give, void *context)
{
    struct metrics *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return -ENOMEM;
    m->give = give;
    m->context = context;
    for (size_t i = 0; i < METRICS_CONNECTIONS; i++)
        m->connections[i].fd = -1;
    int rc =
        address_listen(address, instead_of != NULL ? &instead_of->listener : NULL, &m->listener);
    if (rc == 0 && (m->server = start_server(m)) == NULL) {
        rc = -ENOMEM; /* or no descriptor: it does not say */
        address_unlisten(&m->listener);
    }
    if (rc < 0) {
        free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

void metrics_close(struct metrics *m)
{
    if (m == NULL)
        return;
    /* Its server would close the listening socket too, and then it could be somebody else's number. */
    (void)MHD_quiesce_daemon(m->server);
    MHD_stop_daemon(m->server);
    address_unlisten(&m->listener);
    free(m);
}

int metrics_fd(const struct metrics *m)
{
    if (m == NULL)
        return -1;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(m->server, MHD_DAEMON_INFO_EPOLL_FD);
    return info != NULL ? info->epoll_fd : -1;
}

int metrics_due_ms(const struct metrics *m)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (m == NULL || MHD_get_timeout(m->server, &ms) != MHD_YES)
        return -1;
    return ms < METRICS_SECONDS * 1000 ? (int)ms : METRICS_SECONDS * 1000;
}

void metrics_run(struct metrics *m)
{
    struct timespec now;
    if (m == NULL)
        return;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    m->now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    end_old(m);
    (void)MHD_run(m->server);
}
