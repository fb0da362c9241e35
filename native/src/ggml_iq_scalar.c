/* Decoding of ggml's types with values from a table: iq4 from sixteen, iq2 and iq3 and iq1 from grids of vectors. */
#include "ggml_blocks.h"
#include "ggml_grids.h"
#include "ggml_values.h"

/* ---------------------------------------------------------------- iq4 */

static void sixteen_values(const uint8_t *qs, float scale, float *x) {
    for (int i = 0; i < 16; i++) {
        x[i] = scale * (float)values_iq4[qs[i] & 15];
        x[i + 16] = scale * (float)values_iq4[qs[i] >> 4];
    }
}

static void hub_dequantize_iq4_nl_scalar(const void *y, float *x, int64_t n) {
    const block_iq4_nl *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        sixteen_values(block->qs, load_f16(block->d), x);
    }
}

static void hub_dequantize_iq4_xs_scalar(const void *y, float *x, int64_t n) {
    const block_iq4_xs *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const int high = load_u16(block->scales_h);
        for (int b = 0; b < 8; b++, x += 32) {
            const int scale = (block->scales_l[b / 2] >> 4 * (b % 2) & 15) | (high >> 2 * b & 3) << 4;
            sixteen_values(block->qs + 16 * b, d * (float)(scale - 32), x);
        }
    }
}

/* ---------------------------------------------------------------- vectors */

/* One vector; bit k of `minus` is the sign of weight k. */
static inline void vector(const hub_grid *grid, uint32_t number, int width, int bits, float scale, uint32_t minus,
                          float *x) {
    const uint32_t packed = grid->vectors[number];
    for (int k = 0; k < width; k++) {
        const float value = grid->levels[packed >> bits * k & ((1u << bits) - 1)];
        x[k] = scale * (minus >> k & 1 ? -value : value);
    }
}

static inline void vector_iq2(const hub_grid *grid, uint32_t number, float scale, uint32_t minus, float *x) {
    vector(grid, number, 8, 2, scale, minus, x);
}

static inline void two_vectors_iq3(const hub_grid *grid, uint32_t first, uint32_t second, float scale, uint32_t minus,
                                   float *x) {
    vector(grid, first, 4, 3, scale, minus, x);
    vector(grid, second, 4, 3, scale, minus >> 4, x + 4);
}

/* The eighth of seven signs: the one that makes the number of minus signs even. */
static inline uint32_t even_signs(uint32_t seven) {
    uint32_t odd = seven ^ seven >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return seven | (odd & 1) << 7;
}

/* ---------------------------------------------------------------- iq2 */

static void hub_dequantize_iq2_xxs_scalar(const void *y, float *x, int64_t n) {
    const block_iq2_xxs *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int b = 0; b < 8; b++) {
            const uint8_t *qs = block->qs + 8 * b;
            const uint32_t word = load_u32(qs + 4);
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
            for (int v = 0; v < 4; v++, x += 8) {
                vector_iq2(&hub_grid_iq2_xxs, qs[v], scale, even_signs(word >> 7 * v & 127), x);
            }
        }
    }
}

static inline float scale_iq2(float d, const uint8_t *scales, int v) {
    return d * (0.5f + (float)(scales[v / 4] >> 4 * (v / 2 % 2) & 15)) * 0.25f;
}

static void hub_dequantize_iq2_xs_scalar(const void *y, float *x, int64_t n) {
    const block_iq2_xs *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int v = 0; v < 32; v++, x += 8) {
            const uint32_t code = load_u16(block->qs + 2 * v);
            vector_iq2(&hub_grid_iq2_xs, code & 511, scale_iq2(d, block->scales, v), even_signs(code >> 9), x);
        }
    }
}

static void hub_dequantize_iq2_s_scalar(const void *y, float *x, int64_t n) {
    const block_iq2_s *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int v = 0; v < 32; v++, x += 8) {
            const uint32_t number = block->qs[v] | (uint32_t)(block->qh[v / 4] >> 2 * (v % 4) & 3) << 8;
            vector_iq2(&hub_grid_iq2_s, number, scale_iq2(d, block->scales, v), block->signs[v], x);
        }
    }
}

