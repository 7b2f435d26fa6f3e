/* SPDX-License-Identifier: MIT
 *
 * The pipe source, on FIFOs, standard input, files, devices and terminals: what goes in comes out,
 * cut as it should be, and nobody ever waits but source_wait. A hang is ended by alarm().
 *
 * TEST_SEED=n in the environment runs the random tests with that seed.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/disk/format.h"
#include "../../src/source/source.h"
#include "random_seed.h"

enum { ROOM_BYTES = 1 << 21 };

/* One test's things, made anew for each. */
struct fixture {
    char folder[64];
    char fifo[96]; /* a path in it; nothing is there */
    int saved_stdin;
    unsigned char *room;
};

static size_t random_between(size_t least, size_t most)
{
    return least + next_random() % (most - least + 1);
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    snprintf(f->folder, sizeof(f->folder), "/tmp/dbufd-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->fifo, sizeof(f->fifo), "%s/fifo", f->folder);
    f->saved_stdin = dup(STDIN_FILENO);
    assert_true(f->saved_stdin >= 0);
    f->room = test_malloc(ROOM_BYTES);
    *state = f;
    alarm(60);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    alarm(0);
    assert_int_equal(dup2(f->saved_stdin, STDIN_FILENO), STDIN_FILENO);
    close(f->saved_stdin);
    unlink(f->fifo);
    assert_int_equal(rmdir(f->folder), 0);
    test_free(f->room);
    test_free(f);
    return 0;
}

static struct source_options options(const char *path, enum source_framing framing,
                                     size_t max_block)
{
    return (struct source_options){.kind = SOURCE_PIPE,
                                   .framing = framing,
                                   .path = path,
                                   .max_block = max_block,
                                   .stop_fd = -1};
}

static struct source *open_source(const char *path, enum source_framing framing, size_t max_block)
{
    struct source *source = NULL;
    struct source_options o = options(path, framing, max_block);
    assert_int_equal(source_open(&source, &o), 0);
    return source;
}

static int open_sender(const char *path)
{
    int fd = open(path, O_WRONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

static void send_bytes(int fd, const void *data, size_t bytes)
{
    assert_int_equal(write(fd, data, bytes), bytes);
}

static void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

static void expect_block(struct fixture *f, struct source *source, const char *text, uint32_t flags)
{
    struct block_info info;
    memset(f->room, '#', strlen(text) + 1);
    assert_int_equal(source_produce(source, f->room, ROOM_BYTES, &info), 1);
    assert_int_equal(info.bytes, strlen(text));
    assert_memory_equal(f->room, text, info.bytes);
    assert_int_equal(f->room[info.bytes], '#');
    assert_int_equal(info.flags, flags);
}

/* source_produce gives no block but `rc`, and touches neither the room nor the info. */
static void expect_none(struct fixture *f, struct source *source, int rc)
{
    struct block_info info = {.bytes = 4711, .flags = 4712};
    f->room[0] = '#';
    assert_int_equal(source_produce(source, f->room, ROOM_BYTES, &info), rc);
    assert_int_equal(info.bytes, 4711);
    assert_int_equal(info.flags, 4712);
    assert_int_equal(f->room[0], '#');
}

/* ---- Opening --------------------------------------------------------------------------------- */

static void kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(source_kind_name(SOURCE_RANDOM), "random");
    assert_string_equal(source_kind_name(SOURCE_PIPE), "pipe");
    assert_string_equal(source_kind_name(SOURCE_UNIX), "unix");
    assert_string_equal(source_kind_name(SOURCE_UDP), "udp");
    assert_null(source_kind_name(SOURCE_UDP + 1));
    source_close(NULL);
}

static void missing_fifo_is_made_for_owner_and_group(void **state)
{
    struct fixture *f = *state;
    mode_t mask = umask(027);
    struct source *source = open_source(f->fifo, FRAMING_NONE, 10);
    umask(mask);
    struct stat status;
    assert_int_equal(stat(f->fifo, &status), 0);
    assert_true(S_ISFIFO(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0660);
    source_close(source);
    assert_int_equal(access(f->fifo, F_OK), 0); /* it stays, and so does its mode */

    assert_int_equal(chmod(f->fifo, 0600), 0);
    source_close(open_source(f->fifo, FRAMING_NONE, 10));
    assert_int_equal(stat(f->fifo, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

static void every_percent_w_is_the_writer(void **state)
{
    struct fixture *f = *state;
    char path[160], expected[160];
    snprintf(path, sizeof(path), "%s/%%w-%%d%%w%%", f->folder);
    snprintf(expected, sizeof(expected), "%s/1023-%%d1023%%", f->folder);
    struct source_options o = options(path, FRAMING_NONE, 10);
    o.writer = 1023;
    struct source *source = NULL;
    assert_int_equal(source_open(&source, &o), 0);
    assert_int_equal(unlink(expected), 0);
    source_close(source);
}

static int open_error(const char *path, enum source_framing framing)
{
    struct source *untouched = (struct source *)8, *source = untouched;
    struct source_options o = options(path, framing, 10);
    int rc = source_open(&source, &o);
    assert_ptr_equal(source, untouched);
    return rc;
}

static void open_says_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    char path[160];
    assert_int_equal(open_error(f->folder, FRAMING_NONE), -EISDIR);
    assert_int_equal(open_error(f->folder, FRAMING_LINES), -EISDIR);
    snprintf(path, sizeof(path), "%s/no/fifo", f->folder);
    assert_int_equal(open_error(path, FRAMING_NONE), -ENOENT);
    assert_int_equal(open_error("/dev/null/fifo", FRAMING_LINES), -ENOTDIR);
    assert_int_equal(open_error("", FRAMING_LINES), -ENOENT);
    close(STDIN_FILENO);
    assert_int_equal(open_error("-", FRAMING_LINES), -EBADF);
}

/* Where standard input was closed, the FIFO gets its number: it is still no standard input. */
static void fifo_with_the_number_of_stdin_is_closed(void **state)
{
    struct fixture *f = *state;
    close(STDIN_FILENO);
    struct source *source = open_source(f->fifo, FRAMING_NONE, 10);
    assert_int_not_equal(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0);
    source_close(source);
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFL), -1);
}

/* ---- Waiting and ending ---------------------------------------------------------------------- */

static void fifo_waits_for_senders_and_ends_with_the_last(void **state)
{
    struct fixture *f = *state;
    for (int framing = FRAMING_NONE; framing <= FRAMING_LINES; framing++) {
        struct source *source = open_source(f->fifo, (enum source_framing)framing, 100);
        expect_none(f, source, -EAGAIN);
        assert_int_equal(source_wait(source, 0), 0);
        assert_int_equal(source_wait(source, 20), 0);
        expect_none(f, source, -EAGAIN);

        int first = open_sender(f->fifo);
        assert_int_equal(source_wait(source, 0), 0); /* a sender that is silent */
        expect_none(f, source, -EAGAIN);
        send_text(first, "one\n");
        uint32_t flags = framing == FRAMING_LINES ? BLOCK_LINE : 0;
        const char *one = framing == FRAMING_LINES ? "one" : "one\n";
        assert_int_equal(source_wait(source, -1), 1);
        expect_block(f, source, one, flags);
        expect_none(f, source, -EAGAIN);

        int second = open_sender(f->fifo);
        close(first); /* goes, but is not the last */
        assert_int_equal(source_wait(source, 0), 0);
        expect_none(f, source, -EAGAIN);
        send_text(second, "one\n");
        close(second);
        assert_int_equal(source_wait(source, -1), 1);
        expect_block(f, source, one, flags);
        assert_int_equal(source_wait(source, -1), 1);
        expect_none(f, source, 0);
        assert_int_equal(source_wait(source, -1), 1);
        expect_none(f, source, 0);

        int third = open_sender(f->fifo); /* too late: the end stays the end */
        send_text(third, "three\n");
        assert_int_equal(source_wait(source, -1), 1);
        expect_none(f, source, 0);
        close(third);
        source_close(source);
    }
}

static void sender_that_says_nothing_is_an_end_too(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_source(f->fifo, FRAMING_LINES, 100);
    close(open_sender(f->fifo));
    assert_int_equal(source_wait(source, -1), 1);
    expect_none(f, source, 0);
    source_close(source);
}

static void *write_to_eventfd(void *arg)
{
    usleep(20000); /* mostly lets the other thread go to sleep first; either way must work */
    eventfd_write(*(int *)arg, 1);
    return NULL;
}

static void stop_fd_ends_the_wait(void **state)
{
    struct fixture *f = *state;
    for (int framing = FRAMING_NONE; framing <= FRAMING_LINES; framing++) {
        struct source_options o = options(f->fifo, (enum source_framing)framing, 100);
        o.stop_fd = eventfd(0, EFD_CLOEXEC);
        struct source *source = NULL;
        assert_int_equal(source_open(&source, &o), 0);
        int sender = open_sender(f->fifo);
        assert_int_equal(source_wait(source, 0), 0);

        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_to_eventfd, &o.stop_fd), 0);
        assert_int_equal(source_wait(source, -1), 0); /* and not for ever */
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(source_wait(source, -1), 0); /* it stays readable */
        expect_none(f, source, -EAGAIN);
        source_close(source);
        close(sender);
        close(o.stop_fd);
    }
}

static void begun_line_waits_for_its_end(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_source(f->fifo, FRAMING_LINES, 5);
    int sender = open_sender(f->fifo);
    send_text(sender, "ab");
    assert_int_equal(source_wait(source, 0), 0);
    expect_none(f, source, -EAGAIN);
    send_text(sender, "cde");
    assert_int_equal(source_wait(source, 20), 0); /* as long as a block, but the newline may come */
    expect_none(f, source, -EAGAIN);
    send_text(sender, "\n12345");
    assert_int_equal(source_wait(source, 0), 1);
    expect_block(f, source, "abcde", BLOCK_LINE);
    expect_none(f, source, -EAGAIN);
    send_text(sender, "6");
    assert_int_equal(source_wait(source, 0), 1);
    expect_block(f, source, "12345", BLOCK_CUT);
    expect_none(f, source, -EAGAIN);
    close(sender);
    assert_int_equal(source_wait(source, 0), 1);
    expect_block(f, source, "6", 0);
    expect_none(f, source, 0);
    source_close(source);
}

/* A room smaller than a block: what the wait waits for is what fits there. */
static void small_room_cuts_lines(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_source(f->fifo, FRAMING_LINES, 100);
    int sender = open_sender(f->fifo);
    struct block_info info;
    assert_int_equal(source_produce(source, f->room, 3, &info), -EAGAIN);
    send_text(sender, "abcdefg");
    assert_int_equal(source_wait(source, 0), 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(source_produce(source, f->room, 3, &info), 1);
        assert_memory_equal(f->room, i == 0 ? "abc" : "def", 3);
        assert_int_equal(info.bytes, 3);
        assert_int_equal(info.flags, BLOCK_CUT);
    }
    assert_int_equal(source_produce(source, f->room, 3, &info), -EAGAIN);
    send_text(sender, "\n");
    assert_int_equal(source_wait(source, 0), 1);
    expect_block(f, source, "g", BLOCK_LINE);
    close(sender);
    source_close(source);
}

static void stop_gives_what_is_staged(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_source(f->fifo, FRAMING_LINES, 100);
    int sender = open_sender(f->fifo);
    send_text(sender, "one\n\ntwo\nthr");
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "one", BLOCK_LINE);
    send_text(sender, "ee\nfour\n"); /* never taken */
    source_stop(source);
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "", BLOCK_LINE);
    expect_block(f, source, "two", BLOCK_LINE);
    expect_block(f, source, "thr", 0);
    expect_none(f, source, 0);

    char rest[16];
    int reader = open(f->fifo, O_RDONLY | O_NONBLOCK);
    assert_int_equal(read(reader, rest, sizeof(rest)), 8);
    assert_memory_equal(rest, "ee\nfour\n", 8);
    close(reader);
    close(sender);
    source_close(source);
}

