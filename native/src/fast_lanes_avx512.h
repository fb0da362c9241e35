/* fast_lanes_avx512.h - what the products of `fast` mode share on AVX-512. */
#ifndef HUB_FAST_LANES_AVX512_H
#define HUB_FAST_LANES_AVX512_H

#include <immintrin.h>

#include "fast.h"

enum { LANES = 16, HALVES = 2 };

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

/* 32 bits at any address, in every lane. */
HUB_INLINE vi splat_bits(const void *p) {
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm512_set1_epi32(bits);
}

/* 16 x 16 lanes, in place: the fours are transposed, then the quarters. */
HUB_INLINE void transpose(vi *v) {
    vi t[16];
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
        v[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_i32x4(a, c, 0xDD);
        v[i + 8] = _mm512_shuffle_i32x4(b, d, 0x88);
        v[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
}

#endif
