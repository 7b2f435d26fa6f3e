/* SPDX-License-Identifier: MIT
 *
 * framing: every stream, in pieces of any size, is cut into the blocks that a simple reference makes of it.
 *
 * TEST_SEED=n in the environment runs the random tests with that seed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/disk/format.h"
#include "../../src/source/framing.h"
#include "random_seed.h"

/* All that comes out of a stream, as text: each block in [], a cut one ending in "+", a line in "$"; then
 * what was said at the end: "!" a wrong count, "~" a frame that is not whole. */
struct output {
    char *text;
    size_t bytes;
    FILE *file;
};

static void put_block(FILE *file, const unsigned char *data, struct block_info info)
{
    fputc('[', file);
    fwrite(data, 1, info.bytes, file);
    fputs(info.flags == BLOCK_CUT ? "+]" : info.flags == BLOCK_LINE ? "$]" : "]", file);
}

/* Feeds pieces of at most `piece` bytes (0: of any size), takes blocks of at most `limit`. To be freed. */
static char *run(enum source_framing kind, const void *stream, size_t bytes, size_t piece,
                 size_t limit)
{
    struct output out = {0};
    struct framing f;
    unsigned char block[4096], *room;
    struct block_info info;
    int rc = 0;
    assert_true(limit <= sizeof(block));
    assert_int_equal(framing_open(&f, kind, limit), 0);
    out.file = open_memstream(&out.text, &out.bytes);
    for (size_t at = 0, n; rc >= 0; at += n) {
        const bool ended = at == bytes;
        const size_t most = framing_room(&f, &room);
        assert_true(most >= FRAMING_ROOM_MIN);
        n = piece != 0 ? piece : next_random() % 300 + 1;
        n = n < bytes - at ? n : bytes - at;
        memcpy(room, (const char *)stream + at, n);
        framing_add(&f, n);
        while ((rc = framing_take(&f, block, limit, ended, &info)) == 1)
            put_block(out.file, block, info);
        if (ended)
            break;
    }
    if (rc < 0)
        assert_int_equal(rc, -EBADMSG);
    fputs(rc < 0 ? "!" : framing_missing(&f) > 0 ? "~" : "", out.file);
    framing_close(&f);
    fclose(out.file);
    return out.text;
}

static void expect(enum source_framing kind, const void *stream, size_t bytes, size_t limit,
                   const char *wanted)
{
    for (size_t piece = 1; piece <= bytes + 1; piece++) {
        char *text = run(kind, stream, bytes, piece, limit);
        assert_string_equal(text, wanted);
        free(text);
    }
}

static void lines(void **unused)
{
    (void)unused;
    expect(FRAMING_LINES, "one\n\ntwo\nthr", 12, 100, "[one$][$][two$][thr]");
    expect(FRAMING_LINES, "abcdefg\nhij", 11, 3, "[abc+][def+][g$][hij]");
    expect(FRAMING_LINES, "abc\n", 4, 3, "[abc$]");
    expect(FRAMING_LINES, "", 0, 3, "");
}

static void octet_counted(void **unused)
{
    (void)unused;
    expect(FRAMING_OCTET_COUNTED, "3 one10 0123456789", 18, 100, "[one][0123456789]");
    expect(FRAMING_OCTET_COUNTED, "3 1 25 a\nb c", 12, 100, "[1 2][a\nb c]");
    expect(FRAMING_OCTET_COUNTED, "7 abcdefg3 hij", 14, 3, "[abc+][def+][g][hij]");
    expect(FRAMING_OCTET_COUNTED, "", 0, 3, "");
    /* What the end cuts short. */
    expect(FRAMING_OCTET_COUNTED, "3 one5 tw", 9, 100, "[one][tw+]~");
    expect(FRAMING_OCTET_COUNTED, "3 one12", 7, 100, "[one]~");
    expect(FRAMING_OCTET_COUNTED, "3 one12 ", 8, 100, "[one]~");
    expect(FRAMING_OCTET_COUNTED, "7 abc", 5, 3, "[abc+]~");
}

static void u32(void **unused)
{
    (void)unused;
    expect(FRAMING_U32, "\3\0\0\0one\0\0\0\0\1\0\0\0x", 16, 100, "[one][][x]");
    expect(FRAMING_U32, "\7\0\0\0abcdefg", 11, 3, "[abc+][def+][g]");
    expect(FRAMING_U32, "\7\0\0\0ab", 6, 3, "[ab+]~");
    expect(FRAMING_U32, "\1\0\0\0a\1\0", 7, 3, "[a]~");
}

