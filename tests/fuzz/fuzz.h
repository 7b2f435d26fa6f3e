/* SPDX-License-Identifier: MIT
 *
 * What the fuzzers share. Each is a program of libFuzzer: it gets bytes that somebody may have put where
 * dbufd or dbufctl reads them, and must neither crash, nor hang, nor touch memory that is not its own.
 *
 * A random change never gets past a checksum. So the first byte of a segment's input says whether the
 * checksums are made right first: then it is a lie that somebody has signed.
 */
#ifndef DBUFD_TESTS_FUZZ_H
#define DBUFD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/disk/crc32c.h"
#include "../../src/disk/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A file in memory; path[] is its name while it is open. */
struct fuzz_file {
    int fd;
    char path[32];
};

static inline struct fuzz_file fuzz_file(const void *data, size_t bytes)
{
    struct fuzz_file file = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    if (file.fd < 0 || write(file.fd, data, bytes) != (ssize_t)bytes)
        abort(); /* no memory: not what is looked for */
    snprintf(file.path, sizeof(file.path), "/proc/self/fd/%d", file.fd);
    return file;
}

/* Signs the segment: its header, and all that looks like an extent. */
static inline void fuzz_sign(unsigned char *bytes, size_t size)
{
    if (size < FORMAT_ALIGN)
        return;
    struct segment_header *header = (struct segment_header *)bytes;
    header->magic = SEGMENT_MAGIC;
    header->version = FORMAT_VERSION;
    header->align = FORMAT_ALIGN;
    header->crc = crc32c(0, header, offsetof(struct segment_header, crc));
    const uint32_t uuid_crc = crc32c(0, header->stream_uuid, sizeof(header->stream_uuid));
    for (size_t at = FORMAT_ALIGN; at + sizeof(struct extent_header) <= size; at += FORMAT_ALIGN) {
        struct extent_header *extent = (struct extent_header *)(bytes + at);
        if (extent->magic != EXTENT_MAGIC)
            continue;
        if (extent->used <= size - at - sizeof(*extent))
            extent->data_crc = crc32c(0, extent + 1, extent->used);
        extent->header_crc = crc32c(uuid_crc, extent, offsetof(struct extent_header, header_crc));
    }
}

/* The segment of an input, signed if its first byte says so. */
static inline struct fuzz_file fuzz_segment(const uint8_t *data, size_t bytes)
{
    unsigned char *copy = malloc(bytes);
    if (copy == NULL)
        abort();
    memcpy(copy, data + 1, bytes - 1);
    if (data[0] & 1)
        fuzz_sign(copy, bytes - 1);
    struct fuzz_file file = fuzz_file(copy, bytes - 1);
    free(copy);
    return file;
}

#endif
