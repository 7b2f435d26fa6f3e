/* SPDX-License-Identifier: MIT
 *
 * The unix and udp sources: what senders put in comes out, each sender's in its order; what they do wrong
 * is counted; a stop takes what was written. A hang is ended by alarm().
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/disk/format.h"
#include "../../src/source/source.h"

enum { MAX_BLOCK = 1000 };

struct fixture {
    char folder[64];
    char path[96]; /* in it; nothing is there */
    unsigned char room[MAX_BLOCK];
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    snprintf(f->folder, sizeof(f->folder), "/tmp/dbufd-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/socket", f->folder);
    *state = f;
    alarm(300);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    alarm(0);
    unlink(f->path);
    assert_int_equal(rmdir(f->folder), 0);
    test_free(f);
    return 0;
}

static struct source_options unix_options(const char *path, enum source_framing framing)
{
    return (struct source_options){.kind = SOURCE_UNIX,
                                   .framing = framing,
                                   .path = path,
                                   .max_block = MAX_BLOCK,
                                   .stop_fd = -1,
                                   .handed_fd = -1};
}

static struct source *open_unix(const char *path, enum source_framing framing)
{
    const struct source_options o = unix_options(path, framing);
    struct source *source = NULL;
    assert_int_equal(source_open(&source, &o), 0);
    return source;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void send_bytes(int fd, const void *data, size_t bytes)
{
    assert_int_equal(send(fd, data, bytes, MSG_NOSIGNAL), bytes);
}

static void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

/* Waits as a writer does. 1: a block; 0: the end; -EAGAIN: nothing comes, as far as anybody knows. */
static int next_block(struct fixture *f, struct source *source, struct block_info *ret)
{
    int rc;
    while ((rc = source_produce(source, f->room, MAX_BLOCK, ret)) == -EAGAIN)
        if (source_wait(source, 0) == 0)
            return -EAGAIN;
    return rc;
}

static void expect_block(struct fixture *f, struct source *source, const char *text, uint32_t flags)
{
    struct block_info info;
    assert_int_equal(next_block(f, source, &info), 1);
    assert_int_equal(info.bytes, strlen(text));
    assert_memory_equal(f->room, text, info.bytes);
    assert_int_equal(info.flags, flags);
}

static void expect_none(struct fixture *f, struct source *source, int rc)
{
    struct block_info info;
    assert_int_equal(next_block(f, source, &info), rc);
}

/* ---- unix: the socket ------------------------------------------------------------------------ */

static void it_makes_the_socket_and_leaves_it(void **state)
{
    struct fixture *f = *state;
    mode_t mask = umask(027);
    struct source *source = open_unix(f->path, FRAMING_LINES);
    umask(mask);
    struct stat status;
    assert_int_equal(lstat(f->path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0660);
    source_close(source);
    assert_int_equal(access(f->path, F_OK), 0);
    source_close(open_unix(f->path, FRAMING_LINES)); /* nobody listens there any more */
}

static int open_error(const struct source_options *options)
{
    struct source *untouched = (struct source *)8, *source = untouched;
    int rc = source_open(&source, options);
    assert_ptr_equal(source, untouched);
    return rc;
}

static void it_takes_nothing_from_others(void **state)
{
    struct fixture *f = *state;
    struct source_options o = unix_options(f->path, FRAMING_NONE);
    struct source *source = open_unix(f->path, FRAMING_NONE);
    assert_int_equal(open_error(&o), -EADDRINUSE);
    int sender = connect_to(f->path); /* it is still there */
    close(sender);
    source_close(source);
    unlink(f->path);

    close(open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(open_error(&o), -ENOTSOCK);
    assert_int_equal(access(f->path, F_OK), 0);
    unlink(f->path);
    o.path = "/dev/null/socket";
    assert_int_equal(open_error(&o), -ENOTDIR);
}

static void a_socket_is_handed_over(void **state)
{
    struct fixture *f = *state;
    struct source_options o = unix_options(f->path, FRAMING_LINES);
    struct source *first = open_unix(f->path, FRAMING_LINES), *second = NULL;
    int sender = connect_to(f->path); /* waits in the backlog */
    send_text(sender, "one\n");
    o.handed_fd = source_descriptor(first);
    assert_int_equal(source_open(&second, &o), 0);
    source_close(first);
    expect_block(f, second, "one", BLOCK_LINE);
    close(sender);

    /* Of another path it is not taken. */
    char other[128];
    snprintf(other, sizeof(other), "%s.other", f->path);
    o.path = other;
    o.handed_fd = source_descriptor(second);
    struct source *third = NULL;
    assert_int_equal(source_open(&third, &o), 0);
    close(connect_to(other));
    source_close(third);
    source_close(second);
    unlink(other);
}

/* ---- unix: what comes in --------------------------------------------------------------------- */

static void frames_of_two_senders_never_mix(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_unix(f->path, FRAMING_OCTET_COUNTED);
    int a = connect_to(f->path), b = connect_to(f->path);
    send_text(a, "6 aa");
    send_text(b, "6 bb");
    expect_none(f, source, -EAGAIN);
    expect_none(f, source, -EAGAIN);
    send_text(b, "bbbb3 BBB");
    expect_block(f, source, "bbbbbb", 0);
    send_text(a, "aaaa");
    struct block_info info;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(next_block(f, source, &info), 1);
        assert_true((info.bytes == 6 && memcmp(f->room, "aaaaaa", 6) == 0) ||
                    (info.bytes == 3 && memcmp(f->room, "BBB", 3) == 0));
    }
    expect_none(f, source, -EAGAIN);
    close(a);
    close(b);
    expect_none(f, source, -EAGAIN);
    assert_int_equal(source_account(source)->frames_unfinished, 0);
    source_close(source);
}

/* All pieces of a frame longer than a block come in turn, whoever else sends. */
static void a_frame_in_pieces_holds_the_turn(void **state)
{
    struct fixture *f = *state;
    static char a[MAX_BLOCK];
    memset(a, 'a', sizeof(a));
    struct source *source = open_unix(f->path, FRAMING_OCTET_COUNTED);
    int long_one = connect_to(f->path), other = connect_to(f->path);
    send_text(long_one, "2500 ");
    send_bytes(long_one, a, MAX_BLOCK);
    struct block_info info;
    assert_int_equal(next_block(f, source, &info), 1);
    assert_int_equal(info.flags, BLOCK_CUT);
    send_text(other, "3 bbb");
    expect_none(f, source, -EAGAIN);
    assert_int_equal(source_wait(source, 0), 0); /* and nobody spins on the other */
    send_bytes(long_one, a, MAX_BLOCK);
    assert_int_equal(next_block(f, source, &info), 1);
    assert_int_equal(info.flags, BLOCK_CUT);
    assert_int_equal(f->room[0], 'a');
    expect_none(f, source, -EAGAIN);
    send_bytes(long_one, a, 500);
    assert_int_equal(next_block(f, source, &info), 1);
    assert_int_equal(info.flags, 0);
    assert_int_equal(info.bytes, 500);
    assert_int_equal(f->room[0], 'a');
    expect_block(f, source, "bbb", 0);

    /* It goes in the middle: the others are not held any longer. */
    send_text(long_one, "2500 ");
    send_bytes(long_one, a, MAX_BLOCK);
    assert_int_equal(next_block(f, source, &info), 1);
    send_text(other, "3 ccc");
    expect_none(f, source, -EAGAIN);
    close(long_one);
    expect_block(f, source, "ccc", 0);
    assert_int_equal(source_account(source)->frames_unfinished, 1);
    close(other);
    source_close(source);
}

static void wrong_and_half_senders_are_counted(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_unix(f->path, FRAMING_U32);
    int wrong = connect_to(f->path);
    send_bytes(wrong, "\2\0\0\0ok\xff\xff\xff\xff", 10);
    expect_block(f, source, "ok", 0);
    expect_none(f, source, -EAGAIN);
    assert_int_equal(source_account(source)->senders_broken, 1);
    char byte;
    assert_int_equal(read(wrong, &byte, 1), 0); /* closed */
    close(wrong);

    int half = connect_to(f->path);
    send_bytes(half, "\5\0\0\0ha", 6);
    close(half);
    expect_block(f, source, "ha", BLOCK_CUT);
    expect_none(f, source, -EAGAIN);
    assert_int_equal(source_account(source)->frames_unfinished, 1);
    assert_int_equal(source_account(source)->senders_broken, 1);
    source_close(source);
}

/* What was written before the stop comes out, though it was never read; who writes later is told. */
static void a_stop_takes_what_was_written(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_unix(f->path, FRAMING_OCTET_COUNTED);
    int a = connect_to(f->path), b = connect_to(f->path);
    send_text(a, "1 a");
    expect_block(f, source, "a", 0);
    send_text(b, "1 b");
    expect_block(f, source, "b", 0);
    expect_none(f, source, -EAGAIN);
    static char data[100000];
    memset(data, 'x', sizeof(data));
    send_text(a, "100000 ");
    send_bytes(a, data, sizeof(data));
    source_stop(source);
    assert_int_equal(send(b, "1 b", 3, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(source_wait(source, -1), 1);
    struct block_info info;
    size_t bytes = 0;
    while (next_block(f, source, &info) == 1)
        bytes += info.bytes;
    assert_int_equal(bytes, sizeof(data));
    assert_int_equal(info.flags, 0);
    expect_none(f, source, 0);
    close(a);
    close(b);
    source_close(source);
}

static void more_connections_than_it_takes_wait(void **state)
{
    struct fixture *f = *state;
    enum { SENDERS = SOURCE_CONNECTIONS_MAX + 20 };
    static int senders[SENDERS];
    struct source *source = open_unix(f->path, FRAMING_LINES);
    struct block_info info;
    unsigned blocks = 0;
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = connect_to(f->path);
        send_text(senders[i], "x\n");
    }
    while (next_block(f, source, &info) == 1)
        blocks++;
    assert_int_equal(blocks, SOURCE_CONNECTIONS_MAX);
    for (int i = 0; i < 20; i++)
        close(senders[i]);
    while (next_block(f, source, &info) == 1)
        blocks++;
    assert_int_equal(blocks, SENDERS);
    for (int i = 20; i < SENDERS; i++)
        close(senders[i]);
    source_close(source);
}

/* Without descriptors nobody is taken, nobody spins, and it goes on when there are some. */
static void no_descriptor_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_unix(f->path, FRAMING_LINES);
    int sender = connect_to(f->path);
    send_text(sender, "x\n");
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(source_wait(source, 0), 0);
    assert_int_equal(source_wait(source, 10), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "x", BLOCK_LINE);
    close(sender);
    source_close(source);
}

/* However many senders there are, files can still be opened. */
static void senders_leave_descriptors(void **state)
{
    struct fixture *f = *state;
    enum { SENDERS = 100, LEFT = 10 };
    struct source *source = open_unix(f->path, FRAMING_LINES);
    int senders[SENDERS], files[LEFT];
    struct rlimit before, few;
    struct block_info info;
    unsigned blocks = 0;
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = connect_to(f->path);
        send_text(senders[i], "x\n");
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 16 * LEFT;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (next_block(f, source, &info) == 1)
        blocks++;
    for (int i = 0; i < LEFT; i++)
        assert_true((files[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    assert_true(blocks > 0 && blocks < SENDERS);
    for (int i = 0; i < LEFT; i++)
        close(files[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (blocks < SENDERS) {
        assert_int_equal(source_wait(source, -1), 1);
        while (source_produce(source, f->room, MAX_BLOCK, &info) == 1)
            blocks++;
    }
    for (int i = 0; i < SENDERS; i++)
        close(senders[i]);
    source_close(source);
}

/* ---- unix: several writers ------------------------------------------------------------------- */

struct worker {
    struct source *source;
    atomic_uint *blocks;
};

static void *work(void *argument)
{
    struct worker *w = argument;
    unsigned char room[MAX_BLOCK];
    struct block_info info;
    int rc;
    while ((rc = source_produce(w->source, room, MAX_BLOCK, &info)) != 0) {
        if (rc == 1)
            atomic_fetch_add(w->blocks, 1);
        else if (source_wait(w->source, -1) == 0)
            source_stop(w->source);
    }
    return NULL;
}

/* One sender after the other, each waits until it is heard: none is forgotten by all. */
static void every_connection_is_taken_by_one(void **state)
{
    struct fixture *f = *state;
    enum { WORKERS = 3, SENDERS = 3000 };
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    atomic_uint blocks = 0;
    const int stop_fd = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < WORKERS; i++) {
        struct source_options o = unix_options(f->path, FRAMING_LINES);
        o.stop_fd = stop_fd;
        o.handed_fd = i > 0 ? source_descriptor(workers[0].source) : -1;
        workers[i].blocks = &blocks;
        assert_int_equal(source_open(&workers[i].source, &o), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 1; i <= SENDERS; i++) {
        int sender = connect_to(f->path);
        send_text(sender, "x\n");
        while (atomic_load(&blocks) < i)
            sched_yield();
        close(sender);
    }
    eventfd_write(stop_fd, 1);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        source_close(workers[i].source);
    }
    assert_int_equal(blocks, SENDERS);
    close(stop_fd);
}

/* The kernel tells of a sender once. It may do so together with a stop that is taken back, as the one of
 * a reload is for a source that goes on. */
static void what_comes_with_a_stop_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    for (int stop_first = 0; stop_first < 2; stop_first++) {
        struct source_options o = unix_options(f->path, FRAMING_LINES);
        struct source *source = NULL;
        eventfd_t count;
        o.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_int_equal(source_open(&source, &o), 0);
        int sender = connect_to(f->path), late = -1;
        send_text(sender, "one\n");
        expect_block(f, source, "one", BLOCK_LINE);
        expect_none(f, source, -EAGAIN);
        if (stop_first)
            eventfd_write(o.stop_fd, 1);
        send_text(sender, "two\n");
        late = connect_to(f->path);
        send_text(late, "late\n");
        if (!stop_first)
            eventfd_write(o.stop_fd, 1);
        assert_int_equal(source_wait(source, -1), 0);
        assert_int_equal(eventfd_read(o.stop_fd, &count), 0);
        expect_block(f, source, "two", BLOCK_LINE);
        expect_block(f, source, "late", BLOCK_LINE);
        close(sender);
        close(late);
        source_close(source);
        close(o.stop_fd);
        unlink(f->path);
    }
}

struct goner {
    int epoll;
    atomic_int id; /* 0: not yet */
};

static void *be_woken(void *argument)
{
    struct goner *g = argument;
    struct epoll_event event;
    atomic_store(&g->id, gettid());
    assert_int_equal(epoll_wait(g->epoll, &event, 1, -1), 1);
    return NULL;
}

static bool sleeps(int id)
{
    char path[64], state = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %*s %c", &state), 1);
    fclose(file);
    return state == 'S';
}

/* A writer is woken for a connection, and ends, as the others in its reload are paused: the next one that
 * goes on takes it. */
static void what_an_ended_writer_was_woken_for_is_taken(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_unix(f->path, FRAMING_LINES);
    struct goner goner = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    pthread_t thread;
    assert_int_equal(epoll_ctl(goner.epoll, EPOLL_CTL_ADD, source_descriptor(source), &event), 0);
    expect_none(f, source, -EAGAIN);
    assert_int_equal(pthread_create(&thread, NULL, be_woken, &goner), 0);
    while (atomic_load(&goner.id) == 0 || !sleeps(atomic_load(&goner.id)))
        sched_yield();
    int sender = connect_to(f->path);
    send_text(sender, "x\n");
    pthread_join(thread, NULL);
    close(goner.epoll);
    source_begin_at(source, 0);
    expect_block(f, source, "x", BLOCK_LINE);
    close(sender);
    source_close(source);
}

/* ---- udp ------------------------------------------------------------------------------------- */

static struct source *open_udp(char address[static 32], int *ret_sender)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(any);
    struct source *source = NULL;
    int rc;
    /* A port that is free is only known by taking it; who else takes it meanwhile is seen. */
    do {
        int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        any.sin_port = 0;
        assert_int_equal(bind(probe, (struct sockaddr *)&any, sizeof(any)), 0);
        assert_int_equal(getsockname(probe, (struct sockaddr *)&any, &bytes), 0);
        close(probe);
        snprintf(address, 32, "127.0.0.1:%u", ntohs(any.sin_port));
        const struct source_options o = {.kind = SOURCE_UDP,
                                         .address = address,
                                         .max_block = MAX_BLOCK,
                                         .stop_fd = -1,
                                         .handed_fd = -1};
        rc = source_open(&source, &o);
    } while (rc == -EADDRINUSE);
    assert_int_equal(rc, 0);
    *ret_sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(*ret_sender, (struct sockaddr *)&any, sizeof(any)), 0);
    return source;
}

static void each_datagram_is_a_block(void **state)
{
    struct fixture *f = *state;
    char address[32];
    int sender;
    struct source *source = open_udp(address, &sender);
    expect_none(f, source, -EAGAIN);
    send_text(sender, "one");
    send_text(sender, "");
    send_text(sender, "three");
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "one", 0);
    expect_block(f, source, "", 0);
    expect_block(f, source, "three", 0);
    static char data[MAX_BLOCK + 1];
    struct block_info info;
    send_bytes(sender, data, MAX_BLOCK);
    send_bytes(sender, data, MAX_BLOCK + 1);
    assert_int_equal(next_block(f, source, &info), 1);
    assert_int_equal(info.flags, 0);
    assert_int_equal(next_block(f, source, &info), 1);
    assert_int_equal(info.bytes, MAX_BLOCK);
    assert_int_equal(info.flags, BLOCK_CUT);
    assert_int_equal(source_account(source)->kernel_drops, 0);
    close(sender);
    source_close(source);
}

static void what_the_kernel_drops_is_counted(void **state)
{
    struct fixture *f = *state;
    enum { SENT = 5000 };
    char address[32], data[500] = {0};
    const int tiny = 4096;
    int sender;
    struct block_info info;
    struct source *source = open_udp(address, &sender);
    assert_int_equal(
        setsockopt(source_descriptor(source), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof(tiny)), 0);
    expect_none(f, source, -EAGAIN);
    unsigned taken = 0;
    for (int round = 0; round < 2;
         round++) { /* the second tells the drops of the first by its datagrams */
        for (int i = 0; i < SENT; i++)
            send_bytes(sender, data, sizeof(data));
        while (next_block(f, source, &info) == 1)
            taken++;
        assert_true(taken > 0);
        assert_int_equal(taken + source_account(source)->kernel_drops, SENT * (round + 1));
    }
    /* One that goes on with the socket does not count them again. */
    struct source *next = NULL;
    const struct source_options o = {.kind = SOURCE_UDP,
                                     .address = address,
                                     .max_block = MAX_BLOCK,
                                     .stop_fd = -1,
                                     .handed_fd = source_descriptor(source)};
    assert_int_equal(source_open(&next, &o), 0);
    source_close(source);
    send_text(sender, "next");
    expect_block(f, next, "next", 0);
    assert_int_equal(source_account(next)->kernel_drops, 0);
    close(sender);
    source_close(next);
}

/* What waits in the buffer comes out; senders that go on do not prolong it for ever. */
static void a_stop_takes_what_waits(void **state)
{
    struct fixture *f = *state;
    char address[32];
    const int small = 100000;
    int sender;
    struct block_info info;
    struct source *source = open_udp(address, &sender);
    assert_int_equal(
        setsockopt(source_descriptor(source), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    expect_none(f, source, -EAGAIN);
    send_text(sender, "one");
    send_text(sender, "two");
    source_stop(source);
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "one", 0);
    expect_block(f, source, "two", 0);
    int rc;
    do
        send_text(sender, "more");
    while ((rc = next_block(f, source, &info)) == 1);
    assert_int_equal(rc, 0);
    expect_none(f, source, 0);
    close(sender);
    source_close(source);
}

/* One of two at the same address leaves: it gives what it has, and all that comes later is the other one's. */
static void who_leaves_gets_no_more(void **state)
{
    struct fixture *f = *state;
    enum { SENDERS = 64 };
    char address[32];
    int first_sender, senders[SENDERS], blocks = 0;
    struct sockaddr_in to;
    socklen_t bytes = sizeof(to);
    struct block_info info;
    struct source *stays = open_udp(address, &first_sender), *leaves = NULL;
    const struct source_options o = {.kind = SOURCE_UDP,
                                     .address = address,
                                     .max_block = MAX_BLOCK,
                                     .writer = 1,
                                     .stop_fd = -1,
                                     .handed_fd = -1};
    assert_int_equal(source_open(&leaves, &o), 0);
    assert_int_equal(getpeername(first_sender, (struct sockaddr *)&to, &bytes), 0);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(senders[i], (struct sockaddr *)&to, bytes), 0);
        send_text(senders[i], "before");
    }
    source_leave(leaves);
    for (int i = 0; i < SENDERS; i++) {
        send_text(senders[i], "later");
        close(senders[i]);
    }
    source_stop(leaves);
    for (; next_block(f, leaves, &info) == 1; blocks++)
        assert_memory_equal(f->room, "before", info.bytes);
    assert_true(blocks > 0);
    while (next_block(f, stays, &info) == 1)
        blocks++;
    assert_int_equal(blocks, 2 * SENDERS);
    close(first_sender);
    source_close(leaves);
    source_close(stays);
}

static void addresses_of_no_machine_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        int error;
    } refused[] = {{"224.0.0.1:5514", -EADDRNOTAVAIL},
                   {"[ff02::1]:5514", -EADDRNOTAVAIL},
                   {"localhost:5514", -EINVAL},
                   {"unix:/tmp/a", -EINVAL}};
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        const struct source_options o = {.kind = SOURCE_UDP,
                                         .address = refused[i].address,
                                         .max_block = MAX_BLOCK,
                                         .stop_fd = -1,
                                         .handed_fd = -1};
        assert_int_equal(open_error(&o), refused[i].error);
    }
}

