/* mlx_values.h - numbers of mlx.h for all instruction sets, one at a time. */
#ifndef HUB_MLX_VALUES_H
#define HUB_MLX_VALUES_H

#include "ggml_search.h"
#include "mlx.h"

HUB_INLINE int mlx_size(hub_type type) { return type == HUB_F32 ? 4 : 2; }

HUB_INLINE float mlx_round(hub_type type, float x) {
    return type == HUB_F16 ? f16_to_f32(f32_to_f16(x)) : type == HUB_BF16 ? bf16_to_f32(f32_to_bf16(x)) : x;
}

HUB_INLINE void mlx_store(hub_type type, uint8_t *to, float x) {
    if (type == HUB_F32) {
        store_u32(to, float_bits(x));
    } else {
        store_u16(to, type == HUB_F16 ? f32_to_f16(x) : f32_to_bf16(x));
    }
}

/* The byte of the least power of two that is not below r; -1 where none is so small. */
HUB_INLINE int mlx_e8m0(float r) {
    const uint32_t bits = float_bits(r) & 0x7FFFFFFF;
    if (bits == 0) {
        return 127;
    }
    if (bits <= 0x00400000) {
        return bits == 0x00400000 ? 0 : -1;
    }
    return (int)((bits + 0x007FFFFF) >> 23);
}

HUB_INLINE float mlx_power(int byte) { return bits_float(byte ? (uint32_t)byte << 23 : 0x00400000); }

/* 2^9 counts of 2^-9 lie below the smallest normal number, 2^-6; 16384 has neighbours 2^-9 away. */
HUB_INLINE uint8_t mlx_e4m3(float x) {
    const uint32_t bits = float_bits(x);
    uint32_t code = bits & 0x7FFFFFFF;
    code = code < 0x43E00000 ? code : 0x43E00000; /* 448 */
    code = code < 0x3C800000 ? float_bits(bits_float(code) + 16384.0f) - 0x46800000
                             : (code + 0x7FFFF + (code >> 20 & 1) - 0x3C000000) >> 20;
    return (uint8_t)(bits >> 24 & 0x80) | (uint8_t)code;
}

/* A positive one, no NaN. */
HUB_INLINE float mlx_of_e4m3(uint8_t code) {
    return code < 8 ? (float)code * 0x1p-9f : bits_float(((uint32_t)code << 20) + 0x3C000000);
}

HUB_INLINE uint8_t mlx_e2m1(float t) {
    const float a = fabsf(t);
    const int code = (a > 0.25f) + (a > 0.75f) + (a > 1.25f) + (a > 1.75f) + (a > 2.5f) + (a > 3.5f) + (a > 5.0f);
    return (uint8_t)(code && t < 0 ? code | 8 : code);
}

/* The byte of scale of a group whose largest weight is r times the largest code, and what its weights are divided by; 0
 * for a group that is zero. */
HUB_INLINE uint8_t mlx_scale_byte(hub_mlx_mode mode, float r, float encode, float *scale) {
    if (mode == HUB_MLX_NVFP4) {
        const uint8_t byte = mlx_e4m3(r * encode);
        *scale = mlx_of_e4m3(byte);
        return byte;
    }
    const int byte = mlx_e8m0(r);
    *scale = byte < 0 ? 0.0f : mlx_power(byte);
    return (uint8_t)(byte < 0 ? 127 : byte);
}

HUB_INLINE uint8_t mlx_float_code(hub_mlx_mode mode, hub_type type, float x, float scale, float encode) {
    const float t = scale == 0 ? 0.0f : mlx_round(type, x / scale) * encode;
    return mode == HUB_MLX_MXFP8 ? mlx_e4m3(t) : mlx_e2m1(t);
}

#endif
