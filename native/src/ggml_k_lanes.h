/* ggml_k_lanes.h - ggml's K types without importance, one sub-block per lane.
 *
 * The searches are sequential over the weights of a sub-block, so they are not cut there: LANES sub-blocks are transposed
 * (x[i] holds weight i of each), and a lane does what ggml_search.h does with one sub-block, operation by operation. Where
 * that one branches, a lane keeps or takes by a mask. Three things are done otherwise, and change nothing:
 *   - not the codes of the best candidate are kept but the numbers that they were cut with; codes are cut again, and only
 *     where step 3 will keep them
 *   - lanes without anything to search get harmless numbers and go along
 *   - super-blocks with a NaN or an infinity go to the scalar kernel: the sign of a NaN depends on the order of operands,
 *     which the compiler may choose
 * Only the unit of work knows of super-blocks: as many as fill the lanes, or one, in several groups of lanes.
 *
 * Included once per instruction set, after its lanes_<isa>.h.
 */
#include "ggml_blocks.h"
#include "ggml_k_pack.h"
#include "ggml_k_scales.h"
#include "lanes.h"

extern const hub_kernels hub_ggml_k_scalar;

/* ---------------------------------------------------------------- rounding */

/* clamp(nearest(v), lo, hi) */
HUB_INLINE vi code_of(vf v, int lo, int hi) {
    const vi code = ((vi)(v + ROUNDING_MAGIC) & 0x007FFFFF) - 0x00400000;
    return smaller_int(larger_int(code, lo), hi);
}

HUB_INLINE vf level_of(vf v, int lo, int hi, bool tame) {
    if (tame) {
        const vf t = larger(v + ROUNDING_MAGIC, splat(ROUNDING_MAGIC + (float)lo));
        return smaller(t, splat(ROUNDING_MAGIC + (float)hi)) - ROUNDING_MAGIC;
    }
    return __builtin_convertvector(code_of(v, lo, hi), vf);
}

/* ---------------------------------------------------------------- x ~ scale * L - min: q2_k, q4_k, q5_k */

typedef struct found_range {
    vf scale, min;  /* as search_asymmetric gives them, min >= 0 */
    vf cut_s, cut_min; /* its codes are those of cut_s * (x - cut_min) */
} found_range;

typedef struct lane_sums {
    vf l, ll, lx;
} lane_sums;

HUB_INLINE lane_sums cut_lanes(int n, int top, const vf *x, const vf *w, vf s, vf min, bool tame, vf *l) {
    lane_sums sum = {splat(0.0f), splat(0.0f), splat(0.0f)};
    for (int i = 0; i < n; i++) {
        l[i] = level_of(s * (x[i] - min), 0, top, tame);
        const vf wl = w[i] * l[i];
        sum.l += wl;
        sum.ll += wl * l[i];
        sum.lx += wl * x[i];
    }
    return sum;
}

HUB_INLINE vf error_lanes(int n, const vf *x, const vf *w, const vf *l, vf scale, vf min, bool absolute) {
    vf sum = splat(0.0f);
    for (int i = 0; i < n; i++) {
        const vf diff = scale * l[i] + min - x[i];
        const vf wrong = absolute ? magnitude(diff) : (vf)(diff * diff);
        sum += w[i] * wrong;
    }
    return sum;
}

HUB_INLINE found_range search_asymmetric_lanes(int n, int top, const vf *x, const vf *w, grid g) {
    const vf zero = splat(0.0f);
    vf lo = x[0], hi = x[0];
    vf sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < n; i++) {
        lo = smaller(x[i], lo);
        hi = larger(x[i], hi);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    vf min = choose(is_less(zero, lo), zero, lo);
    const vmask flat = is_at_most(hi, min);
    const vf flat_min = min;
    hi = choose(flat, splat(1.0f), hi); /* min <= 0: no division by zero, whatever the lane makes of it */

    vf tried[SEARCH_MAX];
    vf s = splat((float)top) / (hi - min);
    vf scale = splat(1.0f) / s;
    (void)cut_lanes(n, top, x, w, s, min, false, tried);
    vf best = error_lanes(n, x, w, tried, scale, min, g.absolute);
    vf cut_s = s, cut_min = min;
    for (int k = 0; k <= g.steps; k++) {
        s = splat(g.first + g.step * (float)k + (float)top) / (hi - min);
        const vf limit = splat(4194303.0f);
        const vmask tame = both(is_at_most(magnitude(s * (lo - min)), limit), is_at_most(magnitude(s * (hi - min)), limit));
        const lane_sums sum = all(tame) ? cut_lanes(n, top, x, w, s, min, true, tried)
                                        : cut_lanes(n, top, x, w, s, min, false, tried);
        const vf det = sum_w * sum.ll - sum.l * sum.l;
        vf new_scale = (sum_w * sum.lx - sum_x * sum.l) / det;
        vf new_min = (sum.ll * sum_x - sum.l * sum.lx) / det;
        const vmask above = is_less(zero, new_min);
        if (any(above)) {
            new_min = choose(above, zero, new_min);
            new_scale = choose(above, sum.lx / sum.ll, new_scale);
        }
        const vf error = error_lanes(n, x, w, tried, new_scale, new_min, g.absolute);
        const vmask take = both(is_less(zero, det), is_less(error, best));
        cut_s = choose(take, s, cut_s);
        cut_min = choose(take, min, cut_min);
        best = choose(take, error, best);
        scale = choose(take, new_scale, scale);
        min = choose(take, new_min, min);
    }
    return (found_range){
        .scale = choose(flat, zero, scale), .min = -choose(flat, flat_min, min),
        .cut_s = choose(flat, zero, cut_s), .cut_min = choose(flat, flat_min, cut_min),
    };
}

