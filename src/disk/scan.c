/* SPDX-License-Identifier: MIT
 *
 * Reading a segment back.
 *
 * Happy path: the file is read forward through a window of memory; each extent lies in it in one
 * piece, is checked there, and is handed out where it lies.
 *
 * Failure modes:
 *   - a header that is none, or not ours: the next valid extent is looked for, page by page;
 *   - nothing valid follows: what is there is damage up to its last byte that is not zero, and room
 *     that was never used behind it. A recycled file has older extents there (their sequence is
 *     below the segment's first), and the rest of one that was partly overwritten in front of them;
 *     an older extent with a newer one behind it is damage: what should be there was not written;
 *   - a length that lies: no extent takes more than SCAN_PIECE_MAX, nor more than the file has,
 *     nor reaches over the start of the next valid one;
 *   - a read error: the page is damage, and reading goes on behind it.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "scan.h"
#include "scan_check.h"
#include "window.h"

struct scan {
    struct window window;  /* on the file */
    uint64_t offset;       /* of the next extent */
    uint64_t newer_offset; /* a search found a valid extent here and none before it */
    uint32_t uuid_crc;     /* what the CRC of an extent's header starts from */
    struct segment_header header;
    struct extent_header found; /* a header that must outlive its place in the window */
};

/* ---- Recognizing extents ----------------------------------------------------------------------
 */

/* A header that this stream has written, here or elsewhere. */
static bool is_ours(const struct scan *scan, const unsigned char *data, size_t bytes)
{
    const struct extent_header *header = (const struct extent_header *)data;
    return bytes >= sizeof(*header) && header->magic == EXTENT_MAGIC &&
           crc32c(scan->uuid_crc, data, offsetof(struct extent_header, header_crc)) ==
               header->header_crc;
}

static bool is_in_place(const unsigned char *data, uint64_t offset)
{
    return ((const struct extent_header *)data)->place == offset / FORMAT_ALIGN;
}

static bool is_older(const struct scan *scan, const unsigned char *data)
{
    return ((const struct extent_header *)data)->seq < scan->header.first_seq;
}

/* Where to go on behind a page of zeros. The file is asked for holes now and then, not at each page. */
static uint64_t behind_zeros(const struct scan *scan, uint64_t offset, bool zero_before)
{
    return zero_before && offset % WINDOW_READ_BYTES != 0 ? offset + FORMAT_ALIGN
                                                          : window_next_data(&scan->window, offset);
}

/* What is behind a place that holds no valid extent. */
struct behind {
    uint64_t newer_offset; /* the next valid extent, or the end of the file */
    uint64_t older_offset; /* the first older one before that; the end if none */
    uint64_t nonzero_end;  /* end of the last page before it that holds anything */
};

static struct behind look_behind(struct scan *scan, uint64_t offset)
{
    struct behind behind = {scan->window.file_bytes, scan->window.file_bytes, offset};
    bool zero_before = false;

    if (scan->newer_offset >= offset) {
        behind.newer_offset = scan->newer_offset;
        return behind; /* damage up to there, whatever it holds */
    }
    while (offset < scan->window.file_bytes) {
        const unsigned char *page;
        size_t bytes;
        uint64_t next = offset + FORMAT_ALIGN;
        int rc = window_load(&scan->window, offset, FORMAT_ALIGN, &page, &bytes);
        bool zero = rc == 0 && scan_all_zero(page, bytes);
        if (zero) {
            next = behind_zeros(scan, offset, zero_before);
        } else if (rc == 0 && is_ours(scan, page, bytes) && is_in_place(page, offset)) {
            if (!is_older(scan, page)) {
                behind.newer_offset = scan->newer_offset = offset;
                return behind;
            }
            if (offset < behind.older_offset) {
                behind.older_offset = offset;
            }
            /* A newer one may begin in the middle of it. */
        } else {
            behind.nonzero_end = next < scan->window.file_bytes ? next : scan->window.file_bytes;
        }
        zero_before = zero;
        offset = next;
    }
    behind.newer_offset = scan->window.file_bytes; /* it may have shrunk */
    if (behind.older_offset > scan->window.file_bytes) {
        behind.older_offset = scan->window.file_bytes;
    }
    return behind;
}

