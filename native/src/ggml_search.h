/* ggml_search.h - ggml's searches for scales, and the arithmetic rules that make them reproducible.
 *
 * A block's codes are the outcome of comparing sums of rounded floats: change one rounding and another candidate wins.
 * So the order of every operation here is the definition. No FMA, no reassociation; sums run from element 0; an earlier
 * candidate wins a tie. What may be done is not to do the same thing twice: w * x is formed once, candidates keep their
 * codes, and codes are floats (small integers are exact in them) so that no int <-> float conversion sits in a loop.
 *
 * Shared by ggml_legacy_scalar.c and ggml_k_scalar.c.
 */
#ifndef HUB_GGML_SEARCH_H
#define HUB_GGML_SEARCH_H

#include <math.h>
#include <stdbool.h>

#include "small_floats.h"

#if defined(_MSC_VER)
#define HUB_INLINE static __forceinline
#else
#define HUB_INLINE static inline __attribute__((always_inline)) /* n and the range become constants in each caller */
#endif

/* Hides a constant from the optimiser. gcc knows of two constant bounds that one implies the other and turns a clamp of
 * two instructions into branches; measured, that costs the searches 15 %. Without this they are merely slower. */
#if defined(__GNUC__) && defined(__SSE2__)
#define HUB_OPAQUE(v) __asm__("" : "+x"(v))
#elif defined(__GNUC__) && defined(__aarch64__)
#define HUB_OPAQUE(v) __asm__("" : "+w"(v))
#else
#define HUB_OPAQUE(v) (void)(v)
#endif

enum { SEARCH_MAX = 32 };          /* weights per sub-block, at most */
#define SEARCH_EPSILON 1e-15f      /* a group whose largest magnitude is below this is all zero */
#define ROUNDING_MAGIC 12582912.0f /* 1.5 * 2^23: added to v it leaves round-half-even(v) in the low mantissa bits */

/* ggml's nearest_int: right for |v| <= 4194303, and outside of it the same garbage as ggml's, which does reach files:
 * weights of 1e15 overflow a sum, and the scale that comes of it is infinite. */
HUB_INLINE int32_t nearest(float v) {
    return (int32_t)(float_bits(v + ROUNDING_MAGIC) & 0x007FFFFF) - 0x00400000;
}

HUB_INLINE int32_t clamp(int32_t v, int32_t lo, int32_t hi) { return v < lo ? lo : v > hi ? hi : v; }

/* clamp(nearest(v), lo, hi) as a float. `tame`: the caller knows that v lies where nearest() is right, and the whole
 * thing is four float operations. A NaN gives lo. */
HUB_INLINE float level(float v, int lo, int hi, bool tame) {
    if (tame) {
        float least = ROUNDING_MAGIC + (float)lo, most = ROUNDING_MAGIC + (float)hi;
        HUB_OPAQUE(least);
        HUB_OPAQUE(most);
        float t = v + ROUNDING_MAGIC;
        t = t > least ? t : least;
        t = t < most ? t : most;
        return t - ROUNDING_MAGIC;
    }
    return (float)clamp(nearest(v), lo, hi);
}

HUB_INLINE float sum_of_squares(const float *x, int64_t n) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sum;
}