static void stop_without_framing_ends_at_once(void **state)
{
    struct fixture *f = *state;
    struct source *source = open_source(f->fifo, FRAMING_NONE, 3);
    int sender = open_sender(f->fifo);
    send_text(sender, "onetwo");
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "one", 0);
    source_stop(source);
    assert_int_equal(source_wait(source, -1), 1);
    expect_none(f, source, 0);
    char rest[16];
    int reader = open(f->fifo, O_RDONLY | O_NONBLOCK);
    assert_int_equal(read(reader, rest, sizeof(rest)), 3);
    close(reader);
    close(sender);
    source_close(source);
}

/* ---- Standard input, devices, errors --------------------------------------------------------- */

/* A blocking description that others share: it is not changed, not closed, and nobody hangs. */
static void stdin_is_left_as_it_is(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    for (int framing = FRAMING_NONE; framing <= FRAMING_LINES; framing++) {
        struct source *source = open_source("-", (enum source_framing)framing, 2);
        assert_int_equal(source_wait(source, 0), 0);
        expect_none(f, source, -EAGAIN);
        send_text(ends[1], "ab\n");
        assert_int_equal(source_wait(source, -1), 1);
        expect_block(f, source, "ab", framing == FRAMING_LINES ? BLOCK_LINE : 0);
        if (framing == FRAMING_NONE) {
            expect_none(f, source, -EAGAIN); /* without a poll nobody knows */
            assert_int_equal(source_wait(source, -1), 1);
            expect_block(f, source, "\n", 0);
        }
        expect_none(f, source, -EAGAIN); /* nothing there: a read would hang */
        assert_int_equal(source_wait(source, 10), 0);
        expect_none(f, source, -EAGAIN);
        assert_int_equal(fcntl(STDIN_FILENO, F_GETFL), flags);
        source_close(source);
        assert_int_equal(fcntl(STDIN_FILENO, F_GETFL), flags);
    }
    close(ends[0]);
    close(ends[1]);
}

