/* run_elementwise.h - activations and sums, number by number: compilers make vectors of these loops. */
#ifndef HUB_RUN_ELEMENTWISE_H
#define HUB_RUN_ELEMENTWISE_H

#include "run_dot.h"

HUB_INLINE float silu_of(float x) { return (float)((double)x / (1.0 + exp_32(-(double)x))); }

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), without the cancellation */
HUB_INLINE float gelu_tanh_of(float x) {
    const double v = (double)x, twice = 1.5957691216057308 * (v + 0.044715 * (v * v * v)); /* 2 sqrt(2 / pi) */
    return (float)(v / (1.0 + exp_32(-twice)));
}

HUB_INLINE float gelu_erf_of(float x) {
    const double v = (double)x, below = 0.5 * erfc_32(fabs(v) * 0.70710678118654752);
    return (float)(v * (v < 0.0 ? below : 1.0 - below));
}

#define HUB_ELEMENTWISE(name)                                                                             \
    static void HUB_RUN(hub_##name)(const float *x, int64_t n, float *out) {                              \
        HUB_INDEPENDENT                                                                                   \
        for (int64_t i = 0; i < n; i++) out[i] = name##_of(x[i]);                                         \
    }                                                                                                     \
    static void HUB_RUN(hub_##name##_mul)(const float *gate, const float *up, int64_t n, float *out) {    \
        HUB_INDEPENDENT                                                                                   \
        for (int64_t i = 0; i < n; i++) out[i] = name##_of(gate[i]) * up[i];                              \
    }
HUB_ELEMENTWISE(silu)
HUB_ELEMENTWISE(gelu_tanh)
HUB_ELEMENTWISE(gelu_erf)
#undef HUB_ELEMENTWISE

static void HUB_RUN(hub_swiglu_pairs)(const float *x, int64_t n, float alpha, float limit, float *out) {
    const double by = (double)alpha;
    HUB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        /* written so that a NaN stays one */
        const float gate = x[2 * i] > limit ? limit : x[2 * i];
        const float high = x[2 * i + 1] > limit ? limit : x[2 * i + 1], up = high < -limit ? -limit : high;
        out[i] = (float)((double)gate / (1.0 + exp_32(-(by * (double)gate)))) * (up + 1.0f);
    }
}

static void HUB_RUN(hub_softcap)(const float *x, int64_t n, float cap, float *out) {
    HUB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        out[i] = softcapped(x[i], cap);
    }
}

static void HUB_RUN(hub_add)(const float *a, const float *b, int64_t n, float *out) {
    HUB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        out[i] = a[i] + b[i];
    }
}

static void HUB_RUN(hub_add_row)(float *x, int64_t rows, int64_t n, const float *bias) {
    for (int64_t r = 0; r < rows; r++, x += n) {
        HUB_RUN(hub_add)(x, bias, n, x);
    }
}

static void HUB_RUN(hub_scale)(float *x, int64_t n, float by) {
    for (int64_t i = 0; i < n; i++) {
        x[i] *= by;
    }
}

#endif