/* round_again, where it keeps the codes of the search included */
HUB_INLINE void round_again_lanes(int n, const vf *x, const found_range *found, vf step, vf min, int top, vi *codes) {
    const vmask keep = is_equal(step, splat(0.0f));
    for (int i = 0; i < n; i++) {
        codes[i] = code_of((x[i] + min) / step, 0, top);
    }
    if (any(keep)) {
        for (int i = 0; i < n; i++) {
            codes[i] = choose_int(keep, code_of(found->cut_s * (x[i] - found->cut_min), 0, top), codes[i]);
        }
    }
}

/* ---------------------------------------------------------------- x ~ scale * (L - h): q3_k, q6_k */

typedef struct found_scale {
    vf s, scale, best; /* of the best candidate: what its codes were cut with, its scale, its merit */
} found_scale;

/* Candidates from..to, in tenths; 0 has been tried first. As |s * x| <= h + tenths / 10, with room for its rounding, the codes can only
 * fall below -h from 5 tenths on, and above h - 1 from -5 on. */
HUB_INLINE void try_scales(int from, int to, int n, int h, const vf *x, const vf *w, const vf *wx, vf peak,
                           found_scale *found) {
    const vf zero = splat(0.0f);
    for (int tenths = from; tenths <= to; tenths++) {
        if (tenths == 0) {
            continue;
        }
        const vf s = splat(-((float)h + 0.1f * (float)tenths)) / peak;
        vf xl = zero, ll = zero;
        for (int i = 0; i < n; i++) {
            vf t = s * x[i] + ROUNDING_MAGIC;
            t = to >= 5 ? larger(t, splat(ROUNDING_MAGIC - (float)h)) : t;
            t = to >= -5 ? smaller(t, splat(ROUNDING_MAGIC + (float)(h - 1))) : t;
            const vf l = t - ROUNDING_MAGIC;
            xl += wx[i] * l;
            ll += w[i] * l * l;
        }
        const vmask take = both(is_less(zero, ll), is_less(found->best * ll, xl * xl));
        const vf scale = xl / ll;
        found->s = choose(take, s, found->s);
        found->scale = choose(take, scale, found->scale);
        found->best = choose(take, scale * xl, found->best);
    }
}

/* x finite. Returns the scale; the codes of the search are h + those of *taken * x, or 0 where *taken is 0. */
HUB_INLINE vf search_symmetric_lanes(int n, int h, const vf *x, const vf *w, vf *taken) {
    const vf zero = splat(0.0f);
    const lane_peak p = find_peaks(n, x);
    const vf s = splat((float)-h) / p.peak;
    vf wx[SEARCH_MAX];
    vf xl = zero, ll = zero;
    for (int i = 0; i < n; i++) {
        wx[i] = w[i] * x[i];
        const vf l = level_of(s * x[i], -h, h - 1, true);
        xl += wx[i] * l;
        ll += w[i] * l * l;
    }
    found_scale found;
    found.s = s;
    found.scale = choose(is_equal(ll, zero), zero, xl / ll);
    found.best = found.scale * xl;
    try_scales(-9, -6, n, h, x, w, wx, p.peak, &found);
    try_scales(-5, 4, n, h, x, w, wx, p.peak, &found);
    try_scales(5, 9, n, h, x, w, wx, p.peak, &found);
    *taken = choose(p.off, zero, found.s);
    return choose(p.off, zero, found.scale);
}