static void devices_can_be_read(void **state)
{
    struct fixture *f = *state;
    struct block_info info;
    struct source *source = open_source("/dev/zero", FRAMING_NONE, 1000);
    for (int i = 0; i < 10; i++) {
        memset(f->room, '#', 1001);
        assert_int_equal(source_wait(source, -1), 1);
        assert_int_equal(source_produce(source, f->room, ROOM_BYTES, &info), 1);
        assert_int_equal(info.bytes, 1000);
        assert_int_equal(f->room[0] | f->room[999], 0);
        assert_int_equal(f->room[1000], '#');
    }
    source_close(source);
    source = open_source("/dev/null", FRAMING_LINES, 1000);
    assert_int_equal(source_wait(source, -1), 1);
    expect_none(f, source, 0);
    source_close(source);
}

/* Address 0 of a process cannot be read: EIO. */
static void read_error_breaks_the_source(void **state)
{
    struct fixture *f = *state;
    for (int framing = FRAMING_NONE; framing <= FRAMING_LINES; framing++) {
        struct source *source = open_source("/proc/self/mem", (enum source_framing)framing, 100);
        for (int i = 0; i < 2; i++) { /* and it stays broken */
            assert_int_equal(source_wait(source, -1), 1);
            expect_none(f, source, -EIO);
        }
        source_close(source);
    }
}

