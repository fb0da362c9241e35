/* The product with bf16 weights on CPUs that multiply pairs of bf16: 32 rows by 12 tokens in registers. */
#include <string.h>

#include "ggml_search.h"

#include "fast_lanes_avx512.h"

#define FLOAT_AT_ONCE 12

HUB_INLINE vf splat_place(const uint8_t *x) { return _mm512_castsi512_ps(splat_bits(x)); }
HUB_INLINE vf step(vf w, vf x, vf acc) {
    return _mm512_dpbf16_ps(acc, (__m512bh)_mm512_castps_si512(w), (__m512bh)_mm512_castps_si512(x));
}

#include "fast_float.h"

HUB_INLINE vi read_pairs(const uint8_t *p) { return load_int(p); }

static void hub_fast_bf16_avx512bf16(const void *weights, int64_t rows, const hub_fast_input *x, float *out,
                                     int64_t stride, void *scratch) {
    float_linear(read_pairs, step, 2, 2, weights, rows, x, out, stride, scratch);
}

extern const hub_kernels hub_fast_avx512bf16;
const hub_kernels hub_fast_avx512bf16 = {.fast_linear = {[HUB_BF16] = hub_fast_bf16_avx512bf16}};
