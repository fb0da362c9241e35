/* run_stats.h - how two models' predictions differ, and how large activations are. Sums in double. */
#ifndef HUB_RUN_STATS_H
#define HUB_RUN_STATS_H

#include "run_dot.h"

HUB_INLINE double join_doubles(double *s) {
    for (int width = RUN_PARTS / 2; width >= 1; width /= 2) {
        for (int i = 0; i < width; i++) {
            s[i] += s[i + width];
        }
    }
    return s[0];
}

/* The first of the largest; 0 if there is no number. */
HUB_INLINE int64_t argmax(const float *x, int64_t n) {
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++) {
        at = x[i] > x[at] || (x[at] != x[at] && x[i] == x[i]) ? i : at;
    }
    return at;
}

/* log(sum(exp(x))) */
static double HUB_RUN(hub_log_sum_exp)(const float *x, int64_t n, double largest) {
    double parts[RUN_PARTS] = {0.0};
    for (int64_t i = 0; i < n / RUN_PARTS; i++) {
        for (int j = 0; j < RUN_PARTS; j++) {
            parts[j] += exp_64((double)x[RUN_PARTS * i + j] - largest);
        }
    }
    for (int64_t i = n / RUN_PARTS * RUN_PARTS; i < n; i++) {
        parts[i % RUN_PARTS] += exp_64((double)x[i] - largest);
    }
    return largest + log(join_doubles(parts));
}

/* p (log p - log q); 0 where p is 0, which a score of -infinity is */
HUB_INLINE double divergence(double a, double b, double a_total, double b_total) {
    const double log_p = a - a_total, term = exp_64(log_p) * (log_p - (b - b_total));
    return log_p < -700.0 ? 0.0 : term;
}

static void HUB_RUN(hub_log_softmax_stats)(const float *a, const float *b, int64_t rows, int64_t n, const int32_t *next,
                                           double *kl, double *nll_a, double *nll_b, uint8_t *same_top) {
    for (int64_t r = 0; r < rows; r++, a += n, b += n) {
        const int64_t a_top = argmax(a, n), b_top = argmax(b, n);
        const double a_total = HUB_RUN(hub_log_sum_exp)(a, n, (double)a[a_top]);
        const double b_total = HUB_RUN(hub_log_sum_exp)(b, n, (double)b[b_top]);
        double parts[RUN_PARTS] = {0.0};
        for (int64_t i = 0; i < n / RUN_PARTS; i++) {
            for (int j = 0; j < RUN_PARTS; j++) {
                parts[j] += divergence((double)a[RUN_PARTS * i + j], (double)b[RUN_PARTS * i + j], a_total, b_total);
            }
        }
        for (int64_t i = n / RUN_PARTS * RUN_PARTS; i < n; i++) {
            parts[i % RUN_PARTS] += divergence((double)a[i], (double)b[i], a_total, b_total);
        }
        kl[r] = join_doubles(parts);
        nll_a[r] = next[r] < 0 ? 0.0 : a_total - (double)a[next[r]];
        nll_b[r] = next[r] < 0 ? 0.0 : b_total - (double)b[next[r]];
        same_top[r] = a_top == b_top;
    }
}

static void HUB_RUN(hub_sum_squares)(const float *x, int64_t rows, int64_t n, double *out) {
    for (int64_t r = 0; r < rows; r++, x += n) {
        for (int64_t i = 0; i < n; i++) {
            out[i] += (double)x[i] * (double)x[i];
        }
    }
}

#endif