/* A terminal that goes away says EIO; what it had said before is not lost. */
static void staged_lines_come_out_before_the_error(void **state)
{
    struct fixture *f = *state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    assert_int_equal(grantpt(terminal), 0);
    assert_int_equal(unlockpt(terminal), 0);
    int sender = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(sender >= 0);
    struct termios raw;
    assert_int_equal(tcgetattr(sender, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(sender, TCSANOW, &raw), 0);
    assert_int_equal(dup2(terminal, STDIN_FILENO), STDIN_FILENO);

    struct source *source = open_source("-", FRAMING_LINES, 100);
    send_text(sender, "one\ntw");
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "one", BLOCK_LINE);
    close(sender);
    assert_int_equal(source_wait(source, -1), 1);
    expect_block(f, source, "tw", 0);
    expect_none(f, source, -EIO);
    expect_none(f, source, -EIO);
    source_close(source);
    close(terminal);
}

/* ---- What goes in comes out ------------------------------------------------------------------ */

struct stream {
    unsigned char *data;
    size_t bytes;
    size_t out; /* of them, came out in blocks */
};

/* Takes a block for the next bytes of the stream. Of lines, what it must be follows from them and
 * from `limit`, the most that it could hold. */
static void check_block(struct stream *s, const unsigned char *block, struct block_info info,
                        enum source_framing framing, size_t limit)
{
    assert_true(info.bytes <= limit);
    assert_true(info.bytes <= s->bytes - s->out);
    assert_memory_equal(block, s->data + s->out, info.bytes);
    if (framing == FRAMING_NONE) {
        assert_int_equal(info.flags, 0);
        assert_true(info.bytes > 0);
        s->out += info.bytes;
        return;
    }
    assert_null(memchr(block, '\n', info.bytes));
    s->out += info.bytes;
    if (info.flags == BLOCK_LINE) {
        assert_true(s->out < s->bytes && s->data[s->out] == '\n');
        s->out++;
    } else if (info.flags == BLOCK_CUT) {
        assert_int_equal(info.bytes, limit);
        assert_true(s->out < s->bytes && s->data[s->out] != '\n'); /* else it was no longer line */
    } else {
        assert_int_equal(info.flags, 0);
        assert_true(info.bytes > 0);
        assert_int_equal(s->out, s->bytes); /* the end of the stream, without a newline */
    }
}

