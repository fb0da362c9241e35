/* fast_prepare.h - activations in the four families of fast.h. Compiled for every instruction set; the same bytes in each. */
#ifndef HUB_FAST_PREPARE_H
#define HUB_FAST_PREPARE_H

#include "fast.h"
#include "ggml_search.h"

/* x (n,) -> codes + 128 (n,). Returns the scale. Magnitudes are compared as integers, which order like the floats. */
HUB_INLINE float fast_quantize(int n, const float *x, uint8_t *codes) {
    int32_t largest = 0;
    for (int i = 0; i < n; i++) {
        const int32_t bits = (int32_t)(float_bits(x[i]) & 0x7FFFFFFF);
        largest = bits > largest ? bits : largest;
    }
    const float peak = bits_float((uint32_t)largest);
    if (largest >= 0x7F800000 || peak < 0x1p-100f) {
        memset(codes, 128, (size_t)n);
        return largest >= 0x7F800000 ? bits_float(0x7FC00000) : 0.0f;
    }
    const float inverse = 127.0f / peak;
    for (int i = 0; i < n; i++) {
        codes[i] = (uint8_t)(nearest(x[i] * inverse) + 128);
    }
    return peak / 127.0f;
}

/* Tokens t0..t1 of x (tokens, cols) into int8 blocks. t0 starts a batch; t1 ends one, or is the last. */
HUB_INLINE void fast_prepare_int8(int block, const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) {
    uint8_t codes[256];
    for (int64_t t = t0; t < t1; t++) {
        const int64_t start = t - t % FAST_TOKENS, n = batch_width(to->tokens, t), j = t % FAST_TOKENS, cols = to->cols;
        uint8_t *places = (uint8_t *)to->codes + start * cols + 4 * j;
        float *scales = to->scales + start * (cols / block) + j;
        float *sums = to->sums + start * (cols / 32) + j;
        float *halves = block == 256 ? to->half_sums + start * (cols / 16) + j : NULL;
        for (int64_t k = 0; k < cols; k += block) {
            scales[k / block * n] = fast_quantize(block, x + t * cols + k, codes);
            for (int i = 0; i < block; i += 4) {
                memcpy(places + (k + i) * n, codes + i, 4);
            }
            for (int i = 0; i < block; i += 32) {
                int32_t low = 0, high = 0;
                for (int l = 0; l < 16; l++) {
                    low += codes[i + l];
                    high += codes[i + 16 + l];
                }
                sums[(k + i) / 32 * n] = (float)(low + high - 32 * 128);
                if (halves) {
                    halves[(k + i) / 16 * n] = (float)(low - 16 * 128);
                    halves[((k + i) / 16 + 1) * n] = (float)(high - 16 * 128);
                }
            }
        }
    }
}

/* f32 -> bf16, half to even; a NaN stays one. */
HUB_INLINE uint16_t fast_round(float x) {
    const uint32_t bits = float_bits(x);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded);
}

/* Pairs; an odd last column is paired with zero. */
HUB_INLINE void fast_prepare_rounded(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) {
    for (int64_t t = t0; t < t1; t++) {
        const int64_t start = t - t % FAST_TOKENS, n = batch_width(to->tokens, t), j = t % FAST_TOKENS, cols = to->cols;
        uint32_t *places = (uint32_t *)to->codes + start * ((cols + 1) / 2) + j;
        const float *row = x + t * cols;
        for (int64_t k = 0; k + 1 < cols; k += 2) {
            places[k / 2 * n] = (uint32_t)fast_round(row[k]) | (uint32_t)fast_round(row[k + 1]) << 16;
        }
        if (cols % 2) {
            places[cols / 2 * n] = fast_round(row[cols - 1]);
        }
    }
}

HUB_INLINE void fast_prepare_plain(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) {
    for (int64_t t = t0; t < t1; t++) {
        const int64_t start = t - t % FAST_TOKENS, n = batch_width(to->tokens, t), j = t % FAST_TOKENS, cols = to->cols;
        float *places = (float *)to->codes + start * cols + j;
        for (int64_t k = 0; k < cols; k++) {
            places[k * n] = x[t * cols + k];
        }
    }
}

/* The table's four slots for one instruction set. */
#define FAST_PREPARE(isa)                                                                                     \
    static void hub_prepare_int8_32_##isa(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) { \
        fast_prepare_int8(32, x, t0, t1, to);                                                                 \
    }                                                                                                         \
    static void hub_prepare_int8_256_##isa(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) { \
        fast_prepare_int8(256, x, t0, t1, to);                                                                \
    }                                                                                                         \
    static void hub_prepare_rounded_##isa(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) { \
        fast_prepare_rounded(x, t0, t1, to);                                                                  \
    }                                                                                                         \
    static void hub_prepare_plain_##isa(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to) {   \
        fast_prepare_plain(x, t0, t1, to);                                                                    \
    }
#define FAST_PREPARE_SLOTS(isa)                    \
    [HUB_INT8_32] = hub_prepare_int8_32_##isa,     \
    [HUB_INT8_256] = hub_prepare_int8_256_##isa,   \
    [HUB_ROUNDED] = hub_prepare_rounded_##isa,     \
    [HUB_PLAIN] = hub_prepare_plain_##isa

#endif
