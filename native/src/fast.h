/* fast.h - the runner's `fast` mode: y = W x with activations in int8 blocks and integer dot products.
 *
 * A matrix of activations is prepared once and shared by every weight, thread and tile of rows that it meets. What is
 * prepared depends on the family that the type of the weights belongs to:
 *
 *   HUB_INT8_32, HUB_INT8_256   a block of 32 or 256 activations of one token has a scale d = max |x| / 127 and codes
 *                               round(x * (127 / max |x|)), half to even, in -127..127, stored + 128. Integer kernels.
 *   HUB_ROUNDED                 activations rounded to bf16, half to even, in pairs. For bf16 weights.
 *   HUB_PLAIN                   f32, as they are. For f16 and f32 weights.
 *
 * A block that holds a NaN or an infinity has scale NaN, so that every product with it is NaN; one whose largest
 * magnitude is below 2^-100 counts as zero.
 *
 * Tokens are taken FAST_TOKENS at a time, the last ones as they come, and interleaved: of a batch of n tokens that
 * starts at token t, place k of token t + j lies at [t * places + k * n + j]. A place is four codes, a pair of bf16, one
 * f32, one scale or one sum.
 *
 * The product of a row and a token is, in this order, each fma rounding once and y starting from 0:
 *   per block of activations   s = 0
 *     per group of weights     s = fma(sum of code * x, scale, s); with offsets s = fma(sum of x, offset, s)
 *                              y = fma(s, d, y)
 * The sums are integers and exact, so every instruction set gives the same bytes. Plain activations: y = fma(w, x, y)
 * column by column, the same bytes again. Rounded ones likewise, except where the CPU multiplies pairs of bf16
 * (AVX512-BF16): those additions are the hardware's.
 */
#ifndef HUB_FAST_H
#define HUB_FAST_H

#include <string.h>

#include "hub_native.h"

#if defined(_MSC_VER)
#define HUB_UNROLL
#define HUB_ROLLED
#else
#define HUB_UNROLL _Pragma("GCC unroll 16")
#define HUB_ROLLED _Pragma("GCC unroll 1") /* a loop that is not unrolled is vectorised */
#endif

enum {
    FAST_TOKENS = 12,      /* interleaved; kernels take 12, 6, 4, 2 or 1 of them at once */
    FAST_ROWS = 32,        /* the most rows of a tile of weights, which is unpacked once and multiplied by all tokens */
    FAST_COLUMNS = 512,    /* the most columns of an integer tile, */
    FAST_PLACES = 512,     /* and places of a float tile */
    FAST_TILE = 64 << 10   /* bytes of a tile */
};

/* Bytes of scratch that a product needs, at a multiple of 64: a tile, and its rows' sums for every token. */
static inline int64_t fast_scratch(int64_t tokens) { return FAST_TILE + tokens * FAST_ROWS * 4; }

/* What the product with weights of a type takes. */
static inline hub_fast_family fast_family(hub_type type) {
    switch (type) {
    case HUB_F32: case HUB_F16: return HUB_PLAIN;
    case HUB_BF16: return HUB_ROUNDED;
    case HUB_Q8_0: case HUB_Q4_0: case HUB_Q4_1: case HUB_Q5_0: case HUB_Q5_1: return HUB_INT8_32;
    default: return HUB_INT8_256;
    }
}

/* The tokens of the batch that token t belongs to. */
static inline int64_t batch_width(int64_t tokens, int64_t t) {
    const int64_t left = tokens - t / FAST_TOKENS * FAST_TOKENS;
    return left < FAST_TOKENS ? left : FAST_TOKENS;
}

/* out[t * stride + r] = y[t * width + r] */
static inline void fast_store(const float *y, int width, int rows, int64_t tokens, float *out, int64_t stride) {
    for (int64_t t = 0; t < tokens; t++) {
        memcpy(out + t * stride, y + t * width, (size_t)rows * sizeof(float));
    }
}

#endif