/* round_again_symmetric after search_symmetric_lanes */
HUB_INLINE void round_again_symmetric_lanes(int n, const vf *x, vf taken, vf step, int h, vi *codes) {
    const vmask keep = is_equal(step, splat(0.0f));
    for (int i = 0; i < n; i++) {
        codes[i] = code_of(x[i] / step, -h, h - 1) + h;
    }
    if (any(keep)) {
        const vmask off = is_equal(taken, splat(0.0f));
        for (int i = 0; i < n; i++) {
            const vi found = choose_int(off, (vi){0}, code_of(taken * x[i], -h, h - 1) + h);
            codes[i] = choose_int(keep, found, codes[i]);
        }
    }
}

/* x finite -> codes l (n,) in -h..h-1, -h in lanes that are all zero; returns the scale. A lane that a round has not
 * changed is not changed by the next one either, so all stop together. */
HUB_INLINE vf search_greedy_lanes(int n, int h, const vf *x, vf *l) {
    const vf zero = splat(0.0f);
    const lane_peak p = find_peaks(n, x);
    vf w[SEARCH_MAX], wx[SEARCH_MAX];
    vf sum_xl = zero, sum_ll = zero;
    const vf s = splat((float)-h) / p.peak;
    for (int i = 0; i < n; i++) {
        l[i] = level_of(s * x[i], -h, h - 1, true);
        w[i] = x[i] * x[i];
        wx[i] = w[i] * x[i];
        sum_xl += wx[i] * l[i];
        sum_ll += w[i] * l[i] * l[i];
    }
    for (int round = 0; round < 5; round++) {
        bool changed = false;
        for (int i = 0; i < n; i++) {
            vf a = sum_xl - wx[i] * l[i];
            vf b = sum_ll - w[i] * l[i] * l[i];
            const vmask positive = is_less(zero, a);
            const vf t = level_of(x[i] * b / a, -h, h - 1, false);
            a += wx[i] * t;
            b += w[i] * t * t;
            vmask take = both(positive, is_less(zero, b));
            take = both(take, is_less(sum_xl * sum_xl * b, a * a * sum_ll));
            take = both(take, is_other(t, l[i]));
            if (any(take)) {
                l[i] = choose(take, t, l[i]);
                sum_xl = choose(take, a, sum_xl);
                sum_ll = choose(take, b, sum_ll);
                changed = true;
            }
        }
        if (!changed) {
            break;
        }
    }
    for (int i = 0; i < n; i++) {
        l[i] = choose(p.off, splat((float)-h), l[i]);
    }
    return choose(p.off, zero, choose(is_less(zero, sum_ll), sum_xl / sum_ll, zero));
}

/* ---------------------------------------------------------------- kernels */

enum {
    SUB = QK_K / 32,                          /* sub-blocks of 32 in a super-block */
    UNIT = LANES > SUB ? LANES / SUB : 1,     /* super-blocks of q4_k and q5_k that fill the lanes */
    GROUPS = 16 / LANES,                      /* groups of lanes that take a super-block with sub-blocks of 16 */
};
_Static_assert(LANES % SUB == 0 && 16 % LANES == 0, "LANES is 8 or 16");

HUB_INLINE void search_q45_k_lanes(const vf *x, int top, grid g, found_range *found) {
    vf w[32];
    vf squares = splat(0.0f);
    for (int i = 0; i < 32; i++) {
        squares += x[i] * x[i];
    }
    const vf typical = square_root(squares / 32.0f);
    for (int i = 0; i < 32; i++) {
        w[i] = typical + magnitude(x[i]);
    }
    *found = search_asymmetric_lanes(32, top, x, w, g);
}

/* Steps 2 and 3 of UNIT super-blocks; d and dmin of super-block u at d[u * bytes] and so on. */
HUB_INLINE void finish_q45_k_lanes(const vf *x, int top, const found_range *found, size_t bytes, uint8_t *d, uint8_t *dmin,
                                   uint8_t *scales, uint8_t *L) {
    float values[2][LANES], step[LANES], min[LANES];
    uint8_t ls[SUB], lm[SUB];
    vi codes[32];
    store(values[0], found->scale);
    store(values[1], found->min);
    for (int u = 0; u < UNIT; u++, d += bytes, dmin += bytes, scales += bytes) {
        store_f16(d, codes_of_positive(SUB, 63, values[0] + SUB * u, ls));
        store_f16(dmin, codes_of_positive(SUB, 63, values[1] + SUB * u, lm));
        cap(SUB, 63, ls);
        cap(SUB, 63, lm);
        for (int j = 0; j < SUB; j++) {
            pack_scale_min(j, ls[j], lm[j], scales);
        }
        for (int j = 0; j < SUB; j++) {
            step[SUB * u + j] = load_f16(d) * (float)ls[j];
            min[SUB * u + j] = load_f16(dmin) * (float)lm[j];
        }
    }
    round_again_lanes(32, x, found, load(step), load(min), top, codes);
    store_sub_blocks(32, codes, L, 32);
}