enum taste { ANY_BYTE, TEXT, MANY_NEWLINES, ONLY_NEWLINES, NO_NEWLINES, NULS, TASTES };

static void fill_stream(struct stream *s, enum taste taste)
{
    for (size_t i = 0; i < s->bytes; i++) {
        uint64_t x = next_random();
        unsigned char newline_or_not = x % 3 == 0 ? '\n' : (unsigned char)(x >> 8);
        switch (taste) {
        case TEXT:
            s->data[i] = x % 60 == 0 ? '\n' : (unsigned char)('a' + x % 26);
            break;
        case MANY_NEWLINES:
            s->data[i] = newline_or_not;
            break;
        case ONLY_NEWLINES:
            s->data[i] = '\n';
            break;
        case NO_NEWLINES:
            s->data[i] = x % 256 == '\n' ? 0 : (unsigned char)x;
            break;
        case NULS:
            s->data[i] = x % 40 == 0 ? '\n' : 0;
            break;
        default:
            s->data[i] = (unsigned char)x;
        }
    }
}

/* Sends the stream in pieces and takes blocks in between, until the source ends. `sender` < 0: all
 * is there already. `room_most` 0: the rooms are always large enough. */
static void run_stream(struct fixture *f, struct source *source, enum source_framing framing,
                       size_t max_block, struct stream *s, int sender, size_t piece_most,
                       size_t room_most)
{
    size_t sent = 0;
    for (;;) {
        if (sender >= 0 && sent == s->bytes) {
            close(sender);
            sender = -1;
        }
        if (sender >= 0) {
            size_t piece = random_between(1, piece_most);
            piece = piece < s->bytes - sent ? piece : s->bytes - sent;
            ssize_t rc = write(sender, s->data + sent, piece);
            assert_true(rc > 0 || (rc < 0 && errno == EAGAIN)); /* full: let it be read */
            sent += rc > 0 ? (size_t)rc : 0;
        }
        int waited = source_wait(source, sender < 0 ? -1 : 0);
        assert_true(waited == 1 || (waited == 0 && sender >= 0));
        struct block_info info;
        int rc;
        do {
            size_t room = room_most ? random_between(1, room_most) : max_block;
            rc = source_produce(source, f->room, room, &info);
            if (rc == 1)
                check_block(s, f->room, info, framing, room < max_block ? room : max_block);
        } while (rc == 1 && random_between(0, 9) > 0); /* now and then the sender is faster */
        assert_true(rc >= 0 || rc == -EAGAIN);
        if (rc == 0)
            break;
    }
    assert_int_equal(s->out, s->bytes);
}

static struct stream make_stream(size_t bytes, enum taste taste)
{
    struct stream s = {.data = test_malloc(bytes + 1), .bytes = bytes};
    fill_stream(&s, taste);
    return s;
}

static size_t random_max_block(void)
{
    switch (next_random() % 3) {
    case 0:
        return random_between(1, 10);
    case 1:
        return random_between(1, 3000);
    default:
        return random_between(1, FORMAT_BLOCK_MAX);
    }
}