/* ---------------------------------------------------------------- iq3 */

static void hub_dequantize_iq3_xxs_scalar(const void *y, float *x, int64_t n) {
    const block_iq3_xxs *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const uint8_t *qs = block->qs;
        for (int b = 0; b < 8; b++) {
            const uint32_t word = load_u32(block->signs + 4 * b);
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int i = 0; i < 4; i++, x += 8, qs += 2) {
                two_vectors_iq3(&hub_grid_iq3_xxs, qs[0], qs[1], scale, even_signs(word >> 7 * i & 127), x);
            }
        }
    }
}

static void hub_dequantize_iq3_s_scalar(const void *y, float *x, int64_t n) {
    const block_iq3_s *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const uint8_t *qs = block->qs;
        for (int b = 0; b < 8; b++) {
            const float scale = d * (float)(1 + 2 * (block->scales[b / 2] >> 4 * (b % 2) & 15));
            const uint32_t high = block->qh[b];
            for (int i = 0; i < 4; i++, x += 8, qs += 2) {
                const uint32_t first = qs[0] | (high >> 2 * i & 1) << 8, second = qs[1] | (high >> (2 * i + 1) & 1) << 8;
                two_vectors_iq3(&hub_grid_iq3_s, first, second, scale, block->signs[4 * b + i], x);
            }
        }
    }
}

/* ---------------------------------------------------------------- iq1 */

static inline void vector_iq1(uint32_t number, float scale, bool down, float *x) {
    const uint32_t packed = hub_grid_iq1.vectors[number];
    const float shift = down ? -0.125f : 0.125f;
    for (int k = 0; k < 8; k++) {
        x[k] = scale * (hub_grid_iq1.levels[packed >> 2 * k & 3] + shift);
    }
}

static void hub_dequantize_iq1_s_scalar(const void *y, float *x, int64_t n) {
    const block_iq1_s *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int b = 0; b < 8; b++) {
            const uint32_t high = load_u16(block->qh + 2 * b);
            const float scale = d * (float)(2 * (high >> 12 & 7) + 1);
            for (int v = 0; v < 4; v++, x += 8) {
                vector_iq1(block->qs[4 * b + v] | (high >> 3 * v & 7) << 8, scale, high >> 15, x);
            }
        }
    }
}

static void hub_dequantize_iq1_m_scalar(const void *y, float *x, int64_t n) {
    const block_iq1_m *block = y;
    for (float *const end = x + n; x < end; block++) {
        uint32_t half = 0;
        for (int i = 0; i < 4; i++) {
            half |= (uint32_t)(load_u16(block->scales + 2 * i) >> 12) << 4 * i;
        }
        const float d = f16_to_f32((uint16_t)half);
        for (int v = 0; v < 32; v++, x += 8) {
            const int group = v / 2;
            const uint32_t scale = (uint32_t)load_u16(block->scales + 2 * (group / 4)) >> 3 * (group % 4) & 7;
            const uint32_t high = (uint32_t)block->qh[v / 2] >> 4 * (v % 2);
            vector_iq1(block->qs[v] | (high & 7) << 8, d * (float)(2 * scale + 1), high >> 3 & 1, x);
        }
    }
}

extern const hub_kernels hub_ggml_iq_scalar;
const hub_kernels hub_ggml_iq_scalar = {
    .dequantize = {
        [HUB_IQ4_NL] = hub_dequantize_iq4_nl_scalar,
        [HUB_IQ4_XS] = hub_dequantize_iq4_xs_scalar,
        [HUB_IQ3_S] = hub_dequantize_iq3_s_scalar,
        [HUB_IQ3_XXS] = hub_dequantize_iq3_xxs_scalar,
        [HUB_IQ2_S] = hub_dequantize_iq2_s_scalar,
        [HUB_IQ2_XS] = hub_dequantize_iq2_xs_scalar,
        [HUB_IQ2_XXS] = hub_dequantize_iq2_xxs_scalar,
        [HUB_IQ1_M] = hub_dequantize_iq1_m_scalar,
        [HUB_IQ1_S] = hub_dequantize_iq1_s_scalar,
    },
};
