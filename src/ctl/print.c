/* SPDX-License-Identifier: MIT
 *
 * Happy path: bytes are gathered and written out a quarter of a MiB at a time. What is larger than
 * the buffer goes straight to the descriptor. Failure modes: the first error ends all writing.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "print.h"

struct print *print_begin(int fd)
{
    struct print *print = malloc(sizeof(*print));
    if (print != NULL) {
        print->fd = fd;
        print->error = 0;
        print->count = 0;
    }
    return print;
}

static void write_out(struct print *print, const char *bytes, size_t count)
{
    while (count > 0 && print->error == 0) {
        ssize_t done = write(print->fd, bytes, count);
        if (done >= 0) {
            bytes += done;
            count -= (size_t)done;
        } else if (errno == EAGAIN) {
            /* Somebody made our standard output non-blocking. A failure of poll shows again in
             * the next write. */
            struct pollfd room = {.fd = print->fd, .events = POLLOUT};
            (void)poll(&room, 1, -1);
        } else if (errno != EINTR) {
            print->error = errno;
        }
    }
}

void print_flush(struct print *print)
{
    write_out(print, print->bytes, print->count);
    print->count = 0;
}

int print_end(struct print *print)
{
    if (print == NULL) {
        return 0;
    }
    print_flush(print);
    int rc = -print->error;
    free(print);
    return rc;
}

void print_bytes(struct print *print, const void *bytes, size_t count)
{
    if (count > sizeof(print->bytes) - print->count) {
        print_flush(print);
    }
    if (count > sizeof(print->bytes)) {
        write_out(print, bytes, count);
        return;
    }
    memcpy(print->bytes + print->count, bytes, count);
    print->count += count;
}

void print_text(struct print *print, const char *text)
{
    print_bytes(print, text, strlen(text));
}

void print_format(struct print *print, const char *format, ...)
{
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length < 0) {
        print->error = print->error == 0 ? errno : print->error;
    } else if ((size_t)length < sizeof(text)) {
        print_bytes(print, text, (size_t)length);
    } else {
        char *longer = malloc((size_t)length + 1);
        if (longer == NULL) {
            print->error = print->error == 0 ? ENOMEM : print->error;
            return;
        }
        va_start(arguments, format);
        (void)vsnprintf(longer, (size_t)length + 1, format, arguments); /* it went well just now */
        va_end(arguments);
        print_bytes(print, longer, (size_t)length);
        free(longer);
    }
}

/* Bytes of the UTF-8 character at `bytes`; 0 if there is none. */
static size_t utf8_bytes(const unsigned char *bytes, size_t count)
{
    static const struct {
        unsigned char first_least, first_most, second_least, second_most, length;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (count > 0 && bytes[0] < 0x80) {
        return 1;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        size_t length = forms[i].length;
        if (count < length || bytes[0] < forms[i].first_least || bytes[0] > forms[i].first_most ||
            bytes[1] < forms[i].second_least || bytes[1] > forms[i].second_most) {
            continue;
        }
        for (size_t k = 2; k < length; k++) {
            if ((bytes[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return length;
    }
    return 0;
}

bool is_printable(const unsigned char *bytes, size_t count)
{
    size_t length;
    for (size_t at = 0; at < count; at += length) {
        unsigned char c = bytes[at];
        length = utf8_bytes(bytes + at, count - at);
        bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
        if (length == 0 || control) {
            return false;
        }
    }
    return true;
}

void print_json_string(struct print *print, const char *text, size_t count)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t plain = 0; /* bytes before `at` that need no change and are not yet printed */
    print_bytes(print, "\"", 1);
    for (size_t at = 0; at < count;) {
        size_t length = utf8_bytes(bytes + at, count - at);
        unsigned char c = bytes[at];
        if (length > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            at += length;
            continue;
        }
        print_bytes(print, bytes + plain, at - plain);
        if (length == 0) {
            print_text(print, "\\ufffd");
        } else if (c == '"' || c == '\\') {
            print_format(print, "\\%c", c);
        } else {
            print_format(print, "\\u%04x", (unsigned)c);
        }
        plain = ++at;
    }
    print_bytes(print, bytes + plain, count - plain);
    print_bytes(print, "\"", 1);
}

void print_base64(struct print *print, const unsigned char *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < count; at += 3) {
        size_t left = count - at;
        unsigned word = (unsigned)bytes[at] << 16;
        word |= left > 1 ? (unsigned)bytes[at + 1] << 8 : 0;
        word |= left > 2 ? bytes[at + 2] : 0;
        char four[4] = {digits[word >> 18], digits[word >> 12 & 63],
                        left > 1 ? digits[word >> 6 & 63] : '=',
                        left > 2 ? digits[word & 63] : '='};
        print_bytes(print, four, sizeof(four));
    }
}

void print_json_number(struct print *print, bool *first, const char *name, uint64_t value)
{
    print_format(print, "%s\"%s\":%" PRIu64, *first ? "" : ",", name, value);
    *first = false;
}

char *format_time(uint64_t time_ns, char room[static 40])
{
    time_t seconds = (time_t)(time_ns / 1000000000);
    struct tm parts;
    char text[24];
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
        text[0] = '\0'; /* cannot be: 64 bits of nanoseconds end in the year 2554 */
    }
    snprintf(room, 40, "%s.%09uZ", text, (unsigned)(time_ns % 1000000000));
    return room;
}

char *format_bytes(uint64_t bytes, char room[static 24])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000;
        unit++;
    }
    snprintf(room, 24, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return room;
}