/* How much of an extent's `bytes`, which lie in the window, comes before the next valid one. */
static size_t own_bytes(const struct scan *scan, uint64_t offset, const unsigned char *data,
                        size_t bytes)
{
    for (size_t at = FORMAT_ALIGN; at < bytes; at += FORMAT_ALIGN) {
        if (is_ours(scan, data + at, bytes - at) && is_in_place(data + at, offset + at) &&
            !is_older(scan, data + at)) {
            return at;
        }
    }
    return bytes;
}

/* ---- Going through a segment ------------------------------------------------------------------
 */

/* No extent can be had at scan->offset: damage, or room that was never used. What follows is looked
 * at from `from` on; what is before that is damage in any case. */
static void give_lost(struct scan *scan, uint64_t from, struct scan_extent *ret)
{
    struct behind behind = look_behind(scan, from);
    uint64_t end = behind.newer_offset;

    if (end >= scan->window.file_bytes) {
        bool remains =
            ret->fault == SCAN_NO_EXTENT && behind.older_offset < scan->window.file_bytes;
        if (remains || behind.nonzero_end <= scan->offset) {
            ret->fault = SCAN_EMPTY_TAIL;
        } else if (behind.nonzero_end < behind.older_offset) {
            end = behind.nonzero_end;
        } else {
            end = behind.older_offset;
        }
    }
    if (end > scan->window.file_bytes) {
        end = scan->window.file_bytes;
    }
    ret->bytes = end - scan->offset;
    scan->offset = end;
}

/* Reads and checks the extent at scan->offset, whose header is scan->found. -errno: it could not be
 * read, which is its fault, too. */
static int load_extent(struct scan *scan, struct scan_extent *ret)
{
    const unsigned char *data;
    size_t bytes;
    bool data_is_whole;

    int rc = window_load(&scan->window, scan->offset, extent_stored_bytes(scan->found.used), &data,
                         &bytes);
    if (rc < 0) {
        ret->fault = SCAN_IO_ERROR;
        ret->error = -rc;
        return rc;
    }
    ret->fault =
        scan_check(&scan->found, scan->offset, data + sizeof(scan->found), bytes, &data_is_whole);
    if (data_is_whole) {
        ret->data = data + sizeof(scan->found);
    }
    if (ret->fault != SCAN_OK && ret->fault != SCAN_PADDING_CHANGED) {
        bytes = own_bytes(scan, scan->offset, data, bytes);
    }
    ret->bytes = bytes;
    return 0;
}

/* A header of ours is at scan->offset, at the beginning of `page`. */
static void give_extent(struct scan *scan, const unsigned char *page, struct scan_extent *ret)
{
    scan->found = *(const struct extent_header *)page;
    ret->header = &scan->found;
    if (!scan_fields_are_valid(&scan->found)) {
        ret->fault = SCAN_BAD_BLOCKS;
        give_lost(scan, scan->offset + FORMAT_ALIGN, ret);
        return;
    }
    if (load_extent(scan, ret) < 0) {
        ret->header = NULL;
        give_lost(scan, scan->offset + FORMAT_ALIGN, ret);
        return;
    }
    scan->offset += ret->bytes;
}

/* Why there is no extent in these bytes. */
static enum scan_fault fault_of(const unsigned char *page, size_t bytes, uint64_t offset)
{
    const struct extent_header *header = (const struct extent_header *)page;
    if (bytes < sizeof(*header)) {
        return scan_all_zero(page, bytes) ? SCAN_NO_EXTENT : SCAN_CUT;
    }
    bool was_one = header->magic == EXTENT_MAGIC ||
                   (header->version == FORMAT_VERSION && header->place == offset / FORMAT_ALIGN);
    return was_one ? SCAN_HEADER_CHANGED : SCAN_NO_EXTENT;
}

