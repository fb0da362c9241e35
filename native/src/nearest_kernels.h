/* nearest_kernels.h - the kernels of nearest.h, in loops that compilers turn into vectors. HUB_ISA_SUFFIX is what the including
 * file is for; with NEAREST_LANES, errors are summed in the vectors of lanes_<isa>.h, included before. */
#ifndef HUB_NEAREST_KERNELS_H
#define HUB_NEAREST_KERNELS_H

#include "nearest.h"

#define HUB_NEAREST3(a, b) a##_##b
#define HUB_NEAREST2(a, b) HUB_NEAREST3(a, b)
#define HUB_NEAREST(name) HUB_NEAREST2(name, HUB_ISA_SUFFIX)

enum { PARTS = 16 };
#define ROUND 0x1.8p23f /* added to |v| < 2^22 and taken off again it leaves v rounded, half to even */

/* Clipped first: the bounds are whole numbers, so that is the same, and what is rounded is small. */
static inline float level_of(float x, float scale, float low, float high) {
    float t = x / scale;
    t = t < low ? low : t;
    t = t > high ? high : t;
    return (t + ROUND) - ROUND;
}

/* The sums of one group, `whole` weights of it, a multiple of PARTS. */
#ifdef NEAREST_LANES
static inline void add_errors(const float *x, const float *w, int64_t whole, float s, float low, float high, float *parts) {
    enum { VECTORS = PARTS / LANES };
    const vf scale = splat(s), least = splat(low), most = splat(high);
    vf sums[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        sums[v] = splat(0.0f);
    }
    for (int64_t i = 0; i < whole; i += PARTS) {
        for (int v = 0; v < VECTORS; v++) {
            const vf weight = load(x + i + v * LANES);
            const vf off = rounded(smaller(larger(weight / scale, least), most)) * scale - weight;
            sums[v] += w ? off * off * load(w + i + v * LANES) : off * off;
        }
    }
    for (int v = 0; v < VECTORS; v++) {
        store(parts + v * LANES, sums[v]);
    }
}
#else
static inline void add_errors(const float *x, const float *w, int64_t whole, float s, float low, float high, float *parts) {
    for (int64_t i = 0; i < whole; i++) {
        const float off = level_of(x[i], s, low, high) * s - x[i];
        parts[i % PARTS] += w ? off * off * w[i] : off * off;
    }
}
#endif

static void HUB_NEAREST(errors)(const float *x, int64_t groups, int64_t size, const float *scale, const float *zero, float most,
                                const float *weights, int64_t period, float *out) {
    const int64_t whole = size / PARTS * PARTS;
    for (int64_t g = 0; g < groups; g++, x += size) {
        const float s = scale[g], low = -zero[g], high = most - zero[g];
        const float *w = weights ? weights + g % period * size : NULL;
        float parts[PARTS] = {0.0f};
        if (w) {
            add_errors(x, w, whole, s, low, high, parts);
        } else {
            add_errors(x, NULL, whole, s, low, high, parts);
        }
        for (int64_t i = whole; i < size; i++) {
            const float off = level_of(x[i], s, low, high) * s - x[i];
            parts[i - whole] += w ? off * off * w[i] : off * off;
        }
        for (int width = PARTS / 2; width >= 1; width /= 2) {
            for (int j = 0; j < width; j++) {
                parts[j] += parts[j + width];
            }
        }
        out[g] = parts[0];
    }
}

static void HUB_NEAREST(codes)(const float *x, int64_t groups, int64_t size, const float *scale, const float *zero, float most,
                               uint8_t *out) {
    for (int64_t g = 0; g < groups; g++, x += size, out += size) {
        const float s = scale[g], z = zero[g];
        int64_t i = 0;
#ifdef NEAREST_LANES
        for (; i + LANES <= size; i += LANES) {
            const vf level = rounded(smaller(larger(load(x + i) / splat(s), splat(-z)), splat(most - z)));
            store_bytes(out + i, rounded_int(level + splat(z)));
        }
#endif
        for (; i < size; i++) {
            out[i] = (uint8_t)(int32_t)(level_of(x[i], s, -z, most - z) + z);
        }
    }
}

static void HUB_NEAREST(fit)(const float *x, int64_t groups, int64_t size, const float *scale, const float *zero, float most,
                             const float *weights, int64_t period, double *out) {
    for (int64_t g = 0; g < groups; g++, x += size) {
        const float s = scale[g], low = -zero[g], high = most - zero[g];
        const float *w = weights ? weights + g % period * size : NULL;
        double up[PARTS] = {0.0}, down[PARTS] = {0.0};
        int64_t i = 0;
        for (; i + PARTS <= size; i += PARTS) {
            for (int j = 0; j < PARTS; j++) {
                const double level = (double)level_of(x[i + j], s, low, high), weighted = w ? level * (double)w[i + j] : level;
                up[j] += weighted * (double)x[i + j];
                down[j] += weighted * level;
            }
        }
        for (int j = 0; i < size; i++, j++) {
            const double level = (double)level_of(x[i], s, low, high), weighted = w ? level * (double)w[i] : level;
            up[j] += weighted * (double)x[i];
            down[j] += weighted * level;
        }
        for (int width = PARTS / 2; width >= 1; width /= 2) {
            for (int j = 0; j < width; j++) {
                up[j] += up[j + width];
                down[j] += down[j + width];
            }
        }
        out[g] = up[0] / down[0];
    }
}

static const hub_nearest HUB_NEAREST(nearest_table) = {HUB_NEAREST(errors), HUB_NEAREST(codes), HUB_NEAREST(fit)};
const hub_kernels HUB_NEAREST(hub_nearest) = {.nearest = &HUB_NEAREST(nearest_table)};

#endif
