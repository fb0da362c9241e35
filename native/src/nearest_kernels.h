/* nearest_kernels.h - the search of nearest.h. HUB_ISA_SUFFIX is what the including file is for; with NEAREST_LANES, errors are
 * summed and codes made in the vectors of lanes_<isa>.h, included before. */
#ifndef HUB_NEAREST_KERNELS_H
#define HUB_NEAREST_KERNELS_H

#include <math.h>

#include "nearest.h"
#include "small_floats.h"

#define HUB_NEAREST3(a, b) a##_##b
#define HUB_NEAREST2(a, b) HUB_NEAREST3(a, b)
#define HUB_NEAREST(name) HUB_NEAREST2(name, HUB_ISA_SUFFIX)

enum { PARTS = 16, SHRUNK = 13 };
#define ROUND 0x1.8p23f        /* added to |v| < 2^22 and taken off again it leaves v rounded, half to even */
#define ROUND_DOUBLE 0x1.8p52 /* the same for |v| < 2^51 */

typedef struct group_of {
    const float *x, *weights;
    int64_t size, whole; /* weights, and those of them in full rounds of PARTS */
    float most;
} group_of;

typedef struct best_of {
    float error, scale, zero;
} best_of;

/* Clipped first: the bounds are whole numbers, so that is the same, and what is rounded is small. */
static inline float level_of(float x, float scale, float low, float high) {
    float t = x / scale;
    t = t < low ? low : t;
    t = t > high ? high : t;
    return (t + ROUND) - ROUND;
}

/* ---------------------------------------------------------------- sums over a group */

#ifdef NEAREST_LANES
static inline void add_errors(const group_of *g, const float *w, float s, float low, float high, float *parts) {
    enum { VECTORS = PARTS / LANES };
    const vf scale = splat(s), least = splat(low), most = splat(high);
    vf sums[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        sums[v] = splat(0.0f);
    }
    for (int64_t i = 0; i < g->whole; i += PARTS) {
        for (int v = 0; v < VECTORS; v++) {
            const vf x = load(g->x + i + v * LANES);
            const vf off = rounded(smaller(larger(x / scale, least), most)) * scale - x;
            sums[v] += w ? off * off * load(w + i + v * LANES) : off * off;
        }
    }
    for (int v = 0; v < VECTORS; v++) {
        store(parts + v * LANES, sums[v]);
    }
}
#else
static inline void add_errors(const group_of *g, const float *w, float s, float low, float high, float *parts) {
    for (int64_t i = 0; i < g->whole; i++) {
        const float off = level_of(g->x[i], s, low, high) * s - g->x[i];
        parts[i % PARTS] += w ? off * off * w[i] : off * off;
    }
}
#endif

static float group_error(const group_of *g, float s, float z) {
    const float low = -z, high = g->most - z, *w = g->weights;
    float parts[PARTS] = {0.0f};
    if (w) {
        add_errors(g, w, s, low, high, parts);
    } else {
        add_errors(g, NULL, s, low, high, parts);
    }
    for (int64_t i = g->whole; i < g->size; i++) {
        const float off = level_of(g->x[i], s, low, high) * s - g->x[i];
        parts[i - g->whole] += w ? off * off * w[i] : off * off;
    }
    for (int width = PARTS / 2; width >= 1; width /= 2) {
        for (int j = 0; j < width; j++) {
            parts[j] += parts[j + width];
        }
    }
    return parts[0];
}

/* The scale of the least squared error for the levels of `best`; no number, or infinite, where all of them are 0. */
static double group_fit(const group_of *g, const best_of *best) {
    const float s = best->scale, low = -best->zero, high = g->most - best->zero, *w = g->weights;
    double up[PARTS] = {0.0}, down[PARTS] = {0.0};
    for (int64_t i = 0; i < g->size; i += PARTS) {
        const int64_t count = g->size - i < PARTS ? g->size - i : PARTS;
        for (int64_t j = 0; j < count; j++) {
            const double level = (double)level_of(g->x[i + j], s, low, high);
            const double weighted = w ? level * (double)w[i + j] : level;
            up[j] += weighted * (double)g->x[i + j];
            down[j] += weighted * level;
        }
    }
    for (int width = PARTS / 2; width >= 1; width /= 2) {
        for (int j = 0; j < width; j++) {
            up[j] += up[j + width];
            down[j] += down[j + width];
        }
    }
    return up[0] / down[0];
}

/* ---------------------------------------------------------------- what is tried */

typedef struct limits_of {
    double least, most;
} limits_of;

static const limits_of nearest_limits[] = {
    [HUB_F32] = {0x1p-149, 0x1.fffffep127}, [HUB_F16] = {0x1p-24, 65504.0}, [HUB_BF16] = {0x1p-133, 0x1.fep127}};

