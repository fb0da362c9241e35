/* The integer kernels with AVX-512 VNNI: 32 rows by 6 tokens in registers, four products to a lane per instruction. */
#include "fast_unpack.h"

#include "fast_lanes_avx512.h"

#define AT_ONCE 6
#define FAST_SUFFIX avx512vnni

/* codes [32][256], columns 0..63 -> [16][32][4] */
HUB_INLINE void gather_fours(const int8_t *from, int8_t (*to)[32][4]) {
    for (int h = 0; h < 2; h++) {
        vi v[16];
        HUB_UNROLL
        for (int r = 0; r < 16; r++) {
            v[r] = load_int(from + (16 * h + r) * 256);
        }
        transpose(v);
        HUB_UNROLL
        for (int i = 0; i < 16; i++) {
            store_int(to[i][16 * h], v[i]);
        }
    }
}

HUB_INLINE vi starts_of(bool wide, int steps, const int8_t (*codes)[4]) {
    (void)wide;
    vi sum = _mm512_setzero_si512();
    for (int i = 0; i < steps; i++) {
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8((char)128), load_int(codes + 32 * i));
    }
    return _mm512_sub_epi32(_mm512_setzero_si512(), sum);
}

HUB_INLINE void dot_group(bool wide, int count, int steps, const int8_t (*codes)[32][4], const int32_t *starts,
                          const uint8_t *x, int64_t n, vi dot[2][AT_ONCE]) {
    (void)wide;
    const vi low = load_int(starts), high = load_int(starts + 16);
    HUB_UNROLL
    for (int j = 0; j < count; j++) {
        dot[0][j] = low;
        dot[1][j] = high;
    }
    HUB_UNROLL
    for (int i = 0; i < steps; i++) {
        const vi a = load_int(codes[i]), b = load_int(codes[i][16]);
        HUB_UNROLL
        for (int j = 0; j < count; j++) {
            const vi four = splat_bits(x + 4 * j);
            dot[0][j] = _mm512_dpbusd_epi32(dot[0][j], four, a);
            dot[1][j] = _mm512_dpbusd_epi32(dot[1][j], four, b);
        }
        x += 4 * n;
    }
}

#include "fast_integer.h"

extern const hub_kernels hub_fast_avx512vnni;
const hub_kernels hub_fast_avx512vnni = {.fast_linear = {FAST_INTEGER_TYPES(FAST_SLOT)}};
