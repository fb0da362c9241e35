/* run_math.h - exp, tanh, erfc, sin and cos as sequences of IEEE operations, the same on all machines.
 *
 * Arguments and results are double, to be rounded to f32 once by the caller; errors are below 1e-9 of the result, so
 * the f32 is within 0.51 ulp. Branch-free where elementwise loops use them, so that compilers turn those into vectors.
 */
#ifndef HUB_RUN_MATH_H
#define HUB_RUN_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef HUB_INLINE
#if defined(_MSC_VER)
#define HUB_INLINE static __forceinline
#else
#define HUB_INLINE static inline __attribute__((always_inline))
#endif
#endif

#define RUN_ROUND 0x1.8p52 /* added to |v| < 2^51 it leaves round-half-even(v) in the low mantissa bits */

HUB_INLINE int64_t double_bits(double v) {
    int64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

HUB_INLINE double bits_double(int64_t u) {
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* exp(r) * 2^n with x = n ln 2 + r. Clamped to where 2^n is a normal number, far outside of what an f32 holds; NaN
 * stays NaN because both comparisons are false. `terms` of the series of exp are used: 9 are 2e-10, 14 are a double's
 * last bit. */
HUB_INLINE double exp_series(double x, const int terms) {
    x = x < -700.0 ? -700.0 : x;
    x = x > 700.0 ? 700.0 : x;
    const double shifted = x * 0x1.71547652b82fep+0 + RUN_ROUND;
    const double n = shifted - RUN_ROUND;
    const double r = (x - n * 0x1.62e42fefa2000p-1) - n * 0x1.9ef35793c7673p-41; /* ln 2 in 40 bits, and the rest */
    static const double inverse_factorial[] = {
        1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
        1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0,
    };
    double sum = inverse_factorial[terms - 1];
    for (int i = terms - 2; i >= 0; i--) {
        sum = sum * r + inverse_factorial[i];
    }
    return sum * bits_double((int64_t)((uint64_t)(double_bits(shifted) + 1023) << 52));
}

HUB_INLINE double exp_64(double x) { return exp_series(x, 14); }
HUB_INLINE double exp_32(double x) { return exp_series(x, 9); } /* to be rounded to f32 */

/* (1 - e) / (1 + e) with e = exp(-2 |x|); below 1/64, where 1 - e loses digits, the series x - x^3/3 + 2/15 x^5. */
HUB_INLINE double tanh_32(double x) {
    const double size = fabs(x), square = x * x;
    const double e = exp_32(-2.0 * size);
    const double large = (1.0 - e) / (1.0 + e);
    const double small = size * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))));
    const double result = size < 0x1p-6 ? small : large;
    return x < 0.0 ? -result : result;
}

/* erfc(z) for z >= 0: exp(-z^2) / (1 + 2z) * P((z - 3.75) / (z + 3.75)). The substitution is that of Shepherd and
 * Laframboise (Mathematics of Computation 36, 1981); P is our own Chebyshev interpolation of it in 60 digits, cut at
 * degree 16 (3e-11). */
HUB_INLINE double erfc_32(double z) {
    static const double p[] = {
        0x1.3ccda0b5d4c2ap+0,   -0x1.1f3676840fe69p-3,  0x1.d5f295e8b6f84p-9,   0x1.510169d8bddf9p-4,
        -0x1.bda931c8d79ebp-4,  0x1.7a141823401dcp-4,   -0x1.e0d0e1d036fbbp-5,  0x1.d0b00c2c91628p-6,
        -0x1.3f624022a3a12p-7,  0x1.cc38b1eb203e0p-10,  0x1.34ba71f578a33p-12,  -0x1.303abe248b935p-12,
        0x1.a6b4a4d599f78p-15,  0x1.77df8190c0eb3p-16,  -0x1.5352803519451p-17, -0x1.15df59ca6082bp-20,
        0x1.f8af0a9aa6d31p-21,
    };
    z = z > 40.0 ? 40.0 : z; /* infinity / infinity */
    const double u = (z - 3.75) / (z + 3.75);
    double sum = p[16];
    for (int i = 15; i >= 0; i--) {
        sum = sum * u + p[i];
    }
    return exp_32(-(z * z)) * sum / (1.0 + 2.0 * z);
}

/* x -> r, x = q pi/2 + r with |r| <= pi/4, for |x| <= 2^28: pi/2 in parts of 25, 25 and 53 bits, so that q times the
 * first two is exact. Returns q mod 4. */
HUB_INLINE int quarter_turns(double x, double *r) {
    const double shifted = x * 0x1.45f306dc9c883p-1 + RUN_ROUND;
    const double q = shifted - RUN_ROUND;
    *r = ((x - q * 0x1.921fb50000000p+0) - q * 0x1.110b460000000p-26) - q * 0x1.1a62633145c07p-54;
    return (int)(double_bits(shifted) & 3);
}

HUB_INLINE double sin_series(double r) {
    const double s = r * r;
    return r * (1.0 + s * (-1.0 / 6 + s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880 + s * (-1.0 / 39916800 +
           s * (1.0 / 6227020800.0)))))));
}

HUB_INLINE double cos_series(double r) {
    const double s = r * r;
    return 1.0 + s * (-1.0 / 2 + s * (1.0 / 24 + s * (-1.0 / 720 + s * (1.0 / 40320 + s * (-1.0 / 3628800 +
           s * (1.0 / 479001600.0))))));
}

HUB_INLINE void cos_sin_32(double x, double *cosine, double *sine) {
    double r;
    const int q = quarter_turns(x, &r);
    const double c = cos_series(r), s = sin_series(r);
    *cosine = q == 0 ? c : q == 1 ? -s : q == 2 ? -c : s;
    *sine = q == 0 ? s : q == 1 ? c : q == 2 ? -s : -c;
}

#endif
