/* run_rows.h - norms, rotary positions, softmax and the largest of a row. */
#ifndef HUB_RUN_ROWS_H
#define HUB_RUN_ROWS_H

#include "run_attention.h"

static void HUB_RUN(hub_rms_norm)(const float *x, int64_t groups, int64_t n, const float *weight, float eps,
                                  float *out) {
    for (int64_t g = 0; g < groups; g++, x += n, out += n) {
        const float by = 1.0f / sqrtf(dot_self(x, n) / (float)n + eps);
        if (weight) {
            HUB_INDEPENDENT
            for (int64_t i = 0; i < n; i++) {
                out[i] = x[i] * by * weight[i];
            }
        } else {
            HUB_INDEPENDENT
            for (int64_t i = 0; i < n; i++) {
                out[i] = x[i] * by;
            }
        }
    }
}

static void HUB_RUN(hub_layer_norm)(const float *x, int64_t rows, int64_t n, const float *weight, const float *bias,
                                    float eps, float *out) {
    for (int64_t r = 0; r < rows; r++, x += n, out += n) {
        const float mean = sum_of(x, n) / (float)n;
        HUB_INDEPENDENT
        for (int64_t i = 0; i < n; i++) {
            out[i] = x[i] - mean;
        }
        const float by = 1.0f / sqrtf(dot_self(out, n) / (float)n + eps);
        HUB_INDEPENDENT
        for (int64_t i = 0; i < n; i++) {
            out[i] = out[i] * by * weight[i];
        }
        if (bias) {
            HUB_INDEPENDENT
            for (int64_t i = 0; i < n; i++) {
                out[i] += bias[i];
            }
        }
    }
}

static void HUB_RUN(hub_rope)(float *x, int64_t tokens, int64_t heads, int64_t dim, const float *cos, const float *sin,
                              int64_t half, bool neighbours) {
    for (int64_t t = 0; t < tokens; t++, cos += half, sin += half) {
        for (int64_t h = 0; h < heads; h++, x += dim) {
            if (neighbours) {
                HUB_INDEPENDENT
                for (int64_t i = 0; i < half; i++) {
                    const float a = x[2 * i], b = x[2 * i + 1];
                    x[2 * i] = a * cos[i] - b * sin[i];
                    x[2 * i + 1] = b * cos[i] + a * sin[i];
                }
            } else {
                float *y = x + half;
                HUB_INDEPENDENT
                for (int64_t i = 0; i < half; i++) {
                    const float a = x[i], b = y[i];
                    x[i] = a * cos[i] - b * sin[i];
                    y[i] = b * cos[i] + a * sin[i];
                }
            }
        }
    }
}

static void HUB_RUN(hub_rope_tables)(const float *inv_freq, int64_t half, const int32_t *positions, int64_t tokens,
                                     float scale, float *cos, float *sin) {
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t i = 0; i < half; i++) {
            const float angle = (float)positions[t] * inv_freq[i];
            double c, s;
            cos_sin_32((double)angle, &c, &s);
            cos[t * half + i] = (float)c * scale;
            sin[t * half + i] = (float)s * scale;
        }
    }
}

static void HUB_RUN(hub_softmax)(const float *x, int64_t rows, int64_t n, float *out) {
    for (int64_t r = 0; r < rows; r++) {
        softmax_row(x + r * n, n, NULL, out + r * n);
    }
}

/* By insertion: k is small. A NaN is passed over as long as there are numbers. */
static void HUB_RUN(hub_top_k)(const float *x, int64_t rows, int64_t n, int64_t k, int32_t *ids, float *values) {
    for (int64_t r = 0; r < rows; r++, x += n, ids += k, values += k) {
        int64_t have = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t at = have;
            while (at > 0 && (x[i] > values[at - 1] || (values[at - 1] != values[at - 1] && x[i] == x[i]))) {
                at--;
            }
            if (at >= k) {
                continue;
            }
            have = have < k ? have + 1 : k;
            for (int64_t j = have - 1; j > at; j--) {
                values[j] = values[j - 1];
                ids[j] = ids[j - 1];
            }
            values[at] = x[i];
            ids[at] = (int32_t)i;
        }
    }
}

#endif