int scan_next(struct scan *scan, struct scan_extent *ret)
{
    const unsigned char *page;
    size_t bytes;

    if (scan->offset >= scan->window.file_bytes) {
        return 0;
    }
    struct scan_extent found = {.fault = SCAN_OK, .offset = scan->offset};
    int rc = window_load(&scan->window, scan->offset, FORMAT_ALIGN, &page, &bytes);
    if (rc < 0) {
        found.fault = SCAN_IO_ERROR;
        found.error = -rc;
        give_lost(scan, scan->offset + FORMAT_ALIGN, &found);
    } else if (bytes == 0) {
        return 0; /* the file has shrunk */
    } else if (!is_ours(scan, page, bytes)) {
        found.fault = fault_of(page, bytes, scan->offset);
        give_lost(scan, scan->offset, &found);
    } else if (is_older(scan, page) && is_in_place(page, scan->offset)) {
        found.fault = SCAN_NO_EXTENT;
        give_lost(scan, scan->offset, &found);
    } else {
        give_extent(scan, page, &found);
    }
    *ret = found;
    return 1;
}

/* Whether a whole extent is at scan->offset, at the beginning of `page`. */
static bool is_whole(struct scan *scan, const unsigned char *page, size_t bytes,
                     struct scan_extent *ret)
{
    if (!is_ours(scan, page, bytes) || !is_in_place(page, scan->offset) || is_older(scan, page)) {
        return false;
    }
    scan->found = *(const struct extent_header *)page;
    *ret = (struct scan_extent){.offset = scan->offset, .header = &scan->found};
    return scan_fields_are_valid(&scan->found) && load_extent(scan, ret) == 0 &&
           ret->fault == SCAN_OK;
}

int scan_find(struct scan *scan, uint64_t end, struct scan_extent *ret)
{
    bool zero_before = false;
    while (scan->offset < end && scan->offset < scan->window.file_bytes) {
        const unsigned char *page;
        size_t bytes;
        int rc = window_load(&scan->window, scan->offset, FORMAT_ALIGN, &page, &bytes);
        bool zero = rc == 0 && scan_all_zero(page, bytes);
        if (rc == 0 && !zero && is_whole(scan, page, bytes, ret)) {
            scan->offset += ret->bytes;
            return 1;
        }
        scan->offset =
            zero ? behind_zeros(scan, scan->offset, zero_before) : scan->offset + FORMAT_ALIGN;
        zero_before = zero;
    }
    return 0;
}

/* Reads the page where it goes on past the window. Whether a valid extent's header is there. */
static bool peek_header(const struct scan *scan, unsigned char page[static FORMAT_ALIGN])
{
    ssize_t got = window_peek(&scan->window, scan->offset, page, FORMAT_ALIGN);
    return got == FORMAT_ALIGN && is_ours(scan, page, FORMAT_ALIGN) &&
           is_in_place(page, scan->offset) && !is_older(scan, page) &&
           scan_fields_are_valid((const struct extent_header *)page);
}

int scan_skim(struct scan *scan, struct scan_extent *ret)
{
    alignas(struct extent_header) unsigned char page[FORMAT_ALIGN];
    const struct extent_header *header = (const struct extent_header *)page;

    if (peek_header(scan, page) &&
        scan->offset + extent_stored_bytes(header->used) <= scan->window.file_bytes) {
        scan->found = *header;
        *ret = (struct scan_extent){.offset = scan->offset,
                                    .bytes = extent_stored_bytes(header->used),
                                    .header = &scan->found};
        scan->offset += ret->bytes;
        return 1;
    }
    return scan_next(scan, ret); /* sees the same, and says what it is */
}

void scan_seek(struct scan *scan, uint64_t offset)
{
    assert(offset % FORMAT_ALIGN == 0 && offset >= FORMAT_ALIGN);
    scan->offset = offset;
    scan->newer_offset = 0;
}

uint64_t scan_offset(const struct scan *scan)
{
    return scan->offset;
}

void scan_announce(const struct scan *scan, uint64_t from, uint64_t bytes)
{
    window_announce(&scan->window, from, bytes);
}

