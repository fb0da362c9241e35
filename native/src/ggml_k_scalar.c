/* ggml's K types: super-blocks of 256 weights, cut into sub-blocks of 16 or 32 whose scales (and mins) are codes
 * themselves. Scalar: the reference for every other instruction set.
 *
 * All five follow one plan:
 *   1. search scale (and min) of every sub-block, by itself
 *   2. quantize those scales (and mins) with one f16 number d (and dmin) for the super-block
 *   3. round the weights again, now with what the decoder will multiply by; a sub-block whose step has become 0 keeps
 *      the codes of its search
 *   4. pack
 * Importance changes the weights of step 1, and step 2 into a weighted search.
 */
#include "ggml_blocks.h"
#include "ggml_search.h"
#include "ggml_k_pack.h"
#include "ggml_k_scales.h"

/* ---------------------------------------------------------------- step 3 */

/* x (n,) ~ step * L - min */
static void round_again(int n, const float *x, float step, float min, int top, uint8_t *L) {
    if (step == 0.0f) {
        return;
    }
    for (int i = 0; i < n; i++) {
        L[i] = (uint8_t)clamp(nearest((x[i] + min) / step), 0, top);
    }
}

/* x (n,) ~ step * (L - h) */
static void round_again_symmetric(int n, const float *x, float step, int h, uint8_t *L) {
    if (step == 0.0f) {
        return;
    }
    for (int i = 0; i < n; i++) {
        L[i] = (uint8_t)(clamp(nearest(x[i] / step), -h, h - 1) + h);
    }
}

/* ---------------------------------------------------------------- steps 1 and 2 where there are mins: q2_k, q4_k, q5_k */

typedef struct sub_blocks {
    float scales[16], mins[16]; /* found per sub-block, min >= 0: x ~ scale * L - min */
    float total[16];            /* sum of the weights of each */
    uint8_t ls[16], lm[16];     /* their codes */
} sub_blocks;

static float sum(int n, const float *w) {
    float total = 0.0f;
    for (int i = 0; i < n; i++) {
        total += w[i];
    }
    return total;
}

/* ---------------------------------------------------------------- q2_k: 16 sub-blocks of 16, 4-bit scales and mins */

static void search_q2_k(const float *x, uint8_t *L, sub_blocks *s, float *d, float *dmin) {
    float w[16];
    for (int j = 0; j < 16; j++) {
        const float *xj = x + 16 * j;
        for (int i = 0; i < 16; i++) {
            w[i] = fabsf(xj[i]);
        }
        s->scales[j] = search_asymmetric(16, 3, xj, w, (grid){-0.5f, 0.1f, 15, true}, L + 16 * j, &s->mins[j]);
    }
    *d = codes_of_positive(16, 15, s->scales, s->ls);
    *dmin = codes_of_positive(16, 15, s->mins, s->lm);
}

static void search_q2_k_weighted(const float *x, const float *importance, uint8_t *L, sub_blocks *s, float *d,
                                 float *dmin) {
    const float sigma2 = sum_of_squares(x, QK_K) / (float)QK_K;
    float w[16];
    for (int j = 0; j < 16; j++) {
        const float *xj = x + 16 * j;
        importance_weights(16, xj, importance + 16 * j, sigma2, w);
        s->total[j] = sum(16, w);
        s->scales[j] = search_asymmetric(16, 3, xj, w, (grid){-0.9f, 0.05f, 36, false}, L + 16 * j, &s->mins[j]);
    }
    *d = search_positive(16, 15, s->scales, s->total, s->ls);
    *dmin = search_positive(16, 15, s->mins, s->total, s->lm);
}

