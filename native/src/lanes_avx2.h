/* lanes_avx2.h - AVX2: eight lanes. What the names mean is in lanes.h. */
#ifndef HUB_LANES_AVX2_H
#define HUB_LANES_AVX2_H

#include <immintrin.h>

#include "ggml_search.h"

enum { LANES = 8 };
#define HUB_ISA_SUFFIX avx2

typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));
typedef __m256 vmask; /* all bits of a lane, or none */

HUB_INLINE vf splat(float a) { return _mm256_set1_ps(a); }
HUB_INLINE vf load(const float *p) { return _mm256_loadu_ps(p); }
HUB_INLINE void store(float *p, vf v) { _mm256_storeu_ps(p, v); }
HUB_INLINE void store_int(uint32_t *p, vi v) { _mm256_storeu_si256((__m256i *)(void *)p, (__m256i)v); }

/* Packing works on halves: four bytes of each vector come into each. */
HUB_INLINE void store_bytes(uint8_t *p, vi v) {
    const __m256i twos = _mm256_packus_epi32((__m256i)v, (__m256i)v), ones = _mm256_packus_epi16(twos, twos);
    _mm_storel_epi64((__m128i *)(void *)p, _mm_unpacklo_epi32(_mm256_castsi256_si128(ones), _mm256_extracti128_si256(ones, 1)));
}
HUB_INLINE void store_32_bytes(uint8_t *p, const vi *v) {
    const __m256i a = _mm256_packus_epi32((__m256i)v[0], (__m256i)v[1]);
    const __m256i b = _mm256_packus_epi32((__m256i)v[2], (__m256i)v[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
}

HUB_INLINE vf smaller(vf a, vf b) { return _mm256_min_ps(a, b); }
HUB_INLINE vf larger(vf a, vf b) { return _mm256_max_ps(a, b); }
HUB_INLINE vi smaller_int(vi a, int32_t b) { return (vi)_mm256_min_epi32((__m256i)a, _mm256_set1_epi32(b)); }
HUB_INLINE vi larger_int(vi a, int32_t b) { return (vi)_mm256_max_epi32((__m256i)a, _mm256_set1_epi32(b)); }
HUB_INLINE vf magnitude(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
HUB_INLINE vi truncated(vf a) { return (vi)_mm256_cvttps_epi32(a); }
HUB_INLINE vf rounded(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
HUB_INLINE vi rounded_int(vf a) { return (vi)_mm256_cvtps_epi32(a); }
HUB_INLINE vf square_root(vf a) { return _mm256_sqrt_ps(a); }

HUB_INLINE vmask is_less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
HUB_INLINE vmask is_at_most(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
HUB_INLINE vmask is_equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
HUB_INLINE vmask is_other(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
HUB_INLINE vmask both(vmask m, vmask n) { return _mm256_and_ps(m, n); }
HUB_INLINE bool any(vmask m) { return _mm256_movemask_ps(m) != 0; }
HUB_INLINE bool all(vmask m) { return _mm256_movemask_ps(m) == 0xFF; }
HUB_INLINE vf choose(vmask m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
HUB_INLINE vi choose_int(vmask m, vi a, vi b) { return (vi)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m); }

/* Eight rows of two halves of four: the fours are transposed in place, then the halves. */
HUB_INLINE void transpose(vf *v) {
    vf t[8];
    for (int i = 0; i < 8; i += 4) {
        const vf a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
        const vf c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

#endif
