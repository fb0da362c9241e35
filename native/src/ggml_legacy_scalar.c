/* ggml's types with blocks of 32: q8_0, q4_0, q4_1, q5_0, q5_1. Scalar: the reference for every other instruction set. */
#include "ggml_blocks.h"
#include "ggml_search.h"

/* (int)v, but 0 where C leaves the conversion undefined: for NaN and infinity, which also come of weights so small that
 * the inverse of their scale overflows. x86 gives a number whose low byte is 0, so that the codes are ggml's here too. */
static int32_t truncate(float v) { return fabsf(v) < 2147483648.0f ? (int32_t)v : 0; }

/* (int)roundf(v), half away from zero, with the same rule. The fraction is exact: 0.49999997 does not become 1, as it
 * would by adding 0.5. */
static int32_t round_away(float v) {
    const int32_t whole = truncate(v);
    const float rest = v - (float)whole;
    return fabsf(v) < 2147483648.0f ? whole + (rest >= 0.5f) - (rest <= -0.5f) : 0;
}

static float inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

/* The signed value of the largest magnitude; the first one on a tie. */
static float find_peak(const float *x) {
    float largest = 0.0f, peak = 0.0f;
    for (int i = 0; i < QK; i++) {
        const float magnitude = fabsf(x[i]);
        if (largest < magnitude) {
            largest = magnitude;
            peak = x[i];
        }
    }
    return peak;
}

static void find_range(const float *x, float *lo, float *hi) {
    *lo = FLT_MAX;
    *hi = -FLT_MAX;
    for (int i = 0; i < QK; i++) {
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
}

/* Codes L (32,): i and i + 16 share a byte. */
static void pack_nibbles(const uint8_t *L, uint8_t *qs) {
    for (int i = 0; i < 16; i++) {
        qs[i] = (uint8_t)((L[i] & 15) | (L[i + 16] & 15) << 4);
    }
}

static void pack_fifth_bits(const uint8_t *L, uint8_t *qh) {
    uint32_t bits = 0;
    for (int i = 0; i < QK; i++) {
        bits |= (uint32_t)(L[i] >> 4 & 1) << i;
    }
    store_u32(qh, bits);
}

/* ---------------------------------------------------------------- q8_0: the only one that importance does not touch */

static void hub_quantize_q8_0_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    (void)importance;
    block_q8_0 *block = y;
    const float *const end = x + nrows * n_per_row;
    for (; x < end; x += QK, block++) {
        float largest = 0.0f;
        for (int i = 0; i < QK; i++) {
            const float magnitude = fabsf(x[i]);
            largest = largest > magnitude ? largest : magnitude;
        }
        const float d = largest / 127.0f;
        const float id = inverse(d);
        store_f16(block->d, d);
        for (int i = 0; i < QK; i++) {
            block->qs[i] = (int8_t)round_away(x[i] * id);
        }
    }
}

static void hub_dequantize_q8_0_scalar(const void *y, float *x, int64_t n) {
    const block_q8_0 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        for (int i = 0; i < QK; i++) {
            x[i] = (float)block->qs[i] * d;
        }
    }
}

/* ---------------------------------------------------------------- codes of one block: plain, or by a search */

/* The largest weight gets code 0 exactly, and the scale its opposite sign. */
static float codes_symmetric(int h, const float *x, uint8_t *L) {
    const float d = find_peak(x) / (float)-h;
    const float id = inverse(d);
    for (int i = 0; i < QK; i++) {
        const int32_t q = (int8_t)truncate(x[i] * id + ((float)h + 0.5f));
        L[i] = (uint8_t)(q < 2 * h - 1 ? q : 2 * h - 1);
    }
    return d;
}

static float codes_asymmetric(int top, const float *x, uint8_t *L, float *min) {
    float hi;
    find_range(x, min, &hi);
    const float d = (hi - *min) / (float)top;
    const float id = inverse(d);
    for (int i = 0; i < QK; i++) {
        const int32_t q = (int8_t)truncate((x[i] - *min) * id + 0.5f);
        L[i] = (uint8_t)(q < top ? q : top);
    }
    return d;
}

/* sigma2 is the mean square of the whole row: the one place where a block of these types sees its neighbours. */
static float mean_square(const float *row, int64_t n_per_row) {
    return sum_of_squares(row, n_per_row) / (float)n_per_row;
}

static float codes_symmetric_weighted(int h, const float *x, const float *importance, float sigma2, uint8_t *L) {
    float w[QK];
    importance_weights(QK, x, importance, sigma2, w);
    return search_symmetric(QK, h, x, w, L);
}

static float codes_asymmetric_weighted(int top, const float *x, const float *importance, float sigma2, uint8_t *L,
                                       float *min) {
    float w[QK], the_min;
    importance_weights(QK, x, importance, sigma2, w);
    const float d = search_asymmetric(QK, top, x, w, (grid){-0.9f, 0.05f, 36, false}, L, &the_min);
    *min = -the_min;
    return d;
}

/* ---------------------------------------------------------------- q4_0, q5_0 */