static void hub_quantize_q2_k_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q2_k *block = y;
    uint8_t L[QK_K];
    sub_blocks s;
    float d, dmin;
    for (int64_t row = 0; row < nrows; row++) {
        for (int64_t at = 0; at < n_per_row; at += QK_K, x += QK_K, block++) {
            if (importance) {
                search_q2_k_weighted(x, importance + at, L, &s, &d, &dmin);
            } else {
                search_q2_k(x, L, &s, &d, &dmin);
            }
            store_f16(block->d, d);
            store_f16(block->dmin, dmin);
            d = load_f16(block->d);
            dmin = load_f16(block->dmin);
            for (int j = 0; j < 16; j++) {
                block->scales[j] = (uint8_t)(s.ls[j] | s.lm[j] << 4);
                const float step = d * (float)(block->scales[j] & 15);
                const float min = dmin * (float)(block->scales[j] >> 4);
                round_again(16, x + 16 * j, step, min, 3, L + 16 * j);
            }
            pack_two_bits(L, block->qs);
        }
    }
}

static void hub_dequantize_q2_k_scalar(const void *y, float *x, int64_t n) {
    const block_q2_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const float dmin = load_f16(block->dmin);
        for (int j = 0; j < 16; j++, x += 16) {
            const uint8_t *qs = block->qs + 32 * (j / 8) + 16 * (j % 2);
            const int shift = 2 * (j / 2 % 4);
            const float step = d * (float)(block->scales[j] & 15);
            const float min = dmin * (float)(block->scales[j] >> 4);
            for (int i = 0; i < 16; i++) {
                x[i] = step * (float)(qs[i] >> shift & 3) - min;
            }
        }
    }
}

/* ---------------------------------------------------------------- q3_k: 16 sub-blocks of 16, 6-bit signed scales */

static void search_q3_k(const float *x, uint8_t *L, uint8_t *ls, float *d) {
    float scales[16];
    for (int j = 0; j < 16; j++) {
        scales[j] = search_symmetric_greedy(16, 4, x + 16 * j, L + 16 * j);
    }
    *d = codes_of_q3(scales, ls);
}

static void search_q3_k_weighted(const float *x, const float *importance, uint8_t *L, uint8_t *ls, float *d) {
    const float sigma2 = 2.0f * sum_of_squares(x, QK_K) / (float)QK_K;
    float scales[16], total[16], w[16];
    for (int j = 0; j < 16; j++) {
        const float *xj = x + 16 * j;
        importance_weights(16, xj, importance + 16 * j, sigma2, w);
        total[j] = sum(16, w);
        scales[j] = search_symmetric(16, 4, xj, w, L + 16 * j);
    }
    *d = search_symmetric(16, 32, scales, total, ls);
}

static void hub_quantize_q3_k_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q3_k *block = y;
    uint8_t L[QK_K], ls[16];
    float d;
    for (int64_t row = 0; row < nrows; row++) {
        for (int64_t at = 0; at < n_per_row; at += QK_K, x += QK_K, block++) {
            if (importance) {
                search_q3_k_weighted(x, importance + at, L, ls, &d);
            } else {
                search_q3_k(x, L, ls, &d);
            }
            store_f16(block->d, d);
            d = load_f16(block->d);
            pack_scales_q3(ls, block->scales);
            for (int j = 0; j < 16; j++) {
                round_again_symmetric(16, x + 16 * j, d * (float)((int32_t)ls[j] - 32), 4, L + 16 * j);
            }
            pack_one_bit(L, 2, block->hmask);
            for (int i = 0; i < QK_K; i++) {
                L[i] &= 3;
            }
            pack_two_bits(L, block->qs);
        }
    }
}

static void hub_dequantize_q3_k_scalar(const void *y, float *x, int64_t n) {
    const block_q3_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int j = 0; j < 16; j++, x += 16) {
            const uint8_t *qs = block->qs + 32 * (j / 8) + 16 * (j % 2);
            const uint8_t *hmask = block->hmask + 16 * (j % 2);
            const int shift = 2 * (j / 2 % 4), bit = j / 2;
            const float step = d * (float)unpack_scale_q3(j, block->scales);
            for (int i = 0; i < 16; i++) {
                x[i] = step * (float)((qs[i] >> shift & 3) + (hmask[i] >> bit & 1) * 4 - 4);
            }
        }
    }
}

/* ---------------------------------------------------------------- q4_k, q5_k: 8 sub-blocks of 32, 6-bit scales and mins */