static void an_address_in_use_is_refused(void **state)
{
    (void)state;
    char address[32];
    int sender;
    struct source *source = open_udp(address, &sender), *second = NULL;
    struct source_options o = {.kind = SOURCE_UDP,
                               .address = address,
                               .max_block = MAX_BLOCK,
                               .stop_fd = -1,
                               .handed_fd = -1};
    assert_int_equal(open_error(&o), -EADDRINUSE);
    o.writer = 1; /* of the same dbufd */
    assert_int_equal(source_open(&second, &o), 0);
    close(sender);
    source_close(second);
    source_close(source);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_makes_the_socket_and_leaves_it),
        TEST(it_takes_nothing_from_others),
        TEST(a_socket_is_handed_over),
        TEST(frames_of_two_senders_never_mix),
        TEST(a_frame_in_pieces_holds_the_turn),
        TEST(wrong_and_half_senders_are_counted),
        TEST(a_stop_takes_what_was_written),
        TEST(more_connections_than_it_takes_wait),
        TEST(no_descriptor_is_waited_for),
        TEST(senders_leave_descriptors),
        TEST(what_comes_with_a_stop_is_not_forgotten),
        TEST(every_connection_is_taken_by_one),
        TEST(what_an_ended_writer_was_woken_for_is_taken),
        TEST(each_datagram_is_a_block),
        TEST(what_the_kernel_drops_is_counted),
        TEST(a_stop_takes_what_waits),
        TEST(who_leaves_gets_no_more),
        TEST(addresses_of_no_machine_are_refused),
        TEST(an_address_in_use_is_refused),
    };
    return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
