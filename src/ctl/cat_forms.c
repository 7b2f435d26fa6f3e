/* SPDX-License-Identifier: MIT
 *
 * The forms in which dbufctl cat writes a block: its bytes, JSON, hexadecimal.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cat.h"

void cat_put_raw(struct print *print, const struct cat_item *item)
{
    print_bytes(print, item->data, item->block->length);
    if (item->block->flags & BLOCK_LINE) {
        print_bytes(print, "\n", 1);
    }
}

void cat_put_json(struct print *print, const struct cat_item *item)
{
    char time[40];
    uint32_t length = item->block->length;
    print_format(print,
                 "{\"writer\":%u,\"block\":%" PRIu64 ",\"time\":\"%s\",\"length\":%" PRIu32
                 ",\"flags\":%" PRIu32,
                 item->writer, item->number, format_time(item->block->time_ns, time), length,
                 item->block->flags);
    if (is_printable(item->data, length)) {
        print_text(print, ",\"data\":");
        print_json_string(print, (const char *)item->data, length);
    } else {
        print_text(print, ",\"data_base64\":\"");
        print_base64(print, item->data, length);
        print_text(print, "\"");
    }
    print_text(print, item->unproven ? ",\"unproven\":true}\n" : "}\n");
}

static void put_hex_line(struct print *print, const unsigned char *data, size_t at, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    char line[96];
    size_t to = (size_t)snprintf(line, sizeof(line), "%08zx ", at);
    for (size_t i = 0; i < 16; i++) {
        line[to++] = ' ';
        if (i == 8) {
            line[to++] = ' ';
        }
        line[to++] = i < count ? digits[data[at + i] >> 4] : ' ';
        line[to++] = i < count ? digits[data[at + i] & 15] : ' ';
    }
    line[to++] = ' ';
    line[to++] = ' ';
    line[to++] = '|';
    for (size_t i = 0; i < count; i++) {
        unsigned char c = data[at + i];
        line[to++] = c >= 0x20 && c < 0x7f ? (char)c : '.';
    }
    line[to++] = '|';
    line[to++] = '\n';
    print_bytes(print, line, to);
}

void cat_put_hex(struct print *print, const struct cat_item *item)
{
    char time[40];
    size_t length = item->block->length;
    print_format(print, "writer %u, block %" PRIu64 ", %s, %zu bytes, flags %" PRIu32 "%s\n",
                 item->writer, item->number, format_time(item->block->time_ns, time), length,
                 item->block->flags, item->unproven ? ", unproven" : "");
    for (size_t at = 0; at < length; at += 16) {
        put_hex_line(print, item->data, at, length - at < 16 ? length - at : 16);
    }
}
