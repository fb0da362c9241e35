/* lanes_avx512.h - AVX-512 (F, BW, DQ, VL): sixteen lanes. What the names mean is in lanes.h. */
#ifndef HUB_LANES_AVX512_H
#define HUB_LANES_AVX512_H

#include <immintrin.h>

#include "ggml_search.h"

enum { LANES = 16 };
#define HUB_ISA_SUFFIX avx512

typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));
typedef __mmask16 vmask;

HUB_INLINE vf splat(float a) { return _mm512_set1_ps(a); }
HUB_INLINE vf load(const float *p) { return _mm512_loadu_ps(p); }
HUB_INLINE void store(float *p, vf v) { _mm512_storeu_ps(p, v); }
HUB_INLINE void store_int(uint32_t *p, vi v) { _mm512_storeu_si512(p, (__m512i)v); }
HUB_INLINE void store_bytes(uint8_t *p, vi v) { _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8((__m512i)v)); }
HUB_INLINE void store_32_bytes(uint8_t *p, const vi *v) {
    store_bytes(p, v[0]);
    store_bytes(p + 16, v[1]);
}

HUB_INLINE vf smaller(vf a, vf b) { return _mm512_min_ps(a, b); }
HUB_INLINE vf larger(vf a, vf b) { return _mm512_max_ps(a, b); }
HUB_INLINE vi smaller_int(vi a, int32_t b) { return (vi)_mm512_min_epi32((__m512i)a, _mm512_set1_epi32(b)); }
HUB_INLINE vi larger_int(vi a, int32_t b) { return (vi)_mm512_max_epi32((__m512i)a, _mm512_set1_epi32(b)); }
HUB_INLINE vf magnitude(vf a) { return _mm512_abs_ps(a); }
HUB_INLINE vi truncated(vf a) { return (vi)_mm512_cvttps_epi32(a); }
HUB_INLINE vf rounded(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
HUB_INLINE vi rounded_int(vf a) { return (vi)_mm512_cvtps_epi32(a); }
HUB_INLINE vf square_root(vf a) { return _mm512_sqrt_ps(a); }

HUB_INLINE vmask is_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
HUB_INLINE vmask is_at_most(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
HUB_INLINE vmask is_equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
HUB_INLINE vmask is_other(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
HUB_INLINE vmask both(vmask m, vmask n) { return m & n; }
HUB_INLINE bool any(vmask m) { return m != 0; }
HUB_INLINE bool all(vmask m) { return m == 0xFFFF; }
HUB_INLINE vf choose(vmask m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
HUB_INLINE vi choose_int(vmask m, vi a, vi b) { return (vi)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }

/* Sixteen rows of four quarters of four: the fours are transposed in place, then the quarters. */
HUB_INLINE void transpose(vf *v) {
    vf t[16];
    for (int i = 0; i < 16; i += 4) {
        const vf a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        const vf c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm512_shuffle_ps(a, c, 0xEE);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm512_shuffle_ps(b, d, 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        const vf a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x44), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xEE);
        const vf c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x44), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xEE);
        v[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(a, c, 0xDD);
        v[i + 8] = _mm512_shuffle_f32x4(b, d, 0x88);
        v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
}

#endif
