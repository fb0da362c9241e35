/* nearest.h - codes by rounding to the nearest for scales and zero points that are given, and how wrong they are: what a
 * search of the best scale of every group asks again and again.
 *
 * Groups lie behind each other, `size` weights each. With scale s > 0 and zero point z of its group, a weight x has
 *
 *     level = clip(rint(x / s), -z, most - z)      half to even, in f32
 *     code = level + z
 *
 * errors(...): of every group the sum of w (level * s - x)^2, in f32: 16 partial sums, number i of a group to sum i % 16, then
 * joined 16 -> 8 -> 4 -> 2 -> 1. `weights` (period, size) are w of groups g % period; NULL is 1 everywhere.
 * codes(...): the codes of every group.
 * fit(...): scale of the least squared error for these levels, sum(w level x) / sum(w level^2) in double, summed alike; no
 * number, or infinite, where all levels are 0.
 *
 * x must be finite, z and most - z within 0..2^20. Results are the same bits on all instruction sets.
 */
#ifndef HUB_NEAREST_H
#define HUB_NEAREST_H

#include "hub_native.h"

typedef struct hub_nearest {
    void (*errors)(const float *x, int64_t groups, int64_t size, const float *scale, const float *zero, float most,
                   const float *weights, int64_t period, float *out);
    void (*codes)(const float *x, int64_t groups, int64_t size, const float *scale, const float *zero, float most, uint8_t *out);
    void (*fit)(const float *x, int64_t groups, int64_t size, const float *scale, const float *zero, float most,
                const float *weights, int64_t period, double *out);
} hub_nearest;

#endif
