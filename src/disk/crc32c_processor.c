/* SPDX-License-Identifier: MIT
 *
 * CRC32C by the processor's own instructions: the one place in disk/ that knows an architecture. A
 * machine that is not named here takes the portable way, and so does a processor without them.
 */
#include "crc32c.h"

#if defined(__x86_64__)

#include <nmmintrin.h>
#include <string.h>
#include <wmmintrin.h>

/* The instruction takes three cycles and can be started in each one: so three streams at a time,
 * STREAM_BYTES long, and then their states are put together. To let n more zero bytes pass a state
 * is to multiply it by x^8n: a carry-less multiplication by the constant x^(8n-33), which leaves
 * the remainder, and the factor x^33, to the CRC instruction itself. */
enum { STREAM_BYTES = 1024, LINE_BYTES = 64 };
#define PAST_ONE_STREAM  0x170076fau
#define PAST_TWO_STREAMS 0xa51b6135u

#define WITH_CRC __attribute__((target("sse4.2,pclmul")))

WITH_CRC static inline uint64_t word(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

WITH_CRC static inline uint32_t pass(uint32_t state, uint32_t constant)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)state), _mm_cvtsi32_si128((int)constant), 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The next step's lines: what is stored was written by other cores and is in nobody's cache, and three
 * streams in turn are more than the processor fetches by itself. Half as fast again. */
WITH_CRC static inline void fetch_ahead(const unsigned char *at)
{
    _mm_prefetch((const char *)at + 3 * STREAM_BYTES, _MM_HINT_T0);
    _mm_prefetch((const char *)at + 4 * STREAM_BYTES, _MM_HINT_T0);
    _mm_prefetch((const char *)at + 5 * STREAM_BYTES, _MM_HINT_T0);
}

WITH_CRC static uint32_t three_streams(uint32_t crc, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    uint64_t state = ~crc;

    for (; bytes >= 3 * STREAM_BYTES; at += 3 * STREAM_BYTES, bytes -= 3 * STREAM_BYTES) {
        uint64_t second = 0, third = 0;
        for (size_t i = 0; i < STREAM_BYTES; i += 8) {
            if (i % LINE_BYTES == 0)
                fetch_ahead(at + i);
            state = _mm_crc32_u64(state, word(at + i));
            second = _mm_crc32_u64(second, word(at + STREAM_BYTES + i));
            third = _mm_crc32_u64(third, word(at + 2 * STREAM_BYTES + i));
        }
        state = pass((uint32_t)state, PAST_TWO_STREAMS) ^ pass((uint32_t)second, PAST_ONE_STREAM) ^
                third;
    }
    for (; bytes >= 8; at += 8, bytes -= 8)
        state = _mm_crc32_u64(state, word(at));
    for (; bytes > 0; at++, bytes--)
        state = _mm_crc32_u8((uint32_t)state, *at);
    return ~(uint32_t)state;
}

crc32c_way *crc32c_processor(void)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return three_streams;
    return NULL;
}

#else

crc32c_way *crc32c_processor(void)
{
    return NULL;
}

#endif
