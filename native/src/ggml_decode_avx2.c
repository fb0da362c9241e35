/* Dequantizing ggml's types with AVX2. */
#include <immintrin.h>

#include "ggml_search.h"

#define HUB_ISA_SUFFIX avx2

HUB_INLINE __m256 eight_floats(__m128i codes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)); }

HUB_INLINE void store_product(float *x, __m128i codes, float step) {
    const __m256 by = _mm256_set1_ps(step);
    _mm256_storeu_ps(x, _mm256_mul_ps(by, eight_floats(codes)));
    _mm256_storeu_ps(x + 8, _mm256_mul_ps(by, eight_floats(_mm_srli_si128(codes, 8))));
}

HUB_INLINE void store_less(float *x, __m128i codes, float step, float min) {
    const __m256 by = _mm256_set1_ps(step), less = _mm256_set1_ps(min);
    _mm256_storeu_ps(x, _mm256_sub_ps(_mm256_mul_ps(by, eight_floats(codes)), less));
    _mm256_storeu_ps(x + 8, _mm256_sub_ps(_mm256_mul_ps(by, eight_floats(_mm_srli_si128(codes, 8))), less));
}

HUB_INLINE void store_more(float *x, __m128i codes, float step, float min) {
    const __m256 by = _mm256_set1_ps(step), more = _mm256_set1_ps(min);
    _mm256_storeu_ps(x, _mm256_add_ps(_mm256_mul_ps(by, eight_floats(codes)), more));
    _mm256_storeu_ps(x + 8, _mm256_add_ps(_mm256_mul_ps(by, eight_floats(_mm_srli_si128(codes, 8))), more));
}

/* By integers, because AVX2 does not promise F16C. */
HUB_INLINE void store_halves(float *x, __m128i halves) {
    const __m256i h = _mm256_cvtepu16_epi32(halves);
    const __m256i magnitude = _mm256_and_si256(h, _mm256_set1_epi32(0x7FFF));
    const __m256i sign = _mm256_slli_epi32(_mm256_xor_si256(h, magnitude), 16);
    const __m256i wide = _mm256_slli_epi32(magnitude, 13);
    const __m256 small = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), _mm256_set1_ps(0x1p-24f));
    const __m256i usual = _mm256_add_epi32(wide, _mm256_set1_epi32(0x38000000));
    const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7C00));
    const __m256i special = _mm256_or_si256(_mm256_or_si256(wide, _mm256_set1_epi32(0x7F800000)),
                                            _mm256_and_si256(is_nan, _mm256_set1_epi32(0x00400000)));
    const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x0400), magnitude);
    const __m256i is_special = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7BFF));
    const __m256i finite = _mm256_blendv_epi8(usual, _mm256_castps_si256(small), is_small);
    const __m256i bits = _mm256_or_si256(sign, _mm256_blendv_epi8(finite, special, is_special));
    _mm256_storeu_ps(x, _mm256_castsi256_ps(bits));
}

#include "ggml_decode_x86.h"
