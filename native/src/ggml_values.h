/* ggml_values.h - values and scales of ggml's 4-bit types that are not linear. */
#ifndef HUB_GGML_VALUES_H
#define HUB_GGML_VALUES_H

#include "small_floats.h"

/* iq4_nl and iq4_xs */
static const int8_t values_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* Twice the values of E2M1 (OCP Microscaling Formats 1.0), so that all are integers; scales are halved for that. Minus zero
 * is zero. */
static const int8_t values_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Half of E8M0: 2^(e - 128). 255, which that format calls NaN, is not told apart by ggml. */
static inline float half_e8m0(uint8_t e) {
    return bits_float(e < 2 ? 0x00200000u << e : ((uint32_t)e - 1) << 23);
}

/* Half of E4M3 without a sign: the top bit counts for nothing, but 0x7F, which would be NaN, is 0 and 0xFF is 240. */
static inline float half_ue4m3(uint8_t code) {
    const uint32_t exponent = code >> 3 & 15, mantissa = code & 7;
    if (code == 0x7F) {
        return 0.0f;
    }
    return exponent ? bits_float((exponent + 119) << 23 | mantissa << 20) : (float)mantissa * 0x1p-10f;
}

#endif
