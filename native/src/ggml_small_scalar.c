/* Decoding of ggml's 4-bit floats (mxfp4, nvfp4), ternary weights (tq1_0, tq2_0) and weights of 1 and 2 bits. */
#include "ggml_blocks.h"
#include "ggml_values.h"

/* ---------------------------------------------------------------- 4-bit floats */

static void hub_dequantize_mxfp4_scalar(const void *y, float *x, int64_t n) {
    const block_mxfp4 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = half_e8m0(block->e);
        for (int i = 0; i < 16; i++) {
            x[i] = (float)values_fp4[block->qs[i] & 15] * d;
            x[i + 16] = (float)values_fp4[block->qs[i] >> 4] * d;
        }
    }
}

static void hub_dequantize_nvfp4_scalar(const void *y, float *x, int64_t n) {
    const block_nvfp4 *block = y;
    for (float *const end = x + n; x < end; block++) {
        for (int s = 0; s < 4; s++, x += 16) {
            const float d = half_ue4m3(block->d[s]);
            for (int i = 0; i < 8; i++) {
                x[i] = (float)values_fp4[block->qs[8 * s + i] & 15] * d;
                x[i + 8] = (float)values_fp4[block->qs[8 * s + i] >> 4] * d;
            }
        }
    }
}

/* ---------------------------------------------------------------- ternary */

/* Digit `n` of `count` bytes each: a byte times 3^n without what overflows is the fraction whose first digit is wanted. */
static float *digits(const uint8_t *bytes, int count, int each, float d, float *x) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    for (int n = 0; n < each; n++) {
        for (int i = 0; i < count; i++) {
            const int digit = (uint8_t)(bytes[i] * powers[n]) * 3 >> 8;
            *x++ = (float)(digit - 1) * d;
        }
    }
    return x;
}

static void hub_dequantize_tq1_0_scalar(const void *y, float *x, int64_t n) {
    const block_tq1_0 *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        x = digits(block->qs, 32, 5, d, x);
        x = digits(block->qs + 32, 16, 5, d, x);
        x = digits(block->qh, 4, 4, d, x);
    }
}

static void hub_dequantize_tq2_0_scalar(const void *y, float *x, int64_t n) {
    const block_tq2_0 *block = y;
    for (float *const end = x + n; x < end; x += QK_K, block++) {
        const float d = load_f16(block->d);
        for (int i = 0; i < QK_K; i++) {
            x[i] = (float)((block->qs[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3) - 1) * d;
        }
    }
}

/* ---------------------------------------------------------------- 1 and 2 bits */

static void hub_dequantize_q1_0_scalar(const void *y, float *x, int64_t n) {
    const block_q1_0 *block = y;
    for (float *const end = x + n; x < end; x += QK1_0, block++) {
        const float d = load_f16(block->d);
        for (int i = 0; i < QK1_0; i++) {
            x[i] = block->qs[i / 8] >> i % 8 & 1 ? d : -d;
        }
    }
}

static void hub_dequantize_q2_0_scalar(const void *y, float *x, int64_t n) {
    const block_q2_0 *block = y;
    for (float *const end = x + n; x < end; x += QK2_0, block++) {
        const float d = load_f16(block->d);
        for (int i = 0; i < QK2_0; i++) {
            x[i] = (float)((block->qs[i / 4] >> 2 * (i % 4) & 3) - 1) * d;
        }
    }
}

extern const hub_kernels hub_ggml_small_scalar;
const hub_kernels hub_ggml_small_scalar = {
    .dequantize = {
        [HUB_MXFP4] = hub_dequantize_mxfp4_scalar,
        [HUB_NVFP4] = hub_dequantize_nvfp4_scalar,
        [HUB_TQ1_0] = hub_dequantize_tq1_0_scalar,
        [HUB_TQ2_0] = hub_dequantize_tq2_0_scalar,
        [HUB_Q1_0] = hub_dequantize_q1_0_scalar,
        [HUB_Q2_0] = hub_dequantize_q2_0_scalar,
    },
};