HUB_INLINE void search_q45_k(const float *x, int top, grid g, uint8_t *L, sub_blocks *s, float *d, float *dmin) {
    float w[32];
    for (int j = 0; j < 8; j++) {
        const float *xj = x + 32 * j;
        const float typical = sqrtf(sum_of_squares(xj, 32) / 32.0f);
        for (int i = 0; i < 32; i++) {
            w[i] = typical + fabsf(xj[i]);
        }
        s->scales[j] = search_asymmetric(32, top, xj, w, g, L + 32 * j, &s->mins[j]);
    }
    *d = codes_of_positive(8, 63, s->scales, s->ls);
    *dmin = codes_of_positive(8, 63, s->mins, s->lm);
    cap(8, 63, s->ls);
    cap(8, 63, s->lm);
}

HUB_INLINE void search_q45_k_weighted(const float *x, const float *importance, int top, uint8_t *L, sub_blocks *s,
                                      float *d, float *dmin) {
    const float sigma2 = 2.0f * sum_of_squares(x, QK_K) / (float)QK_K;
    float w[32];
    for (int j = 0; j < 8; j++) {
        const float *xj = x + 32 * j;
        importance_weights(32, xj, importance + 32 * j, sigma2, w);
        s->total[j] = sum(32, w);
        s->scales[j] = search_asymmetric(32, top, xj, w, (grid){-0.9f, 0.05f, 36, false}, L + 32 * j, &s->mins[j]);
    }
    *d = search_positive(8, 63, s->scales, s->total, s->ls);
    *dmin = search_positive(8, 63, s->mins, s->total, s->lm);
}

/* Steps 2 (packing) and 3, the same for both types. scales (12,), d and dmin (2,) lie in the block. */
HUB_INLINE void finish_q45_k(const float *x, int top, const sub_blocks *s, float d, float dmin, uint8_t *L,
                             uint8_t *block_d, uint8_t *block_dmin, uint8_t *scales) {
    store_f16(block_d, d);
    store_f16(block_dmin, dmin);
    for (int j = 0; j < 8; j++) {
        pack_scale_min(j, s->ls[j], s->lm[j], scales);
    }
    d = load_f16(block_d);
    dmin = load_f16(block_dmin);
    for (int j = 0; j < 8; j++) {
        int32_t scale, min;
        unpack_scale_min(j, scales, &scale, &min);
        round_again(32, x + 32 * j, d * (float)scale, dmin * (float)min, top, L + 32 * j);
    }
}

static void hub_quantize_q4_k_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q4_k *block = y;
    uint8_t L[QK_K];
    sub_blocks s;
    float d, dmin;
    for (int64_t row = 0; row < nrows; row++) {
        for (int64_t at = 0; at < n_per_row; at += QK_K, x += QK_K, block++) {
            if (importance) {
                search_q45_k_weighted(x, importance + at, 15, L, &s, &d, &dmin);
            } else {
                search_q45_k(x, 15, (grid){-1.0f, 0.1f, 20, false}, L, &s, &d, &dmin);
            }
            finish_q45_k(x, 15, &s, d, dmin, L, block->d, block->dmin, block->scales);
            pack_four_bits(L, block->qs);
        }
    }
}

static void hub_quantize_q5_k_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q5_k *block = y;
    uint8_t L[QK_K];
    sub_blocks s;
    float d, dmin;
    for (int64_t row = 0; row < nrows; row++) {
        for (int64_t at = 0; at < n_per_row; at += QK_K, x += QK_K, block++) {
            if (importance) {
                search_q45_k_weighted(x, importance + at, 31, L, &s, &d, &dmin);
                cap(8, 63, s.ls); /* ggml caps the codes that wrapped in the search here, but not in q4_k */
                cap(8, 63, s.lm);
            } else {
                search_q45_k(x, 31, (grid){-0.5f, 0.1f, 15, false}, L, &s, &d, &dmin);
            }
            finish_q45_k(x, 31, &s, d, dmin, L, block->d, block->dmin, block->scales);
            pack_four_bits(L, block->qs);
            pack_one_bit(L, 4, block->qh);
        }
    }
}