static void HUB_LANES(hub_quantize_q4_k)(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                         const float *importance) {
    hub_quantize_fn *const scalar = hub_ggml_k_scalar.quantize[HUB_Q4_K];
    if (importance) {
        scalar(x, y, nrows, n_per_row, importance);
        return;
    }
    block_q4_k *block = y;
    uint8_t L[UNIT * QK_K];
    vf lanes[32];
    found_range found;
    int64_t left = nrows * n_per_row / QK_K;
    for (; left >= UNIT; left -= UNIT, x += UNIT * QK_K, block += UNIT) {
        load_sub_blocks(32, x, lanes);
        if (!are_finite(32, lanes)) {
            scalar(x, block, 1, UNIT * QK_K, NULL);
            continue;
        }
        search_q45_k_lanes(lanes, 15, (grid){-1.0f, 0.1f, 20, false}, &found);
        finish_q45_k_lanes(lanes, 15, &found, sizeof *block, block->d, block->dmin, block->scales, L);
        for (int u = 0; u < UNIT; u++) {
            pack_four_bits(L + u * QK_K, block[u].qs);
        }
    }
    scalar(x, block, left, QK_K, NULL);
}

static void HUB_LANES(hub_quantize_q5_k)(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                         const float *importance) {
    hub_quantize_fn *const scalar = hub_ggml_k_scalar.quantize[HUB_Q5_K];
    if (importance) {
        scalar(x, y, nrows, n_per_row, importance);
        return;
    }
    block_q5_k *block = y;
    uint8_t L[UNIT * QK_K];
    vf lanes[32];
    found_range found;
    int64_t left = nrows * n_per_row / QK_K;
    for (; left >= UNIT; left -= UNIT, x += UNIT * QK_K, block += UNIT) {
        load_sub_blocks(32, x, lanes);
        if (!are_finite(32, lanes)) {
            scalar(x, block, 1, UNIT * QK_K, NULL);
            continue;
        }
        search_q45_k_lanes(lanes, 31, (grid){-0.5f, 0.1f, 15, false}, &found);
        finish_q45_k_lanes(lanes, 31, &found, sizeof *block, block->d, block->dmin, block->scales, L);
        for (int u = 0; u < UNIT; u++) {
            pack_four_bits(L + u * QK_K, block[u].qs);
            pack_one_bit(L + u * QK_K, 4, block[u].qh);
        }
    }
    scalar(x, block, left, QK_K, NULL);
}

/* Sub-blocks of 16: a super-block in GROUPS groups of lanes. False if one weight is not finite. */
HUB_INLINE bool load_super_block(const float *from, vf x[GROUPS][16]) {
    bool finite = true;
    for (int g = 0; g < GROUPS; g++) {
        load_sub_blocks(16, from + g * LANES * 16, x[g]);
        finite = finite && are_finite(16, x[g]);
    }
    return finite;
}

static void HUB_LANES(hub_quantize_q2_k)(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                         const float *importance) {
    hub_quantize_fn *const scalar = hub_ggml_k_scalar.quantize[HUB_Q2_K];
    if (importance) {
        scalar(x, y, nrows, n_per_row, importance);
        return;
    }
    block_q2_k *block = y;
    uint8_t L[QK_K], ls[16], lm[16];
    float scales[16], mins[16], step[16], min[16];
    vf lanes[GROUPS][16], w[16];
    vi codes[16];
    found_range found[GROUPS];
    for (int64_t left = nrows * n_per_row / QK_K; left > 0; left--, x += QK_K, block++) {
        if (!load_super_block(x, lanes)) {
            scalar(x, block, 1, QK_K, NULL);
            continue;
        }
        for (int g = 0; g < GROUPS; g++) {
            for (int i = 0; i < 16; i++) {
                w[i] = magnitude(lanes[g][i]);
            }
            found[g] = search_asymmetric_lanes(16, 3, lanes[g], w, (grid){-0.5f, 0.1f, 15, true});
            store(scales + LANES * g, found[g].scale);
            store(mins + LANES * g, found[g].min);
        }
        store_f16(block->d, codes_of_positive(16, 15, scales, ls));
        store_f16(block->dmin, codes_of_positive(16, 15, mins, lm));
        for (int j = 0; j < 16; j++) {
            block->scales[j] = (uint8_t)(ls[j] | lm[j] << 4);
            step[j] = load_f16(block->d) * (float)(block->scales[j] & 15);
            min[j] = load_f16(block->dmin) * (float)(block->scales[j] >> 4);
        }
        for (int g = 0; g < GROUPS; g++) {
            round_again_lanes(16, lanes[g], &found[g], load(step + LANES * g), load(min + LANES * g), 3, codes);
            store_sub_blocks(16, codes, L + g * LANES * 16, 16);
        }
        pack_two_bits(L, block->qs);
    }
}

