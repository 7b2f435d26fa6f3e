/* SPDX-License-Identifier: MIT
 *
 * What dbufctl writes: a large buffer in front of a descriptor, and the forms of JSON, hexadecimal
 * and time.
 *
 * A failure to write is kept and told by print_end; from then on nothing is written. One thread.
 */
#ifndef DBUFD_CTL_PRINT_H
#define DBUFD_CTL_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct print {
    int fd;
    int error; /* of the first write that failed: errno */
    size_t count;
    char bytes[256 * 1024];
};

/* Makes one for `fd`. NULL: no memory. */
struct print *print_begin(int fd);

/* Writes the rest out and frees it. 0, or -errno of the first write that failed; -EPIPE: nobody
 * reads any more. NULL is fine. */
int print_end(struct print *print);

void print_bytes(struct print *print, const void *bytes, size_t count);
void print_text(struct print *print, const char *text);
void print_format(struct print *print, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void print_flush(struct print *print);

/* A JSON string in quotes. What is not UTF-8 becomes U+FFFD. */
void print_json_string(struct print *print, const char *bytes, size_t count);

/* "bytes" in base64, without quotes. */
void print_base64(struct print *print, const unsigned char *bytes, size_t count);

/* "name":value, with a comma in front if `*first` is false; then it is. */
void print_json_number(struct print *print, bool *first, const char *name, uint64_t value);

/* Printable text: valid UTF-8 without control characters but tab, newline and carriage return. */
bool is_printable(const unsigned char *bytes, size_t count);

/* "2026-01-31T12:00:00.000000000Z" of nanoseconds since 1970. */
char *format_time(uint64_t time_ns, char room[static 40]);

/* "1.23 GB" */
char *format_bytes(uint64_t bytes, char room[static 24]);

#endif
