/* The integer kernels with AVX-512 VNNI: 32 rows by 6 tokens in registers, four products to a lane per instruction. */
#include <immintrin.h>

#include "fast_prepare.h"

enum { LANES = 16, HALVES = 2 };
#define AT_ONCE 6
#define FAST_SUFFIX avx512vnni

typedef __m512 vf;
typedef __m512i vi;

HUB_INLINE vf load(const float *p) { return _mm512_loadu_ps(p); }
HUB_INLINE void store(float *p, vf v) { _mm512_storeu_ps(p, v); }
HUB_INLINE vi load_int(const void *p) { return _mm512_loadu_si512(p); }
HUB_INLINE void store_int(void *p, vi v) { _mm512_storeu_si512(p, v); }
HUB_INLINE vf splat(float a) { return _mm512_set1_ps(a); }
HUB_INLINE vf zero(void) { return _mm512_setzero_ps(); }
HUB_INLINE vf fused(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
HUB_INLINE vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }

/* codes [32][256], columns 0..63 -> [16][32][4]: two transpositions of 16 x 16 lanes. */
HUB_INLINE void gather_fours(const int8_t *from, int8_t (*to)[32][4]) {
    for (int h = 0; h < 2; h++) {
        vi v[16], t[16];
        HUB_UNROLL
        for (int r = 0; r < 16; r++) {
            v[r] = load_int(from + (16 * h + r) * 256);
        }
        HUB_UNROLL
        for (int i = 0; i < 16; i += 4) {
            const vi a = _mm512_unpacklo_epi32(v[i], v[i + 1]), b = _mm512_unpackhi_epi32(v[i], v[i + 1]);
            const vi c = _mm512_unpacklo_epi32(v[i + 2], v[i + 3]), d = _mm512_unpackhi_epi32(v[i + 2], v[i + 3]);
            t[i] = _mm512_unpacklo_epi64(a, c);
            t[i + 1] = _mm512_unpackhi_epi64(a, c);
            t[i + 2] = _mm512_unpacklo_epi64(b, d);
            t[i + 3] = _mm512_unpackhi_epi64(b, d);
        }
        HUB_UNROLL
        for (int i = 0; i < 4; i++) {
            const vi a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x44), b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xEE);
            const vi c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x44), d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xEE);
            store_int(to[i][16 * h], _mm512_shuffle_i32x4(a, c, 0x88));
            store_int(to[i + 4][16 * h], _mm512_shuffle_i32x4(a, c, 0xDD));
            store_int(to[i + 8][16 * h], _mm512_shuffle_i32x4(b, d, 0x88));
            store_int(to[i + 12][16 * h], _mm512_shuffle_i32x4(b, d, 0xDD));
        }
    }
}

HUB_INLINE vi starts_of(int steps, const int8_t (*codes)[4]) {
    vi sum = _mm512_setzero_si512();
    for (int i = 0; i < steps; i++) {
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8((char)128), load_int(codes + 32 * i));
    }
    return _mm512_sub_epi32(_mm512_setzero_si512(), sum);
}

/* dot[h][j] = starts + the products of `steps` steps of four columns with token j; x moves n tokens per step. */
HUB_INLINE void dot_group(int count, int steps, const int8_t (*codes)[32][4], const int32_t *starts, const uint8_t *x,
                          int64_t n, vi dot[2][AT_ONCE]) {
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
            const vi four = _mm512_set1_epi32((int32_t)load_u32(x + 4 * j));
            dot[0][j] = _mm512_dpbusd_epi32(dot[0][j], four, a);
            dot[1][j] = _mm512_dpbusd_epi32(dot[1][j], four, b);
        }
        x += 4 * n;
    }
}

#include "fast_integer.h"

FAST_PREPARE(avx512vnni)

extern const hub_kernels hub_fast_avx512vnni;
const hub_kernels hub_fast_avx512vnni = {
    .fast_prepare = {FAST_PREPARE_SLOTS(avx512vnni)},
    .fast_linear = {FAST_INTEGER_TYPES(FAST_SLOT)},
};