static void HUB_LANES(hub_quantize_q3_k)(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                         const float *importance) {
    hub_quantize_fn *const scalar = hub_ggml_k_scalar.quantize[HUB_Q3_K];
    if (importance) {
        scalar(x, y, nrows, n_per_row, importance);
        return;
    }
    block_q3_k *block = y;
    uint8_t L[QK_K], ls[16];
    float scales[16], step[16];
    vf lanes[GROUPS][16], l[GROUPS][16];
    vi codes[16];
    for (int64_t left = nrows * n_per_row / QK_K; left > 0; left--, x += QK_K, block++) {
        if (!load_super_block(x, lanes)) {
            scalar(x, block, 1, QK_K, NULL);
            continue;
        }
        for (int g = 0; g < GROUPS; g++) {
            store(scales + LANES * g, search_greedy_lanes(16, 4, lanes[g], l[g]));
        }
        store_f16(block->d, codes_of_q3(scales, ls));
        pack_scales_q3(ls, block->scales);
        for (int j = 0; j < 16; j++) {
            step[j] = load_f16(block->d) * (float)((int32_t)ls[j] - 32);
        }
        for (int g = 0; g < GROUPS; g++) {
            const vf by = load(step + LANES * g);
            const vmask keep = is_equal(by, splat(0.0f));
            for (int i = 0; i < 16; i++) {
                const vi found = __builtin_convertvector(l[g][i], vi);
                codes[i] = choose_int(keep, found, code_of(lanes[g][i] / by, -4, 3)) + 4;
            }
            store_sub_blocks(16, codes, L + g * LANES * 16, 16);
        }
        pack_one_bit(L, 2, block->hmask);
        for (int i = 0; i < QK_K; i++) {
            L[i] &= 3;
        }
        pack_two_bits(L, block->qs);
    }
}

static void HUB_LANES(hub_quantize_q6_k)(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                         const float *importance) {
    hub_quantize_fn *const scalar = hub_ggml_k_scalar.quantize[HUB_Q6_K];
    if (importance) {
        scalar(x, y, nrows, n_per_row, importance);
        return;
    }
    block_q6_k *block = y;
    uint8_t L[QK_K];
    float scales[16], step[16];
    vf lanes[GROUPS][16], w[16], taken[GROUPS];
    vi codes[16];
    for (int64_t left = nrows * n_per_row / QK_K; left > 0; left--, x += QK_K, block++) {
        if (!load_super_block(x, lanes)) {
            scalar(x, block, 1, QK_K, NULL);
            continue;
        }
        for (int g = 0; g < GROUPS; g++) {
            for (int i = 0; i < 16; i++) {
                w[i] = lanes[g][i] * lanes[g][i];
            }
            store(scales + LANES * g, search_symmetric_lanes(16, 32, lanes[g], w, &taken[g]));
        }
        if (!codes_of_q6(scales, block->scales, block->d)) {
            memset(block, 0, sizeof *block);
            continue;
        }
        for (int j = 0; j < 16; j++) {
            step[j] = load_f16(block->d) * (float)block->scales[j];
        }
        for (int g = 0; g < GROUPS; g++) {
            round_again_symmetric_lanes(16, lanes[g], taken[g], load(step + LANES * g), 32, codes);
            store_sub_blocks(16, codes, L + g * LANES * 16, 16);
        }
        pack_six_bits(L, block->ql, block->qh);
    }
}

extern const hub_kernels HUB_LANES(hub_ggml_k);
const hub_kernels HUB_LANES(hub_ggml_k) = {
    .quantize = {
        [HUB_Q2_K] = HUB_LANES(hub_quantize_q2_k),
        [HUB_Q3_K] = HUB_LANES(hub_quantize_q3_k),
        [HUB_Q4_K] = HUB_LANES(hub_quantize_q4_k),
        [HUB_Q5_K] = HUB_LANES(hub_quantize_q5_k),
        [HUB_Q6_K] = HUB_LANES(hub_quantize_q6_k),
    },
};
