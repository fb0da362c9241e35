/* mlx.h - MLX's quantizers: the bytes that mx.quantize writes on a CPU. Source: mlx 0.32.4 as it computes.
 *
 * Weights are f32 in memory and numbers of `type` (HUB_F32, HUB_F16 or HUB_BF16) by meaning: each is rounded to it first,
 * which changes nothing where they came from there. MLX then computes in f32 or in `type`, as told below. Groups lie behind
 * each other, and `words` is their codes as one little-endian stream of bits: rows are whole words, so rows need not be known.
 *
 * affine(x, groups, group, bits, type, words, scales, biases): `bits` 1 to 6 and 8, `group` 32, 64 or 128. In f32, with lo
 * and hi the extremes of a group and n = 2^bits - 1:
 *
 *     s = max((hi - lo) / n, 1e-7)
 *     |lo| > |hi|:   edge = lo, else edge = hi and s = -s
 *     q = rint(edge / s);   q != 0:   s = edge / q, b = edge;   else b = 0
 *     code = clip(rint((x - b) / s), 0, n);   what is no number is 0
 *
 * and for 1 bit s = max(hi - lo, 1e-7), b = lo, the first of the lowest. scales and biases are s and b rounded to `type`,
 * after codes were made of them.
 *
 * floats(x, groups, mode, type, global_scale, words, scales): groups of 32, of 16 for NVFP4. largest = the largest magnitude
 * of a group, M = 6 for E2M1 and 448 for E4M3, T() rounds to `type`, E() to E4M3, half to even and at most 448:
 *
 *     r = T(largest / M)
 *     MXFP4, MXFP8:   scale = the least power of two that is not below r, and 1 for 0
 *     NVFP4:          scale = E(r * (2688 / global_scale)); without (global_scale 0), E(r)
 *     t = T(x / scale), and with a global scale t * (2688 / global_scale) in f32;   0 where scale is 0
 *     code = E(t), or the nearest E2M1, the smaller magnitude of two that are as near, where zero has no sign
 *
 * Where r is positive and below 2^-127 there is no byte for its power of two. MLX's conversion wraps around to one near 2^127;
 * here such a group is zero, scale 1. From 2^24 times the largest code on, MLX's E2M1 forgets to saturate; here it does.
 *
 * Nothing is read but whole groups; words, scales and biases need not be aligned, x is aligned for float.
 */
#ifndef HUB_MLX_H
#define HUB_MLX_H

#include "hub_native.h"

typedef enum hub_mlx_mode { HUB_MLX_MXFP4, HUB_MLX_MXFP8, HUB_MLX_NVFP4, HUB_MLX_MODES } hub_mlx_mode;

typedef struct hub_mlx {
    void (*affine)(const float *x, int64_t groups, int group, int bits, hub_type type, uint8_t *words, uint8_t *scales,
                   uint8_t *biases);
    void (*floats)(const float *x, int64_t groups, hub_mlx_mode mode, hub_type type, float global_scale, uint8_t *words,
                   uint8_t *scales);
} hub_mlx;

enum { MLX_GROUP = 128 }; /* weights of a group, at most */
#define MLX_EPSILON 1e-7f
#define MLX_GLOBAL 2688.0f /* the largest E2M1 times the largest E4M3 */

#endif