static void wrong_counts(void **unused)
{
    (void)unused;
    static const char *const wrong[] = {
        "x",    " 1 a", "0 ", "01 a",         "-1 a",
        "1\na", "+1 a", "1x", "1073741825 a", "99999999999999999999 a"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        char stream[64];
        const int bytes = snprintf(stream, sizeof(stream), "2 ok%s", wrong[i]);
        expect(FRAMING_OCTET_COUNTED, stream, (size_t)bytes, 10, "[ok]!");
    }
    expect(FRAMING_OCTET_COUNTED, "1073741824 a", 12, 10, "[a+]~"); /* the longest frame */
    expect(FRAMING_U32, "\2\0\0\0ok\1\0\0\x40xx", 12, 10, "[ok]!");
    expect(FRAMING_U32, "\2\0\0\0ok\xff\xff\xff\xff", 10, 10, "[ok]!");
    expect(FRAMING_U32, "\0\0\0\x40x", 5, 10, "[x+]~");
}

/* A limit that changes, as near the end of a buffer. */
static void smaller_rooms(void **unused)
{
    (void)unused;
    struct framing f;
    struct block_info info;
    unsigned char block[16], *room;
    assert_int_equal(framing_open(&f, FRAMING_OCTET_COUNTED, 10), 0);
    (void)framing_room(&f, &room);
    memcpy(room, "8 abcdef", 8);
    framing_add(&f, 8);
    assert_int_equal(framing_take(&f, block, 10, false, &info), 0);
    assert_int_equal(framing_missing(&f), 2);
    assert_int_equal(framing_take(&f, block, 4, false, &info), 1);
    assert_int_equal(info.flags, BLOCK_CUT);
    assert_true(framing_in_pieces(&f));
    assert_int_equal(framing_take(&f, block, 10, false, &info), 0);
    assert_int_equal(framing_missing(&f), 2);
    (void)framing_room(&f, &room);
    memcpy(room, "gh", 2);
    framing_add(&f, 2);
    assert_int_equal(framing_take(&f, block, 10, false, &info), 1);
    assert_memory_equal(block, "efgh", 4);
    assert_int_equal(info.flags, 0);
    assert_false(framing_in_pieces(&f));
    assert_int_equal(framing_missing(&f), 0);
    framing_close(&f);
}

/* The frames themselves, put together again out of what came out, against what was put in. */
static void any_stream(void **unused)
{
    (void)unused;
    for (int round = 0; round < 600; round++) {
        const enum source_framing kind = (enum source_framing)(FRAMING_LINES + round % 3);
        const size_t limit = next_random() % 1000 + 1;
        char *stream, *wanted;
        size_t bytes, wanted_bytes;
        FILE *in = open_memstream(&stream, &bytes), *out = open_memstream(&wanted, &wanted_bytes);
        for (uint64_t frames = next_random() % 40; frames > 0; frames--) {
            unsigned char data[3000];
            const size_t least = kind == FRAMING_OCTET_COUNTED;
            const size_t n = least + next_random() % (round % 2 ? 20 : sizeof(data) - 1);
            for (size_t i = 0; i < n; i++)
                data[i] = (unsigned char)('0' + next_random() % 70);
            if (kind == FRAMING_OCTET_COUNTED)
                fprintf(in, "%zu ", n);
            else if (kind == FRAMING_U32)
                for (int shift = 0; shift < 32; shift += 8)
                    fputc((int)(n >> shift & 255), in);
            fwrite(data, 1, n, in);
            if (kind == FRAMING_LINES)
                fputc('\n', in);
            size_t at = 0;
            for (; n - at > limit; at += limit)
                put_block(out, data + at, (struct block_info){limit, BLOCK_CUT});
            put_block(out, data + at,
                      (struct block_info){n - at, kind == FRAMING_LINES ? BLOCK_LINE : 0});
        }
        fclose(in);
        fclose(out);
        char *text = run(kind, stream, bytes, 0, limit);
        assert_string_equal(text, wanted);
        free(text);
        free(stream);
        free(wanted);
    }
}

int main(void)
{
    random_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),         cmocka_unit_test(octet_counted),
        cmocka_unit_test(u32),           cmocka_unit_test(wrong_counts),
        cmocka_unit_test(smaller_rooms), cmocka_unit_test(any_stream),
    };
    return cmocka_run_group_tests_name("framing", tests, NULL, NULL);
}
