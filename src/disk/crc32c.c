/* SPDX-License-Identifier: MIT
 *
 * crc32c: the choice between the two ways, and the portable one: eight bytes a step, each looked up
 * in a table of its own (slicing by eight).
 */
#include "crc32c.h"

#include <string.h>

/* A table's entry is linear in its index: the entries of the eight single bits, XORed, give all
 * 256. So 64 constants stand for the 2048 words: 64 successive states of the CRC's shift register,
 * started with the polynomial (reflected, 0x82f63b78). The compiler works the rest out. */
#define MIX(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                     \
    (((i)&1 ? b0 : 0) ^ ((i)&2 ? b1 : 0) ^ ((i)&4 ? b2 : 0) ^ ((i)&8 ? b3 : 0) ^                   \
     ((i)&16 ? b4 : 0) ^ ((i)&32 ? b5 : 0) ^ ((i)&64 ? b6 : 0) ^ ((i)&128 ? b7 : 0))
#define MIX4(i, ...)                                                                               \
    MIX(i, __VA_ARGS__), MIX(i + 1, __VA_ARGS__), MIX(i + 2, __VA_ARGS__), MIX(i + 3, __VA_ARGS__)
#define MIX16(i, ...)                                                                              \
    MIX4(i, __VA_ARGS__), MIX4(i + 4, __VA_ARGS__), MIX4(i + 8, __VA_ARGS__),                      \
        MIX4(i + 12, __VA_ARGS__)
#define MIX64(i, ...)                                                                              \
    MIX16(i, __VA_ARGS__), MIX16(i + 16, __VA_ARGS__), MIX16(i + 32, __VA_ARGS__),                 \
        MIX16(i + 48, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    {                                                                                              \
        MIX64(0, __VA_ARGS__), MIX64(64, __VA_ARGS__), MIX64(128, __VA_ARGS__),                    \
            MIX64(192, __VA_ARGS__)                                                                \
    }

/* table[k][i]: what byte i contributes when k more bytes follow it. */
static const uint32_t table[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
          0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
          0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
          0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
          0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
          0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
          0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
          0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
          0x34019664),
};

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    uint32_t state = ~crc;

    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint32_t low, high;
        memcpy(&low, at, 4);
        memcpy(&high, at + 4, 4);
        low ^= state;
        state = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
                table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^
                table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (; bytes > 0; at++, bytes--)
        state = state >> 8 ^ table[0][(state ^ *at) & 0xff];
    return ~state;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    crc32c_way *processor = crc32c_processor();

    return processor ? processor(crc, data, bytes) : crc32c_portable(crc, data, bytes);
}
