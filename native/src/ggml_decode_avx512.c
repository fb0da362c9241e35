/* Dequantizing ggml's types with AVX-512. */
#include <immintrin.h>

#include "ggml_search.h"

#define HUB_ISA_SUFFIX avx512

HUB_INLINE __m512 products(__m128i codes, float step) {
    return _mm512_mul_ps(_mm512_set1_ps(step), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)));
}

HUB_INLINE void store_product(float *x, __m128i codes, float step) { _mm512_storeu_ps(x, products(codes, step)); }

HUB_INLINE void store_less(float *x, __m128i codes, float step, float min) {
    _mm512_storeu_ps(x, _mm512_sub_ps(products(codes, step), _mm512_set1_ps(min)));
}

HUB_INLINE void store_more(float *x, __m128i codes, float step, float min) {
    _mm512_storeu_ps(x, _mm512_add_ps(products(codes, step), _mm512_set1_ps(min)));
}

HUB_INLINE void store_halves(float *x, __m128i halves) {
    _mm256_storeu_ps(x, _mm512_castps512_ps256(_mm512_cvtph_ps(_mm256_castsi128_si256(halves))));
}

#include "ggml_decode_x86.h"