static inline float stored(double scale, hub_type type) {
    const limits_of at = nearest_limits[type];
    scale = scale < at.least ? at.least : scale;
    const float f = (float)(scale > at.most ? at.most : scale);
    const float kept = type == HUB_F16 ? f16_to_f32(f32_to_f16(f)) : type == HUB_BF16 ? bf16_to_f32(f32_to_bf16(f)) : f;
    return kept > (float)at.least ? kept : (float)at.least;
}

static inline void offer(const group_of *g, best_of *best, float scale, float zero) {
    const float error = group_error(g, scale, zero);
    if (error < best->error) {
        *best = (best_of){error, scale, zero};
    }
}

static inline float clipped(double zero, double most) {
    zero = zero < 0.0 ? 0.0 : zero;
    zero = zero > most ? most : zero;
    return (float)((zero + ROUND_DOUBLE) - ROUND_DOUBLE);
}

static inline void try_symmetric(const group_of *g, best_of *best, int bits, hub_type type, double largest) {
    const double half = (double)g->most / 2.0, middle = (double)(1 << (bits - 1));
    const float zero = (float)middle;
    const double others[] = {middle, middle > 2.0 ? middle - 1.0 : 1.0, 1.0};
    for (int i = 0; i < SHRUNK; i++) {
        offer(g, best, largest == 0.0 ? 1.0f : stored(largest * (1.0 - i / 32.0) / half, type), zero);
    }
    for (int i = 0; i < 3; i++) {
        offer(g, best, largest == 0.0 ? 1.0f : stored(largest / others[i], type), zero);
    }
}

static inline void offer_between(const group_of *g, best_of *best, double low, double high, hub_type type, bool exact) {
    const double most = (double)g->most, asked = (high > low ? high - low : most) / most;
    const float scale = stored(asked, type);
    offer(g, best, scale, clipped(-low / (exact ? (asked > 1e-30 ? asked : 1e-30) : (double)scale), most));
}

static inline void try_range(const group_of *g, best_of *best, hub_type type, double lowest, double highest) {
    const double low = lowest < 0.0 ? lowest : 0.0, high = highest > 0.0 ? highest : 0.0;
    for (int i = 0; i < SHRUNK; i++) {
        offer_between(g, best, (1.0 - i / 32.0) * low, (1.0 - i / 32.0) * high, type, false);
    }
    offer_between(g, best, low, high, type, true);
    offer_between(g, best, lowest, highest, type, true);
}

/* ---------------------------------------------------------------- all groups */

static void HUB_NEAREST(search)(const float *x, int64_t groups, int64_t size, int bits, bool symmetric, hub_type type,
                                const float *weights, int64_t period, uint8_t *codes, float *scales, uint8_t *zeros) {
    group_of g = {x, NULL, size, size / PARTS * PARTS, (float)((1 << bits) - 1)};
    for (int64_t n = 0; n < groups; n++, g.x += size, codes += size) {
        g.weights = weights ? weights + n % period * size : NULL;
        float lowest = g.x[0], highest = g.x[0];
        for (int64_t i = 1; i < size; i++) {
            lowest = g.x[i] < lowest ? g.x[i] : lowest;
            highest = g.x[i] > highest ? g.x[i] : highest;
        }
        best_of best = {INFINITY, 1.0f, symmetric ? (float)(1 << (bits - 1)) : 0.0f};
        if (symmetric) {
            try_symmetric(&g, &best, bits, type, (double)(-lowest > highest ? -lowest : highest));
        } else {
            try_range(&g, &best, type, (double)lowest, (double)highest);
        }
        const double fit = group_fit(&g, &best);
        offer(&g, &best, stored(fit > 0.0 && fit < INFINITY ? fit : (double)best.scale, type), best.zero);
        scales[n] = best.scale;
        zeros[n] = (uint8_t)best.zero;
        int64_t i = 0;
#ifdef NEAREST_LANES
        const vf scale = splat(best.scale), zero = splat(best.zero), least = splat(-best.zero), most = splat(g.most - best.zero);
        for (; i + LANES <= size; i += LANES) {
            store_bytes(codes + i, rounded_int(rounded(smaller(larger(load(g.x + i) / scale, least), most)) + zero));
        }
#endif
        for (; i < size; i++) {
            codes[i] = (uint8_t)(int32_t)(level_of(g.x[i], best.scale, -best.zero, g.most - best.zero) + best.zero);
        }
    }
}

static const hub_nearest HUB_NEAREST(nearest_table) = {HUB_NEAREST(search)};
const hub_kernels HUB_NEAREST(hub_nearest) = {.nearest = &HUB_NEAREST(nearest_table)};

#endif
