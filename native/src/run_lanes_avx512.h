/* run_lanes_avx512.h - AVX-512: sixteen lanes. What the names mean is in run_dot.h. */
#ifndef HUB_RUN_LANES_AVX512_H
#define HUB_RUN_LANES_AVX512_H

#include <immintrin.h>

#include "run_math.h"

#define HUB_RUN_SUFFIX avx512
enum { WIDTH = 16, TILE_TOKENS = 6, WEIGHTED_VECTORS = 4 };

typedef __m512 vec;

HUB_INLINE vec vec_splat(float a) { return _mm512_set1_ps(a); }
HUB_INLINE vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
HUB_INLINE void vec_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
HUB_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
HUB_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

HUB_INLINE __m128 join_to_four(const float *parts) {
    const __m256 s = _mm256_add_ps(_mm256_loadu_ps(parts), _mm256_loadu_ps(parts + 8));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

#include "run_join_x86.h"

#endif
