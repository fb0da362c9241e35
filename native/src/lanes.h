/* lanes.h - vectors of LANES lanes, each of which works on a sub-block of its own: what the kernels written for them share.
 *
 * lanes_<isa>.h defines, for its instruction set:
 *   LANES, HUB_ISA_SUFFIX          8, avx2
 *   vf, vi, vmask                  LANES floats, int32s, truth values; + - * / & | are the compiler's
 *   splat(a) load(p) store(p, v) store_int(p, v)    p need not be aligned
 *   smaller(a, b) larger(a, b)     a < b ? a : b, a > b ? a : b: with a NaN, b
 *   smaller_int larger_int magnitude square_root
 *   truncated(a)                   towards zero; any number where that is not an int32
 *   rounded(a) rounded_int(a)      to the nearest, half to even; the latter any number where that is not an int32
 *   store_bytes(p, v)              LANES bytes of v, each 0..255
 *   store_32_bytes(p, v)           the same of v[32 / LANES]
 *   is_less(a, b) is_at_most(a, b) is_equal(a, b)   false with a NaN
 *   is_other(a, b)                 true with a NaN
 *   both(m, n) any(m) all(m) choose(m, a, b) choose_int(m, a, b)
 *   transpose(v)                   v[LANES], in place
 */
#ifndef HUB_LANES_H
#define HUB_LANES_H

#include "ggml_search.h"

#define HUB_JOIN3(a, b, c) a##b##c
#define HUB_JOIN2(a, b) HUB_JOIN3(a, _, b)
#define HUB_LANES(name) HUB_JOIN2(name, HUB_ISA_SUFFIX)

/* ---------------------------------------------------------------- in and out of the lanes */

/* LANES sub-blocks of n weights -> x[n] */
HUB_INLINE void load_sub_blocks(int n, const float *from, vf *x) {
    for (int i = 0; i < n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            x[i + j] = load(from + j * n + i);
        }
        transpose(x + i);
    }
}

/* codes[n], each 0..255 -> n bytes per lane, at to + stride * lane */
HUB_INLINE void store_sub_blocks(int n, const vi *codes, uint8_t *to, int stride) {
    uint32_t fours[LANES];
    for (int i = 0; i < n; i += 4) {
        store_int(fours, codes[i] | codes[i + 1] << 8 | codes[i + 2] << 16 | codes[i + 3] << 24);
        for (int j = 0; j < LANES; j++) {
            store_u32(to + j * stride + i, fours[j]);
        }
    }
}

HUB_INLINE bool are_finite(int n, const vf *x) {
    vf poison = splat(0.0f);
    for (int i = 0; i < n; i++) {
        poison += x[i] * 0.0f;
    }
    return all(is_equal(poison, splat(0.0f)));
}

/* ---------------------------------------------------------------- the largest magnitude */

typedef struct lane_peak {
    vf peak;    /* the weight of the largest magnitude, the first on a tie; 1 in lanes that are off */
    vmask off;  /* all zero */
} lane_peak;

HUB_INLINE lane_peak find_peaks(int n, const vf *x) {
    vf largest = splat(0.0f), peak = splat(0.0f);
    for (int i = 0; i < n; i++) {
        const vf size = magnitude(x[i]);
        peak = choose(is_less(largest, size), x[i], peak);
        largest = larger(size, largest);
    }
    const vmask off = is_less(largest, splat(SEARCH_EPSILON));
    return (lane_peak){choose(off, splat(1.0f), peak), off};
}

#endif
