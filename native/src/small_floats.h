/* small_floats.h - f16 and bf16 by integer arithmetic: the same bits on every machine and compiler.
 *
 * The hardware conversions agree on numbers but not on NaNs, so the definition is here and vector kernels must equal it.
 */
#ifndef HUB_SMALL_FLOATS_H
#define HUB_SMALL_FLOATS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float bits_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Little-endian loads and stores at any address; compilers turn them into one move. */
static inline uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t load_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v & 0xFF);
    p[1] = (uint8_t)(v >> 8);
}

static inline void store_u32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v & 0xFF);
    p[1] = (uint8_t)(v >> 8 & 0xFF);
    p[2] = (uint8_t)(v >> 16 & 0xFF);
    p[3] = (uint8_t)(v >> 24);
}

/* Exact. A signalling NaN comes out quiet, its payload kept, as IEEE 754 asks of a conversion. */
static inline float f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t magnitude = h & 0x7FFF;
    if (magnitude >= 0x7C00) { /* infinity, NaN */
        const uint32_t quiet = magnitude > 0x7C00 ? 0x00400000 : 0;
        return bits_float(sign | 0x7F800000 | (magnitude & 0x3FF) << 13 | quiet);
    }
    if (magnitude < 0x0400) { /* zero, subnormal: an integer count of 2^-24 */
        return bits_float(sign | float_bits((float)(int32_t)magnitude * 0x1p-24f));
    }
    return bits_float(sign | ((magnitude << 13) + 0x38000000)); /* exponent bias 15 -> 127 */
}

/* Rounds half to even, keeps subnormals; from 65520 on infinity; every NaN becomes sign | 0x7E00. */
static inline uint16_t f32_to_f16(float x) {
    const uint32_t bits = float_bits(x);
    const uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) {
        magnitude = 0x7E00;
    } else if (magnitude >= 0x47800000) { /* 65536 and above; 65520.. reaches 0x7C00 by its carry below */
        magnitude = 0x7C00;
    } else if (magnitude < 0x38800000) {
        /* Below 2^-14 a half counts in 2^-24, the spacing of floats in [0.5, 1): the addition does the rounding. */
        magnitude = float_bits(bits_float(magnitude) + 0.5f) - 0x3F000000;
    } else {
        magnitude += 0x0FFF + (magnitude >> 13 & 1);
        magnitude = (magnitude - 0x38000000) >> 13;
    }
    return (uint16_t)(sign | magnitude);
}

/* Exact: the upper half of a float. */
static inline float bf16_to_f32(uint16_t b) { return bits_float((uint32_t)b << 16); }

/* Rounds half to even, keeps subnormals; a NaN is made quiet so that cutting it cannot give infinity. */
static inline uint16_t f32_to_bf16(float x) {
    const uint32_t bits = float_bits(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) {
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float load_f16(const uint8_t *p) { return f16_to_f32(load_u16(p)); }
static inline void store_f16(uint8_t *p, float x) { store_u16(p, f32_to_f16(x)); }

#endif