static void hub_quantize_q4_0_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q4_0 *block = y;
    uint8_t L[QK];
    for (int64_t row = 0; row < nrows; row++, x += n_per_row) {
        const float sigma2 = importance ? mean_square(x, n_per_row) : 0.0f;
        for (int64_t i = 0; i < n_per_row; i += QK, block++) {
            const float d = importance ? codes_symmetric_weighted(8, x + i, importance + i, sigma2, L)
                                       : codes_symmetric(8, x + i, L);
            store_f16(block->d, d);
            pack_nibbles(L, block->qs);
        }
    }
}

static void hub_quantize_q5_0_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q5_0 *block = y;
    uint8_t L[QK];
    for (int64_t row = 0; row < nrows; row++, x += n_per_row) {
        const float sigma2 = importance ? mean_square(x, n_per_row) : 0.0f;
        for (int64_t i = 0; i < n_per_row; i += QK, block++) {
            const float d = importance ? codes_symmetric_weighted(16, x + i, importance + i, sigma2, L)
                                       : codes_symmetric(16, x + i, L);
            store_f16(block->d, d);
            pack_nibbles(L, block->qs);
            pack_fifth_bits(L, block->qh);
        }
    }
}

static void hub_dequantize_q4_0_scalar(const void *y, float *x, int64_t n) {
    const block_q4_0 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        for (int i = 0; i < 16; i++) {
            x[i] = (float)((block->qs[i] & 15) - 8) * d;
            x[i + 16] = (float)((block->qs[i] >> 4) - 8) * d;
        }
    }
}

static void hub_dequantize_q5_0_scalar(const void *y, float *x, int64_t n) {
    const block_q5_0 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        const uint32_t qh = load_u32(block->qh);
        for (int i = 0; i < 16; i++) {
            x[i] = (float)((int32_t)((block->qs[i] & 15) | (qh >> i & 1) << 4) - 16) * d;
            x[i + 16] = (float)((int32_t)(block->qs[i] >> 4 | (qh >> (i + 16) & 1) << 4) - 16) * d;
        }
    }
}

/* ---------------------------------------------------------------- q4_1, q5_1 */

static void hub_quantize_q4_1_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q4_1 *block = y;
    uint8_t L[QK];
    float min;
    for (int64_t row = 0; row < nrows; row++, x += n_per_row) {
        const float sigma2 = importance ? mean_square(x, n_per_row) : 0.0f;
        for (int64_t i = 0; i < n_per_row; i += QK, block++) {
            const float d = importance ? codes_asymmetric_weighted(15, x + i, importance + i, sigma2, L, &min)
                                       : codes_asymmetric(15, x + i, L, &min);
            store_f16(block->d, d);
            store_f16(block->m, min);
            pack_nibbles(L, block->qs);
        }
    }
}

static void hub_quantize_q5_1_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q5_1 *block = y;
    uint8_t L[QK];
    float min;
    for (int64_t row = 0; row < nrows; row++, x += n_per_row) {
        const float sigma2 = importance ? mean_square(x, n_per_row) : 0.0f;
        for (int64_t i = 0; i < n_per_row; i += QK, block++) {
            const float d = importance ? codes_asymmetric_weighted(31, x + i, importance + i, sigma2, L, &min)
                                       : codes_asymmetric(31, x + i, L, &min);
            store_f16(block->d, d);
            store_f16(block->m, min);
            pack_nibbles(L, block->qs);
            pack_fifth_bits(L, block->qh);
        }
    }
}

static void hub_dequantize_q4_1_scalar(const void *y, float *x, int64_t n) {
    const block_q4_1 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        const float m = load_f16(block->m);
        for (int i = 0; i < 16; i++) {
            x[i] = (float)(block->qs[i] & 15) * d + m;
            x[i + 16] = (float)(block->qs[i] >> 4) * d + m;
        }
    }
}

static void hub_dequantize_q5_1_scalar(const void *y, float *x, int64_t n) {
    const block_q5_1 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        const float m = load_f16(block->m);
        const uint32_t qh = load_u32(block->qh);
        for (int i = 0; i < 16; i++) {
            x[i] = (float)(int32_t)((block->qs[i] & 15) | (qh >> i & 1) << 4) * d + m;
            x[i + 16] = (float)(int32_t)(block->qs[i] >> 4 | (qh >> (i + 16) & 1) << 4) * d + m;
        }
    }
}

extern const hub_kernels hub_ggml_legacy_scalar;
const hub_kernels hub_ggml_legacy_scalar = {
    .quantize = {
        [HUB_Q8_0] = hub_quantize_q8_0_scalar,
        [HUB_Q4_0] = hub_quantize_q4_0_scalar,
        [HUB_Q4_1] = hub_quantize_q4_1_scalar,
        [HUB_Q5_0] = hub_quantize_q5_0_scalar,
        [HUB_Q5_1] = hub_quantize_q5_1_scalar,
    },
    .dequantize = {
        [HUB_Q8_0] = hub_dequantize_q8_0_scalar,
        [HUB_Q4_0] = hub_dequantize_q4_0_scalar,
        [HUB_Q4_1] = hub_dequantize_q4_1_scalar,
        [HUB_Q5_0] = hub_dequantize_q5_0_scalar,
        [HUB_Q5_1] = hub_dequantize_q5_1_scalar,
    },
};
