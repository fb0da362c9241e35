/* Looking at weights without changing them: are they finite, how large, how far from others. */
#include "hub_native.h"
#include "small_floats.h"

/* Without their sign bit IEEE numbers sort like integers, so the largest finite magnitude is found on the bits;
 * everything from `infinity` on is not finite. */
static void note(hub_scan *out, int64_t i, uint32_t magnitude, uint32_t infinity, uint32_t *largest) {
    if (magnitude >= infinity) {
        if (out->nonfinite++ == 0) {
            out->first = i;
        }
    } else if (magnitude > *largest) {
        *largest = magnitude;
    }
}

static void hub_scan_f32_scalar(const void *data, int64_t n, hub_scan *out) {
    const uint8_t *in = data;
    uint32_t largest = 0;
    *out = (hub_scan){0, -1, 0.0f};
    for (int64_t i = 0; i < n; i++) {
        note(out, i, load_u32(in + 4 * i) & 0x7FFFFFFF, 0x7F800000, &largest);
    }
    out->max_abs = bits_float(largest);
}

static void hub_scan_f16_scalar(const void *data, int64_t n, hub_scan *out) {
    const uint8_t *in = data;
    uint32_t largest = 0;
    *out = (hub_scan){0, -1, 0.0f};
    for (int64_t i = 0; i < n; i++) {
        note(out, i, load_u16(in + 2 * i) & 0x7FFF, 0x7C00, &largest);
    }
    out->max_abs = f16_to_f32((uint16_t)largest);
}

static void hub_scan_bf16_scalar(const void *data, int64_t n, hub_scan *out) {
    const uint8_t *in = data;
    uint32_t largest = 0;
    *out = (hub_scan){0, -1, 0.0f};
    for (int64_t i = 0; i < n; i++) {
        note(out, i, load_u16(in + 2 * i) & 0x7FFF, 0x7F80, &largest);
    }
    out->max_abs = bf16_to_f32((uint16_t)largest);
}

enum { LANES = 16 };

/* The order of the sums is part of the contract: position i goes to partial sum i % 16, and the sixteen are joined by
 * halves (8, 4, 2, 1). Any vector width up to 16 can follow it, so the figures in a report do not depend on the CPU. */
static double join(const double part[LANES]) {
    double s[LANES];
    memcpy(s, part, sizeof s);
    for (int width = LANES / 2; width >= 1; width /= 2) {
        for (int i = 0; i < width; i++) {
            s[i] += s[i + width];
        }
    }
    return s[0];
}

/* Equal bits are no difference, whatever they are (so NaN against the same NaN counts as equal), nor are zeros of either
 * sign: no product or sum that begins at +0 tells them apart, and scale * (code - zero) has another one than
 * scale * code + offset. Any other NaN in a - b makes both max_abs and sum_sq NaN. */
static void hub_compare_scalar(const float *a, const float *b, int64_t n, hub_difference *out) {
    double sum_sq[LANES] = {0}, sum_sq_a[LANES] = {0};
    double max_abs = 0.0;
    int64_t unequal = 0;
    for (int64_t i = 0; i < n; i++) {
        const double value = (double)a[i];
        double diff = 0.0;
        if (float_bits(a[i]) != float_bits(b[i]) && !(a[i] == 0.0f && b[i] == 0.0f)) {
            unequal++;
            diff = value - (double)b[i];
            const double magnitude = diff < 0.0 ? -diff : diff;
            max_abs = magnitude > max_abs ? magnitude : max_abs;
        }
        sum_sq[i % LANES] += diff * diff;
        sum_sq_a[i % LANES] += value * value;
    }
    out->sum_sq = join(sum_sq);
    out->sum_sq_a = join(sum_sq_a);
    out->max_abs = out->sum_sq == out->sum_sq ? max_abs : out->sum_sq; /* a sum of squares is NaN iff a term is */
    out->unequal = unequal;
}

extern const hub_kernels hub_measure_scalar;
const hub_kernels hub_measure_scalar = {
    .scan = {
        [HUB_F32] = hub_scan_f32_scalar,
        [HUB_F16] = hub_scan_f16_scalar,
        [HUB_BF16] = hub_scan_bf16_scalar,
    },
    .compare = hub_compare_scalar,
};
