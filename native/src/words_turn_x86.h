/* words_turn_x86.h - transposing small squares in registers of 128 bits, for the x86 files of words_kernels.h. */
#include <immintrin.h>

#include <stdint.h>

#define AT(p, i, stride) ((const __m128i *)(const void *)((p) + (i) * (stride)))
#define TO(p, i, stride) ((__m128i *)(void *)((p) + (i) * (stride)))

/* Interleaving row i with row i + 8 four times transposes: each time the top bit of a row's number becomes the lowest
 * bit of a column's. */
static inline void interleave_16(const __m128i *from, __m128i *to) {
    for (int i = 0; i < 8; i++) {
        to[2 * i] = _mm_unpacklo_epi8(from[i], from[i + 8]);
        to[2 * i + 1] = _mm_unpackhi_epi8(from[i], from[i + 8]);
    }
}

static inline void turn_16x16(const uint8_t *from, int64_t stride, uint8_t *to, int64_t to_stride) {
    __m128i a[16], b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = _mm_loadu_si128(AT(from, i, stride));
    }
    interleave_16(a, b);
    interleave_16(b, a);
    interleave_16(a, b);
    interleave_16(b, a);
    for (int i = 0; i < 16; i++) {
        _mm_storeu_si128(TO(to, i, to_stride), a[i]);
    }
}

static inline void turn_4x4(const uint8_t *from, int64_t stride, uint8_t *to, int64_t to_stride) {
    const __m128i a = _mm_loadu_si128(AT(from, 0, stride)), b = _mm_loadu_si128(AT(from, 1, stride));
    const __m128i c = _mm_loadu_si128(AT(from, 2, stride)), d = _mm_loadu_si128(AT(from, 3, stride));
    const __m128i ac = _mm_unpacklo_epi32(a, c), bd = _mm_unpacklo_epi32(b, d);
    const __m128i ac2 = _mm_unpackhi_epi32(a, c), bd2 = _mm_unpackhi_epi32(b, d);
    _mm_storeu_si128(TO(to, 0, to_stride), _mm_unpacklo_epi32(ac, bd));
    _mm_storeu_si128(TO(to, 1, to_stride), _mm_unpackhi_epi32(ac, bd));
    _mm_storeu_si128(TO(to, 2, to_stride), _mm_unpacklo_epi32(ac2, bd2));
    _mm_storeu_si128(TO(to, 3, to_stride), _mm_unpackhi_epi32(ac2, bd2));
}

#undef AT
#undef TO

#define WORDS_TURN_BYTES turn_16x16
#define WORDS_TURN_WORDS turn_4x4