int scan_refresh(struct scan *scan)
{
    scan->newer_offset = 0;
    return window_refresh(&scan->window);
}

bool scan_comes(const struct scan *scan)
{
    alignas(struct extent_header) unsigned char page[FORMAT_ALIGN];
    return peek_header(scan, page);
}

int scan_bytes(struct scan *scan, uint64_t offset, size_t bytes, const unsigned char **ret_data,
               size_t *ret_bytes)
{
    assert(offset % FORMAT_ALIGN == 0);
    if (offset >= scan->window.file_bytes) {
        *ret_bytes = 0;
        return 0;
    }
    return window_load(&scan->window, offset, bytes < SCAN_PIECE_MAX ? bytes : SCAN_PIECE_MAX,
                       ret_data, ret_bytes);
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

static int open_file(struct scan **ret, const char *path)
{
    struct scan *scan = calloc(1, sizeof(*scan));
    if (scan == NULL) {
        return -ENOMEM;
    }
    scan->offset = FORMAT_ALIGN;
    int rc = window_open(&scan->window, path, SCAN_PIECE_MAX);
    if (rc < 0) {
        free(scan);
        return rc;
    }
    *ret = scan;
    return 0;
}

static int read_header(struct scan *scan, struct segment_header *ret)
{
    ssize_t got =
        window_peek(&scan->window, 0, ret, sizeof(*ret)); /* it may be all that is wanted */
    if (got < (ssize_t)sizeof(*ret)) {
        return got < 0 ? (int)got : got == 0 ? -ENODATA : -EBADMSG;
    }
    if (ret->magic != SEGMENT_MAGIC ||
        crc32c(0, ret, offsetof(struct segment_header, crc)) != ret->crc) {
        return -EBADMSG;
    }
    if (ret->version != FORMAT_VERSION) {
        return -ENOTSUP;
    }
    return ret->align == FORMAT_ALIGN && ret->number > 0 ? 0 : -EBADMSG;
}

int scan_open(struct scan **ret, const char *path)
{
    struct scan *scan;
    int rc = open_file(&scan, path);
    if (rc < 0) {
        return rc;
    }
    rc = read_header(scan, &scan->header);
    if (rc < 0) {
        scan_close(scan);
        return rc;
    }
    scan->uuid_crc = crc32c(0, scan->header.stream_uuid, sizeof(scan->header.stream_uuid));
    *ret = scan;
    return 0;
}

int scan_open_damaged(struct scan **ret, const char *path, const uint8_t *uuid)
{
    struct scan *scan;
    struct segment_header header = {.magic = 0};
    const unsigned char *page;
    size_t bytes;
    int rc = open_file(&scan, path);
    if (rc < 0) {
        return rc;
    }
    rc = window_load(&scan->window, 0, FORMAT_ALIGN, &page, &bytes);
    if (uuid == NULL && rc == 0 && bytes == FORMAT_ALIGN) {
        uuid = ((const struct segment_header *)page)->stream_uuid;
    }
    if (uuid != NULL) {
        memcpy(header.stream_uuid, uuid, sizeof(header.stream_uuid));
        scan->uuid_crc = crc32c(0, uuid, sizeof(header.stream_uuid));
        struct behind behind = look_behind(scan, FORMAT_ALIGN);
        rc = behind.newer_offset < scan->window.file_bytes
                 ? window_load(&scan->window, behind.newer_offset, FORMAT_ALIGN, &page, &bytes)
                 : -EBADMSG;
    } else {
        rc = rc < 0 ? rc : -EBADMSG;
    }
    if (rc < 0) {
        scan_close(scan);
        return rc;
    }
    header.first_seq = ((const struct extent_header *)page)->seq;
    scan->header = header;
    *ret = scan;
    return 0;
}

void scan_close(struct scan *scan)
{
    if (scan == NULL) {
        return;
    }
    window_close(&scan->window);
    free(scan);
}

const struct segment_header *scan_header(const struct scan *scan)
{
    return &scan->header;
}

uint64_t scan_file_bytes(const struct scan *scan)
{
    return scan->window.file_bytes;
}
