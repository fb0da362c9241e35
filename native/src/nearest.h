/* nearest.h - integers by rounding to the nearest, with a search of the scale of every group.
 *
 * Groups lie behind each other, `size` weights each. With scale s > 0 and zero point z of its group, a weight x has
 *
 *     level = clip(rint(x / s), -z, most - z)      half to even, in f32; most = 2^bits - 1
 *     code = level + z
 *
 * and the group's error is the sum of w (level * s - x)^2, in f32: 16 partial sums, number i of a group to sum i % 16, then
 * joined 16 -> 8 -> 4 -> 2 -> 1. `weights` (period, size) are w of groups g % period; NULL is 1 everywhere.
 *
 * These are tried in this order, computed in double; S() rounds to `type` (HUB_F32, HUB_F16, HUB_BF16), at least its smallest
 * number and at most its largest; f goes through 1, 31/32, ... 20/32; the first of the least errors wins:
 *
 *   symmetric, z = 2^(bits-1), a the largest magnitude, every s S(1) where a is 0:
 *     S(a f / (most / 2)),  S(a / 2^(bits-1)),  S(a / max(1, 2^(bits-1) - 1)),  S(a)
 *   else, lo and hi the extremes, l = min(lo, 0), h = max(hi, 0), with d(l, h) = (h - l) / most, 1 where h is not above l:
 *     s = S(d(f l, f h)), z = clip(rint(-f l / s), 0, most)
 *     s = S(d(l, h)),     z = clip(rint(-l / max(d(l, h), 1e-30)), 0, most)
 *     s = S(d(lo, hi)),   z = clip(rint(-lo / max(d(lo, hi), 1e-30)), 0, most)
 *   and last, with the levels of the best, s = S(sum(w level x) / sum(w level^2)), the sums in double and in 16 parts likewise.
 *
 * x must be finite. Results are the same bits on all instruction sets.
 */
#ifndef HUB_NEAREST_H
#define HUB_NEAREST_H

#include "hub_native.h"

typedef struct hub_nearest {
    void (*search)(const float *x, int64_t groups, int64_t size, int bits, bool symmetric, hub_type type, const float *weights,
                   int64_t period, uint8_t *codes, float *scales, uint8_t *zeros);
} hub_nearest;

#endif
