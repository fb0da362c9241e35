/* run_dot.h - dot products in the order of run.h, one by one and in register tiles.
 *
 * run_lanes_<isa>.h defines, for its instruction set:
 *   WIDTH, HUB_RUN_SUFFIX      16, avx512; WIDTH divides 16
 *   TILE_TOKENS                columns of a register tile: TILE_ROWS * TILE_TOKENS sums and a row and a column fit
 *   WEIGHTED_VECTORS           vectors of values that attention sums at once for TILE_TOKENS tokens
 *   vec                        WIDTH floats
 *   vec_splat vec_load vec_store vec_add vec_fma(a, b, c)    a * b + c rounded once; no alignment
 *   join_one(parts)            the sum of 16 partial sums, by halves
 *   join_four(parts, out)      of four times 16
 *
 * The sixteen partial sums of a dot product are the lanes of a vector, or of 16 / WIDTH vectors that are worked off one
 * after the other. A tile reads packed rows and packed tokens: 16 numbers of each in turn, so that both are read as
 * streams, whatever the distance between rows in the caller's arrays (powers of two would meet in the same cache sets).
 */
#ifndef HUB_RUN_DOT_H
#define HUB_RUN_DOT_H

#include "run.h"

#if defined(__GNUC__)
#define HUB_UNROLL _Pragma("GCC unroll 16")
#define HUB_INDEPENDENT _Pragma("GCC ivdep") /* in place is allowed: an element depends on its own index only */
#else
#define HUB_UNROLL
#define HUB_INDEPENDENT
#endif

#define HUB_RUN_JOIN3(a, b, c) a##b##c
#define HUB_RUN_JOIN2(a, b) HUB_RUN_JOIN3(a, _, b)
#define HUB_RUN(name) HUB_RUN_JOIN2(name, HUB_RUN_SUFFIX)

_Static_assert(RUN_GROUP_TOKENS % TILE_TOKENS == 0 && RUN_BLOCK_TOKENS % TILE_TOKENS == 0, "whole tiles in a block");
_Static_assert(RUN_BLOCK_ROWS % RUN_TILE_ROWS == 0 && RUN_TILE_ROWS == 4, "join_four");

HUB_INLINE float exp_of(float x) { return (float)exp_32((double)x); }
HUB_INLINE float softcapped(float x, float cap) { return (float)((double)cap * tanh_32((double)x / (double)cap)); }

/* The last numbers of a row, filled up with zeros. */
HUB_INLINE const float *tail_of(const float *x, int64_t n, float tail[RUN_PARTS]) {
    memset(tail, 0, RUN_PARTS * sizeof *tail);
    memcpy(tail, x + n / RUN_PARTS * RUN_PARTS, (size_t)(n % RUN_PARTS) * sizeof *tail);
    return tail;
}

HUB_INLINE float dot_self(const float *x, int64_t n) {
    float parts[RUN_PARTS], tail[RUN_PARTS];
    for (int h = 0; h < RUN_PARTS; h += WIDTH) {
        vec s = vec_splat(0.0f);
        for (int64_t i = 0; i < n / RUN_PARTS; i++) {
            const vec v = vec_load(x + RUN_PARTS * i + h);
            s = vec_fma(v, v, s);
        }
        vec_store(parts + h, s);
    }
    if (n % RUN_PARTS != 0) {
        tail_of(x, n, tail);
        for (int h = 0; h < RUN_PARTS; h += WIDTH) {
            const vec v = vec_load(tail + h);
            vec_store(parts + h, vec_fma(v, v, vec_load(parts + h)));
        }
    }
    return join_one(parts);
}

HUB_INLINE float sum_of(const float *x, int64_t n) {
    float parts[RUN_PARTS];
    for (int h = 0; h < RUN_PARTS; h += WIDTH) {
        vec s = vec_splat(0.0f);
        for (int64_t i = 0; i < n / RUN_PARTS; i++) {
            s = vec_add(s, vec_load(x + RUN_PARTS * i + h));
        }
        vec_store(parts + h, s);
    }
    for (int64_t i = n / RUN_PARTS * RUN_PARTS; i < n; i++) {
        parts[i % RUN_PARTS] += x[i];
    }
    return join_one(parts);
}

