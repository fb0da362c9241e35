/* The products of `fast` mode, one row and one token at a time. Scalar: the reference for every other instruction set. */
#include "fast_prepare.h"
#include "fast_unpack.h"

/* ---------------------------------------------------------------- integer products */

HUB_INLINE void integer_linear(int block, int group, bool offsets, fast_unpack_fn *unpack, int bytes,
                               const uint8_t *weights, int64_t rows, const hub_fast_input *x, float *out,
                               int64_t stride) {
    int8_t codes[QK_K];
    float scale[16], offset[16];
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < x->cols; k += block, weights += bytes) {
            unpack(weights, codes, scale, offset);
            for (int64_t t = 0; t < x->tokens; t++) {
                const int64_t start = t - t % FAST_TOKENS, n = batch_width(x->tokens, t), j = t - start;
                const uint8_t *fours = (const uint8_t *)x->codes + start * x->cols + k * n + 4 * j;
                const float *sums = fast_sums(x, group) + start * (x->cols / group) + k / group * n + j;
                float s = 0.0f;
                for (int g = 0; g < block / group; g++) {
                    int32_t dot = 0;
                    for (int i = g * group; i < (g + 1) * group; i++) {
                        dot += codes[i] * (fours[i / 4 * 4 * n + i % 4] - 128);
                    }
                    s = fmaf((float)dot, scale[g], s);
                    if (offsets) {
                        s = fmaf(sums[g * n], offset[g], s);
                    }
                }
                float *y = out + t * stride + r;
                *y = fmaf(s, x->scales[start * (x->cols / block) + k / block * n + j], k ? *y : 0.0f);
            }
        }
    }
}

#define FAST_LINEAR(index, type, block, group, offsets, wide)                                                               \
    static void hub_fast_##type##_scalar(const void *weights, int64_t rows, const hub_fast_input *x, float *out,      \
                                         int64_t stride, void *scratch) {                                             \
        (void)scratch;                                                                                                \
        integer_linear(block, group, offsets, fast_unpack_##type, sizeof(block_##type), weights, rows, x, out, stride); \
    }
FAST_INTEGER_TYPES(FAST_LINEAR)

/* ---------------------------------------------------------------- float products */

static float wide_f32(const uint8_t *w, int64_t k) { return bits_float(load_u32(w + 4 * k)); }
static float wide_f16(const uint8_t *w, int64_t k) { return load_f16(w + 2 * k); }
static float wide_bf16(const uint8_t *w, int64_t k) { return bits_float((uint32_t)load_u16(w + 2 * k) << 16); }

HUB_INLINE float plain(const hub_fast_input *x, int64_t start, int64_t n, int64_t j, int64_t k) {
    return ((const float *)x->codes)[start * x->cols + k * n + j];
}

HUB_INLINE float rounded(const hub_fast_input *x, int64_t start, int64_t n, int64_t j, int64_t k) {
    const uint32_t pair = ((const uint32_t *)x->codes)[start * ((x->cols + 1) / 2) + k / 2 * n + j];
    return bits_float(k % 2 ? pair & 0xFFFF0000 : pair << 16);
}

HUB_INLINE void float_linear(float (*wide)(const uint8_t *, int64_t), int bytes,
                             float (*at)(const hub_fast_input *, int64_t, int64_t, int64_t, int64_t),
                             const uint8_t *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride) {
    for (int64_t r = 0; r < rows; r++, weights += x->cols * bytes) {
        for (int64_t t = 0; t < x->tokens; t++) {
            const int64_t start = t - t % FAST_TOKENS, n = batch_width(x->tokens, t), j = t - start;
            float y = 0.0f;
            for (int64_t k = 0; k < x->cols; k++) {
                y = fmaf(wide(weights, k), at(x, start, n, j, k), y);
            }
            out[t * stride + r] = y;
        }
    }
}

static void hub_fast_f32_scalar(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    (void)scratch;
    float_linear(wide_f32, 4, plain, weights, rows, x, out, stride);
}

static void hub_fast_f16_scalar(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    (void)scratch;
    float_linear(wide_f16, 2, plain, weights, rows, x, out, stride);
}

static void hub_fast_bf16_scalar(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    (void)scratch;
    float_linear(wide_bf16, 2, rounded, weights, rows, x, out, stride);
}

FAST_PREPARE(scalar)

#define FAST_SLOT(index, type, block, group, offsets, wide) [index] = hub_fast_##type##_scalar,

extern const hub_kernels hub_fast_scalar;
const hub_kernels hub_fast_scalar = {
    .fast_prepare = {FAST_PREPARE_SLOTS(scalar)},
    .fast_linear = {
        FAST_INTEGER_TYPES(FAST_SLOT)
        [HUB_F32] = hub_fast_f32_scalar,
        [HUB_F16] = hub_fast_f16_scalar,
        [HUB_BF16] = hub_fast_bf16_scalar,
    },
};