/* w = importance * sqrt(sigma2 + x^2): what imatrix rows are turned into before a search. */
HUB_INLINE void importance_weights(int n, const float *x, const float *importance, float sigma2, float *w) {
    for (int i = 0; i < n; i++) {
        w[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * x ~ scale * (L - h), codes -h..h-1: nineteen scales around -h / (the largest x), each followed by least squares. */

typedef struct fit {
    float xl, ll; /* sums of (w * x) * l and (w * l) * l */
} fit;

/* Two scales in one pass: a sum waits for its last addition, so a second pair of sums is nearly free. */
HUB_INLINE void fit_symmetric(int n, int h, const float *x, const float *w, const float *wx, const float s[2], bool tame,
                              fit out[2]) {
    fit a = {0.0f, 0.0f}, b = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const float la = level(s[0] * x[i], -h, h - 1, tame);
        const float lb = level(s[1] * x[i], -h, h - 1, tame);
        a.xl += wx[i] * la;
        b.xl += wx[i] * lb;
        a.ll += w[i] * la * la;
        b.ll += w[i] * lb * lb;
    }
    out[0] = a;
    out[1] = b;
}

HUB_INLINE float search_symmetric_from(float peak, int n, int h, const float *x, const float *w, bool tame, uint8_t *L) {
    float wx[SEARCH_MAX];
    for (int i = 0; i < n; i++) {
        wx[i] = w[i] * x[i];
    }
    /* ggml's order; the last one twice, to have pairs (the same numbers again change nothing). */
    static const int8_t tenths[20] = {0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9};
    float taken = 0.0f, scale = 0.0f, best = 0.0f;
    for (int k = 0; k < 20; k += 2) {
        fit sum[2];
        const float s[2] = {-((float)h + 0.1f * (float)tenths[k]) / peak, -((float)h + 0.1f * (float)tenths[k + 1]) / peak};
        fit_symmetric(n, h, x, w, wx, s, tame, sum);
        for (int c = 0; c < 2; c++) {
            const float xl = sum[c].xl, ll = sum[c].ll;
            if (k + c == 0) { /* the first one is taken as it comes */
                taken = s[c];
                scale = ll != 0.0f ? xl / ll : 0.0f;
                best = scale * xl;
            } else if (ll > 0.0f && xl * xl > best * ll) {
                taken = s[c];
                scale = xl / ll;
                best = scale * xl;
            }
        }
    }
    for (int i = 0; i < n; i++) {
        L[i] = (uint8_t)((int32_t)level(taken * x[i], -h, h - 1, tame) + h);
    }
    return scale;
}

/* x, w (n,) -> L (n,) in 0..2h-1; returns the scale. */
HUB_INLINE float search_symmetric(int n, int h, const float *x, const float *w, uint8_t *L) {
    float largest = 0.0f, peak = 0.0f, poison = 0.0f;
    for (int i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        if (magnitude > largest) {
            largest = magnitude;
            peak = x[i];
        }
        poison += 0.0f * x[i]; /* NaN as soon as one x is not finite */
    }
    if (largest < SEARCH_EPSILON) {
        memset(L, 0, (size_t)n); /* code 0, not the code of zero: as ggml does */
        return 0.0f;
    }
    /* |s * x| <= h + 1 for finite x */
    return poison == 0.0f ? search_symmetric_from(peak, n, h, x, w, true, L)
                          : search_symmetric_from(peak, n, h, x, w, false, L);
}

/* The same for 3 bits and w = x^2, by another road: one scale, then up to five rounds of moving single codes.
 * x (n,) -> L (n,) in 0..2h-1; returns the scale. */
HUB_INLINE float search_symmetric_greedy(int n, int h, const float *x, uint8_t *L) {
    float largest = 0.0f, peak = 0.0f;
    for (int i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        if (magnitude > largest) {
            largest = magnitude;
            peak = x[i];
        }
    }
    if (largest < SEARCH_EPSILON) {
        memset(L, 0, (size_t)n);
        return 0.0f;
    }
    float w[SEARCH_MAX], wx[SEARCH_MAX], l[SEARCH_MAX];
    float sum_xl = 0.0f, sum_ll = 0.0f;
    const float s = (float)-h / peak;
    for (int i = 0; i < n; i++) {
        l[i] = level(s * x[i], -h, h - 1, false);
        w[i] = x[i] * x[i];
        wx[i] = w[i] * x[i];
        sum_xl += wx[i] * l[i];
        sum_ll += w[i] * l[i] * l[i];
    }
    for (int round = 0; round < 5; round++) {
        bool changed = false;
        for (int i = 0; i < n; i++) {
            float a = sum_xl - wx[i] * l[i];
            if (!(a > 0.0f)) {
                continue;
            }
            float b = sum_ll - w[i] * l[i] * l[i];
            const float t = level(x[i] * b / a, -h, h - 1, false); /* a may be tiny: the quotient is not tame */
            if (t == l[i]) {
                continue;
            }
            a += wx[i] * t;
            b += w[i] * t * t;
            if (b > 0.0f && a * a * sum_ll > sum_xl * sum_xl * b) {
                l[i] = t;
                sum_xl = a;
                sum_ll = b;
                changed = true;
            }
        }
        if (!changed) {
            break;
        }
    }
    for (int i = 0; i < n; i++) {
        L[i] = (uint8_t)((int32_t)l[i] + h);
    }
    return sum_ll > 0.0f ? sum_xl / sum_ll : 0.0f;
}

/* ---------------------------------------------------------------------------------------------------------------
 * x ~ scale * L - min, codes 0..top, min >= 0: steps + 1 scales, each followed by least squares for both numbers. */

typedef struct grid {
    float first, step; /* candidate k spreads the range over top + first + k * step codes */
    int steps;
    bool absolute; /* error |.| instead of the square */
} grid;

HUB_INLINE float error_of(int n, const float *x, const float *w, const float *l, float scale, float min, bool absolute) {
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        const float diff = scale * l[i] + min - x[i];
        sum += w[i] * (absolute ? fabsf(diff) : diff * diff);
    }
    return sum;
}

/* Rounding is monotone, so s * (x - min) for every x lies between its values at the smallest and the largest x.
 * False as well when s is infinite (a range below 2^-124) or anything is NaN. No such candidate has been seen to win, but
 * asking costs two products per candidate, and then nothing depends on that. */
HUB_INLINE bool is_tame(float s, float min, float lo, float hi) {
    return fabsf(s * (lo - min)) <= 4194303.0f && fabsf(s * (hi - min)) <= 4194303.0f;
}

typedef struct sums {
    float l, ll, lx; /* of w * l, (w * l) * l, (w * l) * x */
} sums;

HUB_INLINE sums cut(int n, int top, const float *x, const float *w, float s, float min, bool tame, float *l) {
    sums sum = {0.0f, 0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        l[i] = level(s * (x[i] - min), 0, top, tame);
        const float wl = w[i] * l[i];
        sum.l += wl;
        sum.ll += wl * l[i];
        sum.lx += wl * x[i];
    }
    return sum;
}

/* x, w (n,) -> L (n,) in 0..top and *the_min = -min; returns the scale. */
HUB_INLINE float search_asymmetric(int n, int top, const float *x, const float *w, grid g, uint8_t *L, float *the_min) {
    float lo = x[0], hi = x[0];
    float sum_w = w[0], sum_x = w[0] * x[0]; /* start from the first term, not from zero plus it */
    for (int i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    float min = lo > 0.0f ? 0.0f : lo;
    if (hi <= min) {
        memset(L, 0, (size_t)n);
        *the_min = -min;
        return 0.0f;
    }
    float kept[SEARCH_MAX], tried[SEARCH_MAX];
    float s = (float)top / (hi - min);
    float scale = 1.0f / s;
    (void)cut(n, top, x, w, s, min, false, kept);
    float best = error_of(n, x, w, kept, scale, min, g.absolute);
    for (int k = 0; k <= g.steps; k++) {
        /* min is the current one: it moves when a candidate is taken, and the later ones are cut accordingly. */
        s = (g.first + g.step * (float)k + (float)top) / (hi - min);
        const sums sum = is_tame(s, min, lo, hi) ? cut(n, top, x, w, s, min, true, tried)
                                                 : cut(n, top, x, w, s, min, false, tried);
        const float det = sum_w * sum.ll - sum.l * sum.l;
        if (!(det > 0.0f)) {
            continue;
        }
        float new_scale = (sum_w * sum.lx - sum_x * sum.l) / det;
        float new_min = (sum.ll * sum_x - sum.l * sum.lx) / det;
        if (new_min > 0.0f) {
            new_min = 0.0f;
            new_scale = sum.lx / sum.ll;
        }
        const float error = error_of(n, x, w, tried, new_scale, new_min, g.absolute);
        if (error < best) {
            memcpy(kept, tried, (size_t)n * sizeof *kept);
            best = error;
            scale = new_scale;
            min = new_min;
        }
    }
    for (int i = 0; i < n; i++) {
        L[i] = (uint8_t)(int32_t)kept[i];
    }
    *the_min = -min;
    return scale;
}

/* ---------------------------------------------------------------------------------------------------------------
 * Scales of scales: x >= 0, x ~ scale * L, codes 0..top. Runs once per super-block, so it stays with integers and with
 * ggml's uint8 codes: a negative x (a scale that least squares turned round) wraps, and the wrapped code is stored. */

HUB_INLINE float search_positive(int n, int top, const float *x, const float *w, uint8_t *L) {
    float largest = 0.0f;
    for (int i = 0; i < n; i++) {
        largest = largest > x[i] ? largest : x[i];
    }
    if (largest < SEARCH_EPSILON) {
        memset(L, 0, (size_t)n);
        return 0.0f;
    }
    float s = (float)top / largest;
    float best = 0.0f;
    for (int i = 0; i < n; i++) {
        const float diff = x[i] - 1.0f / s * (float)(uint8_t)nearest(s * x[i]); /* not capped, unlike the others */
        best += w[i] * diff * diff;
    }
    for (int k = -4; k <= 4; k++) {
        if (k == 0) {
            continue;
        }
        const float tried = (0.1f * (float)k + (float)top) / largest;
        const float back = 1.0f / tried;
        float error = 0.0f;
        for (int i = 0; i < n; i++) {
            const int32_t l = nearest(tried * x[i]);
            const float diff = x[i] - back * (float)(l < top ? l : top);
            error += w[i] * diff * diff;
        }
        if (error < best) {
            best = error;
            s = tried;
        }
    }
    float sum_xl = 0.0f, sum_ll = 0.0f;
    for (int i = 0; i < n; i++) {
        int32_t l = nearest(s * x[i]);
        l = l < top ? l : top;
        L[i] = (uint8_t)l;
        sum_xl += w[i] * x[i] * (float)l;
        sum_ll += w[i] * (float)l * (float)l;
    }
    for (int round = 0; round < 5; round++) {
        bool changed = false;
        for (int i = 0; i < n; i++) {
            const float l = (float)L[i];
            float a = sum_xl - w[i] * x[i] * l;
            float b = sum_ll - w[i] * l * l;
            if (!(a > 0.0f && b > 0.0f)) {
                continue;
            }
            int32_t t = nearest(x[i] * b / a);
            t = t < top ? t : top;
            if (t == (int32_t)L[i]) {
                continue;
            }
            a += w[i] * x[i] * (float)t;
            b += w[i] * (float)t * (float)t;
            if (a * a * sum_ll > sum_xl * sum_xl * b) {
                L[i] = (uint8_t)t;
                sum_xl = a;
                sum_ll = b;
                changed = true;
            }
        }
        if (!changed) {
            break;
        }
    }
    return sum_ll > 0.0f ? sum_xl / sum_ll : 0.0f;
}

#endif