/* x (n,) becomes number `slot` of `slots` in packed[ceil(n / 16)][slots][16]. */
HUB_INLINE void pack(const float *x, int64_t n, float *packed, int64_t slot, int64_t slots) {
    float tail[RUN_PARTS];
    packed += slot * RUN_PARTS;
    for (int64_t i = 0; i < n / RUN_PARTS; i++, packed += slots * RUN_PARTS) {
        memcpy(packed, x + RUN_PARTS * i, sizeof tail);
    }
    if (n % RUN_PARTS != 0) {
        memcpy(packed, tail_of(x, n, tail), sizeof tail);
    }
}

HUB_INLINE void pack_zeros(int64_t n, float *packed, int64_t slot, int64_t slots) {
    for (int64_t i = 0; i < n; i += RUN_PARTS) {
        memset(packed + i * slots + slot * RUN_PARTS, 0, RUN_PARTS * sizeof *packed);
    }
}

/* parts[token][row][16] += the products of `steps` sixteens of w and of packed x[steps][tokens][16]; w is packed,
 * [steps][4][16], or, with a distance, 4 rows that are so far apart */
HUB_INLINE void tile(const int tokens, int64_t steps, const float *w, int64_t distance, const float *x, float *parts) {
    const int64_t row = distance ? distance : RUN_PARTS, step = distance ? RUN_PARTS : RUN_TILE_ROWS * RUN_PARTS;
    for (int h = 0; h < RUN_PARTS; h += WIDTH) {
        vec s[TILE_TOKENS][RUN_TILE_ROWS];
        HUB_UNROLL
        for (int c = 0; c < tokens; c++) {
            HUB_UNROLL
            for (int r = 0; r < RUN_TILE_ROWS; r++) {
                s[c][r] = vec_load(parts + (c * RUN_TILE_ROWS + r) * RUN_PARTS + h);
            }
        }
        const float *wi = w + h, *xi = x + h;
        for (int64_t i = 0; i < steps; i++, wi += step, xi += tokens * RUN_PARTS) {
            vec b[TILE_TOKENS];
            HUB_UNROLL
            for (int c = 0; c < tokens; c++) {
                b[c] = vec_load(xi + c * RUN_PARTS);
            }
            HUB_UNROLL
            for (int r = 0; r < RUN_TILE_ROWS; r++) {
                const vec a = vec_load(wi + r * row);
                HUB_UNROLL
                for (int c = 0; c < tokens; c++) {
                    s[c][r] = vec_fma(a, b[c], s[c][r]);
                }
            }
        }
        HUB_UNROLL
        for (int c = 0; c < tokens; c++) {
            HUB_UNROLL
            for (int r = 0; r < RUN_TILE_ROWS; r++) {
                vec_store(parts + (c * RUN_TILE_ROWS + r) * RUN_PARTS + h, s[c][r]);
            }
        }
    }
}

HUB_INLINE void tile_of(int tokens, int64_t steps, const float *w, int64_t distance, const float *x, float *parts) {
    switch (tokens) {
    case 1: tile(1, steps, w, distance, x, parts); break;
    case 2: tile(2, steps, w, distance, x, parts); break;
    case 3: tile(3, steps, w, distance, x, parts); break;
#define HUB_TILE(n) case n: if (n <= TILE_TOKENS) tile(n <= TILE_TOKENS ? n : 1, steps, w, distance, x, parts); break
    HUB_TILE(4);
    HUB_TILE(5);
    HUB_TILE(6);
#undef HUB_TILE
    default: break;
    }
}

static void HUB_RUN(hub_tile)(int tokens, int64_t steps, const float *w, const float *x, float *parts) {
    tile_of(tokens, steps, w, 0, x, parts);
}

#endif