static void any_stream_through_a_fifo(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 150; i++) {
        enum source_framing framing = i % 4 == 0 ? FRAMING_NONE : FRAMING_LINES;
        size_t bytes = random_between(0, i % 10 == 0 ? 1000000 : 20000);
        struct stream s = make_stream(bytes, (enum taste)(i % TASTES));
        size_t max_block = random_max_block();
        struct source *source = open_source(f->fifo, framing, max_block);
        run_stream(f, source, framing, max_block, &s, open_sender(f->fifo),
                   random_between(1, 100000), i % 3 == 0 ? random_between(1, 2 * max_block) : 0);
        source_close(source);
        test_free(s.data);
    }
}

static void any_stream_through_stdin(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 60; i++) {
        enum source_framing framing = i % 2 == 0 ? FRAMING_NONE : FRAMING_LINES;
        struct stream s = make_stream(random_between(0, 300000), (enum taste)(i % TASTES));
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
        close(ends[0]);
        assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0); /* the sender's end alone */
        size_t max_block = random_max_block();
        struct source *source = open_source("-", framing, max_block);
        run_stream(f, source, framing, max_block, &s, ends[1], random_between(1, 100000), 0);
        source_close(source);
        test_free(s.data);
    }
}

static void any_file(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++) {
        enum source_framing framing = i % 2 == 0 ? FRAMING_NONE : FRAMING_LINES;
        struct stream s = make_stream(random_between(0, 500000), (enum taste)(i % TASTES));
        int fd = open(f->fifo, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        send_bytes(fd, s.data, s.bytes);
        close(fd);
        size_t max_block = random_max_block();
        struct source *source = open_source(f->fifo, framing, max_block);
        run_stream(f, source, framing, max_block, &s, -1, 0, 0);
        source_close(source);
        test_free(s.data);
    }
}

/* ---- Signals --------------------------------------------------------------------------------- */

static void ignore_signal(int number)
{
    (void)number;
}

struct disturber {
    pthread_t victim;
    int sender;
    atomic_bool stop;
};

/* Signals all the time; a byte after every hundred. */
static void *disturb(void *arg)
{
    struct disturber *d = arg;
    for (int i = 1; !atomic_load(&d->stop); i++) {
        pthread_kill(d->victim, SIGUSR1);
        usleep(50);
        if (i % 100 == 0)
            send_text(d->sender, "x");
    }
    return NULL;
}

static void signals_neither_end_nor_prolong_the_wait(void **state)
{
    struct fixture *f = *state;
    struct sigaction action = {.sa_handler = ignore_signal}, before; /* no SA_RESTART */
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    struct source *source = open_source(f->fifo, FRAMING_NONE, 1);
    struct disturber d = {.victim = pthread_self(), .sender = open_sender(f->fifo)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, disturb, &d), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(source_wait(source, -1), 1);
        expect_block(f, source, "x", 0);
    }
    while (source_wait(source, 2) == 1) /* time is up at last, though the signals go on */
        expect_block(f, source, "x", 0);
    atomic_store(&d.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(d.sender);
    source_close(source);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    random_begin();
    const struct CMUnitTest tests[] = {
        TEST(kinds_have_names),
        TEST(missing_fifo_is_made_for_owner_and_group),
        TEST(every_percent_w_is_the_writer),
        TEST(open_says_what_is_wrong),
        TEST(fifo_with_the_number_of_stdin_is_closed),
        TEST(fifo_waits_for_senders_and_ends_with_the_last),
        TEST(sender_that_says_nothing_is_an_end_too),
        TEST(stop_fd_ends_the_wait),
        TEST(begun_line_waits_for_its_end),
        TEST(small_room_cuts_lines),
        TEST(stop_gives_what_is_staged),
        TEST(stop_without_framing_ends_at_once),
        TEST(stdin_is_left_as_it_is),
        TEST(devices_can_be_read),
        TEST(read_error_breaks_the_source),
        TEST(staged_lines_come_out_before_the_error),
        TEST(any_stream_through_a_fifo),
        TEST(any_stream_through_stdin),
        TEST(any_file),
        TEST(signals_neither_end_nor_prolong_the_wait),
    };
    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
