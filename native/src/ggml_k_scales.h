/* ggml_k_scales.h - step 2 of the K types without importance: the scales of one super-block become codes.
 * Shared by all instruction sets: it runs once per super-block and is scalar in each of them.
 */
#ifndef HUB_GGML_K_SCALES_H
#define HUB_GGML_K_SCALES_H

#include "ggml_search.h"

/* q2_k, q4_k, q5_k: the largest scale gets the top code, the others follow. Returns what one code is worth. */
HUB_INLINE float codes_of_positive(int n, int top, const float *values, uint8_t *codes) {
    float largest = 0.0f;
    for (int j = 0; j < n; j++) {
        largest = values[j] > largest ? values[j] : largest;
    }
    const float s = largest > 0.0f ? (float)top / largest : 0.0f;
    for (int j = 0; j < n; j++) {
        codes[j] = (uint8_t)nearest(s * values[j]);
    }
    return largest / (float)top;
}

HUB_INLINE void cap(int n, uint8_t top, uint8_t *codes) {
    for (int j = 0; j < n; j++) {
        codes[j] = codes[j] < top ? codes[j] : top;
    }
}

/* q3_k, q6_k: the one of the largest magnitude, the first on a tie. */
HUB_INLINE float peak_of_scales(const float *scales) {
    float largest = 0.0f, peak = 0.0f;
    for (int j = 0; j < 16; j++) {
        const float magnitude = fabsf(scales[j]);
        if (magnitude > largest) {
            largest = magnitude;
            peak = scales[j];
        }
    }
    return peak;
}

/* q3_k: the largest scale gets code -32 exactly (0 as stored). Returns what one code is worth. */
HUB_INLINE float codes_of_q3(const float *scales, uint8_t *codes) {
    const float peak = peak_of_scales(scales);
    if (peak == 0.0f) {
        memset(codes, 0, 16);
        return 0.0f;
    }
    const float s = -32.0f / peak;
    for (int j = 0; j < 16; j++) {
        codes[j] = (uint8_t)(clamp((int8_t)nearest(s * scales[j]), -32, 31) + 32);
    }
    return 1.0f / s;
}

/* q6_k: the largest scale gets code -128. d (2,) is the f16 that one code is worth; false, and nothing is written, if the
 * block is all zero. */
HUB_INLINE bool codes_of_q6(const float *scales, int8_t *codes, uint8_t *d) {
    const float peak = peak_of_scales(scales);
    if (fabsf(peak) < SEARCH_EPSILON) {
        return false;
    }
    const float s = -128.0f / peak;
    store_f16(d, 1.0f / s);
    for (int j = 0; j < 16; j++) {
        const int32_t code = nearest(s * scales[j]);
        codes[j] = (int8_t)(code < 127 ? code : 127);
    }
    return true;
}

#endif
