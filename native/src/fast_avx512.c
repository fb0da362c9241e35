/* The float products with AVX-512: 32 rows by 12 tokens in registers. */
#include "fast_prepare.h"

#include "fast_lanes_avx512.h"

#define FLOAT_AT_ONCE 12

HUB_INLINE vf splat_place(const uint8_t *x) { return _mm512_castsi512_ps(splat_bits(x)); }
HUB_INLINE vf step(vf w, vf x, vf acc) { return fused(w, x, acc); }

#include "fast_float.h"

HUB_INLINE vi read_f32(const uint8_t *p) { return load_int(p); }
HUB_INLINE vi read_f16(const uint8_t *p) {
    return _mm512_castps_si512(_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)));
}

static void hub_fast_f32_avx512(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    float_linear(read_f32, step, 4, 1, weights, rows, x, out, stride, scratch);
}

static void hub_fast_f16_avx512(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    float_linear(read_f16, step, 2, 1, weights, rows, x, out, stride, scratch);
}

FAST_PREPARE(avx512)

extern const hub_kernels hub_fast_avx512;
const hub_kernels hub_fast_avx512 = {
    .fast_prepare = {FAST_PREPARE_SLOTS(avx512)},
    .fast_linear = {[HUB_F32] = hub_fast_f32_avx512, [HUB_F16] = hub_fast_f16_avx512},
};