static void hub_dequantize_q4_k_scalar(const void *y, float *x, int64_t n) {
    const block_q4_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const float dmin = load_f16(block->dmin);
        for (int j = 0; j < 8; j++, x += 32) {
            const uint8_t *qs = block->qs + 32 * (j / 2);
            const int shift = 4 * (j % 2);
            int32_t scale_code, min_code;
            unpack_scale_min(j, block->scales, &scale_code, &min_code);
            const float step = d * (float)scale_code;
            const float min = dmin * (float)min_code;
            for (int i = 0; i < 32; i++) {
                x[i] = step * (float)(qs[i] >> shift & 15) - min;
            }
        }
    }
}

static void hub_dequantize_q5_k_scalar(const void *y, float *x, int64_t n) {
    const block_q5_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const float dmin = load_f16(block->dmin);
        for (int j = 0; j < 8; j++, x += 32) {
            const uint8_t *qs = block->qs + 32 * (j / 2);
            const int shift = 4 * (j % 2);
            int32_t scale_code, min_code;
            unpack_scale_min(j, block->scales, &scale_code, &min_code);
            const float step = d * (float)scale_code;
            const float min = dmin * (float)min_code;
            for (int i = 0; i < 32; i++) {
                x[i] = step * (float)((qs[i] >> shift & 15) | (block->qh[i] >> j & 1) << 4) - min;
            }
        }
    }
}

/* ---------------------------------------------------------------- q6_k: 16 sub-blocks of 16, 8-bit signed scales */

static void hub_quantize_q6_k_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    block_q6_k *block = y;
    uint8_t L[QK_K];
    float scales[16], w[16];
    for (int64_t row = 0; row < nrows; row++) {
        for (int64_t at = 0; at < n_per_row; at += QK_K, x += QK_K, block++) {
            for (int j = 0; j < 16; j++) {
                const float *xj = x + 16 * j;
                for (int i = 0; i < 16; i++) {
                    w[i] = importance ? importance[at + 16 * j + i] : xj[i] * xj[i];
                }
                scales[j] = search_symmetric(16, 32, xj, w, L + 16 * j);
            }
            if (!codes_of_q6(scales, block->scales, block->d)) {
                memset(block, 0, sizeof *block);
                continue;
            }
            const float d = load_f16(block->d);
            for (int j = 0; j < 16; j++) {
                round_again_symmetric(16, x + 16 * j, d * (float)block->scales[j], 32, L + 16 * j);
            }
            pack_six_bits(L, block->ql, block->qh);
        }
    }
}

static void hub_dequantize_q6_k_scalar(const void *y, float *x, int64_t n) {
    const block_q6_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int j = 0; j < 16; j++, x += 16) {
            const int half = j / 8, g = j / 2 % 4, odd = 16 * (j % 2);
            const uint8_t *ql = block->ql + 64 * half + 32 * (g & 1) + odd;
            const uint8_t *qh = block->qh + 32 * half + odd;
            const int low = 4 * (g >> 1), high = 2 * g;
            const float step = d * (float)block->scales[j];
            for (int i = 0; i < 16; i++) {
                x[i] = step * (float)(((ql[i] >> low & 15) | (qh[i] >> high & 3) << 4) - 32);
            }
        }
    }
}

extern const hub_kernels hub_ggml_k_scalar;
const hub_kernels hub_ggml_k_scalar = {
    .quantize = {
        [HUB_Q2_K] = hub_quantize_q2_k_scalar,
        [HUB_Q3_K] = hub_quantize_q3_k_scalar,
        [HUB_Q4_K] = hub_quantize_q4_k_scalar,
        [HUB_Q5_K] = hub_quantize_q5_k_scalar,
        [HUB_Q6_K] = hub_quantize_q6_k_scalar,
    },
    .dequantize = {
        [HUB_Q2_K] = hub_dequantize_q2_k_scalar,
        [HUB_Q3_K] = hub_dequantize_q3_k_scalar,
        [HUB_Q4_K] = hub_dequantize_q4_k_scalar,
        [HUB_Q5_K] = hub_dequantize_q5_k_scalar,
        [HUB_Q6_K] = hub_dequantize_q6_k_scalar,
    },
};
