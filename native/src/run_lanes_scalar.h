/* run_lanes_scalar.h - one lane: the definition. What the names mean is in run_dot.h. */
#ifndef HUB_RUN_LANES_SCALAR_H
#define HUB_RUN_LANES_SCALAR_H

#include <math.h>

#include "run_math.h"

#define HUB_RUN_SUFFIX scalar
enum { WIDTH = 1, TILE_TOKENS = 6, WEIGHTED_VECTORS = 1 };

typedef float vec;

HUB_INLINE vec vec_splat(float a) { return a; }
HUB_INLINE vec vec_load(const float *p) { return *p; }
HUB_INLINE void vec_store(float *p, vec v) { *p = v; }
HUB_INLINE vec vec_add(vec a, vec b) { return a + b; }
HUB_INLINE vec vec_fma(vec a, vec b, vec c) { return fmaf(a, b, c); }

HUB_INLINE float join_one(const float *parts) {
    float s[16];
    memcpy(s, parts, sizeof s);
    for (int width = 8; width >= 1; width /= 2) {
        for (int i = 0; i < width; i++) {
            s[i] += s[i + width];
        }
    }
    return s[0];
}

HUB_INLINE void join_four(const float *parts, float *out) {
    for (int r = 0; r < 4; r++) {
        out[r] = join_one(parts + 16 * r);
    }
}

#endif
