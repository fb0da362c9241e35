/* mlx_lanes.h - mlx.h's quantizers on LANES groups at a time: mlx_values.h's and mlx_scalar.c's operations. The last groups
 * go to the scalar kernel.
 *
 * Weights of a group lie along vectors; what there is one of per group lies across the lanes of one. No sum is formed, so
 * the order in which a group's weights are looked at does not matter, but for the sign of a lowest weight that is zero.
 *
 * Included once per instruction set, after its lanes_<isa>.h.
 */
#include "lanes.h"
#include "mlx_values.h"
#include "words.h"

extern const hub_kernels hub_mlx_scalar, HUB_LANES(hub_words);

/* Of a number that is no NaN. */
HUB_INLINE vf round_lanes(hub_type type, vf x) {
    const vi bits = (vi)x;
    if (type == HUB_BF16) {
        return (vf)((bits + 0x7FFF + (bits >> 16 & 1)) & ~0xFFFF);
    }
    if (type == HUB_F16) {
        const vf a = magnitude(x);
        const vi normal = ((vi)a + 0x0FFF + ((vi)a >> 13 & 1)) & ~0x1FFF;
        vf r = choose(is_less(a, splat(0x1p-14f)), (a + 0.5f) - 0.5f, (vf)normal); /* below, counts of 2^-24 */
        r = choose(is_less(a, splat(65520.0f)), r, splat(INFINITY));
        return (vf)((vi)r | (bits & INT32_MIN));
    }
    return x;
}

/* LANES groups of weights as numbers of `type`; a copy only where that changes something. */
HUB_INLINE const float *rounded_groups(hub_type type, const float *x, int group, float *room) {
    if (type == HUB_F32) {
        return x;
    }
    for (int i = 0; i < LANES * group; i += LANES) {
        store(room + i, round_lanes(type, load(x + i)));
    }
    return room;
}

/* v[j] belongs to group j; lane j of the outcome is the least, or the largest, of its lanes. */
HUB_INLINE vf least_of_each(vf *v) {
    transpose(v);
    vf least = v[0];
    for (int i = 1; i < LANES; i++) {
        least = smaller(v[i], least);
    }
    return least;
}

HUB_INLINE vf most_of_each(vf *v) {
    transpose(v);
    vf most = v[0];
    for (int i = 1; i < LANES; i++) {
        most = larger(v[i], most);
    }
    return most;
}

HUB_INLINE void store_lanes(hub_type type, uint8_t *to, vf v) {
    float values[LANES];
    if (type == HUB_F32) {
        store(values, v);
        memcpy(to, values, sizeof values);
        return;
    }
    store(values, v);
    for (int j = 0; j < LANES; j++) {
        mlx_store(type, to + 2 * j, values[j]);
    }
}

/* ---------------------------------------------------------------- affine */

/* The lowest weight is zero, of either sign: that of the first is kept. */
HUB_INLINE void sign_of_zeros(const float *x, int group, float *lowest) {
    for (int j = 0; j < LANES; j++, x += group) {
        for (int i = 0; lowest[j] == 0 && i < group; i++) {
            if (x[i] == 0) {
                lowest[j] = x[i];
                break;
            }
        }
    }
}

HUB_INLINE void affine_block(const float *from, int group, int bits, hub_type type, uint8_t *words, uint8_t *scales,
                             uint8_t *biases) {
    float room[LANES * MLX_GROUP], s[LANES], b[LANES];
    uint8_t coded[LANES * MLX_GROUP];
    const float *const x = rounded_groups(type, from, group, room);
    vf los[LANES], his[LANES];
    for (int j = 0; j < LANES; j++) {
        const float *const g = x + j * group;
        vf low = load(g), high = low;
        for (int i = LANES; i < group; i += LANES) {
            low = smaller(load(g + i), low);
            high = larger(load(g + i), high);
        }
        los[j] = low;
        his[j] = high;
    }
    const vf lo = least_of_each(los), hi = most_of_each(his);
    const vf n = splat((float)((1 << bits) - 1)), zero = splat(0.0f);
    vf scale = larger((hi - lo) / n, splat(MLX_EPSILON)), bias = lo;
    if (bits > 1) {
        const vmask below = is_less(magnitude(hi), magnitude(lo));
        const vf edge = choose(below, lo, hi);
        scale = choose(below, scale, -scale);
        const vf q = rounded(edge / scale);
        const vmask moves = is_other(q, zero);
        scale = choose(moves, edge / q, scale);
        bias = choose(moves, edge, zero);
    }
    store(s, scale);
    store(b, bias);
    if (bits == 1 && any(is_equal(lo, zero))) {
        sign_of_zeros(x, group, b);
        bias = load(b);
    }
    store_lanes(type, scales, scale);
    store_lanes(type, biases, bias);
    uint8_t *const codes = bits == 8 ? words : coded;
    for (int j = 0; j < LANES; j++) {
        const vf each = splat(s[j]), least = splat(b[j]);
        for (int i = 0; i < group; i += 32) {
            vi v[32 / LANES];
            for (int k = 0; k < 32 / LANES; k++) {
                const vf t = (load(x + j * group + i + k * LANES) - least) / each;
                v[k] = rounded_int(smaller(larger(t, zero), n));
            }
            store_32_bytes(codes + j * group + i, v);
        }
    }
    if (bits < 8) {
        const int64_t count = (int64_t)LANES * group;
        HUB_LANES(hub_words).words->pack_rows(coded, count, bits, 1, count, words, count * bits / 8, count * bits / 8);
    }
}

HUB_INLINE void affine_blocks(const float *x, int64_t groups, int group, int bits, hub_type type, uint8_t *words,
                              uint8_t *scales, uint8_t *biases) {
    const int size = mlx_size(type);
    for (; groups >= LANES; groups -= LANES) {
        affine_block(x, group, bits, type, words, scales, biases);
        x += LANES * group;
        words += LANES * group * bits / 8;
        scales += LANES * size;
        biases += LANES * size;
    }
    hub_mlx_scalar.mlx->affine(x, groups, group, bits, type, words, scales, biases);
}

HUB_INLINE void affine_of_type(const float *x, int64_t groups, int group, int bits, hub_type type, uint8_t *words,
                               uint8_t *scales, uint8_t *biases) {
    switch (group) {
    case 32: affine_blocks(x, groups, 32, bits, type, words, scales, biases); break;
    case 64: affine_blocks(x, groups, 64, bits, type, words, scales, biases); break;
    default: affine_blocks(x, groups, 128, bits, type, words, scales, biases);
    }
}

static void HUB_LANES(affine)(const float *x, int64_t groups, int group, int bits, hub_type type, uint8_t *words,
                              uint8_t *scales, uint8_t *biases) {
    switch (type) {
    case HUB_F16: affine_of_type(x, groups, group, bits, HUB_F16, words, scales, biases); break;
    case HUB_BF16: affine_of_type(x, groups, group, bits, HUB_BF16, words, scales, biases); break;
    default: affine_of_type(x, groups, group, bits, HUB_F32, words, scales, biases);
    }
}

/* ---------------------------------------------------------------- small floats */

HUB_INLINE vi e4m3_lanes(vf t) {
    const vi sign = (vi)t >> 24 & 0x80;
    const vf a = smaller(magnitude(t), splat(448.0f));
    const vi small = (vi)(a + 16384.0f) - 0x46800000;
    const vi normal = ((vi)a + 0x7FFFF + ((vi)a >> 20 & 1) - 0x3C000000) >> 20;
    return choose_int(is_less(a, splat(0x1p-6f)), small, normal) | sign;
}

HUB_INLINE vi e2m1_lanes(vf t) {
    static const float steps[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
    const vf a = magnitude(t);
    const vi none = {0};
    vi code = none;
    for (int i = 0; i < 7; i++) {
        code = choose_int(is_less(splat(steps[i]), a), none + (i + 1), code);
    }
    const vi sign = (vi)t >> 28 & 8;
    return choose_int(is_less(splat(0.25f), a), code | sign, none);
}

HUB_INLINE void floats_block(const float *from, hub_mlx_mode mode, hub_type type, float encode, uint8_t *words,
                             uint8_t *scales) {
    const int group = mode == HUB_MLX_NVFP4 ? 16 : 32;
    float room[LANES * 32], r[LANES];
    uint8_t coded[LANES * 32];
    const float *const x = rounded_groups(type, from, group, room);
    vf most[LANES];
    for (int j = 0; j < LANES; j++) {
        vf m = magnitude(load(x + j * group));
        for (int i = LANES; i < group; i += LANES) {
            m = larger(magnitude(load(x + j * group + i)), m);
        }
        most[j] = m;
    }
    store(r, round_lanes(type, most_of_each(most) / (mode == HUB_MLX_MXFP8 ? 448.0f : 6.0f)));
    uint8_t *const codes = mode == HUB_MLX_MXFP8 ? words : coded;
    for (int j = 0; j < LANES; j++) {
        float one;
        scales[j] = mlx_scale_byte(mode, r[j], encode, &one);
        if (one == 0) {
            memset(codes + j * group, 0, (size_t)group);
            continue;
        }
        /* Multiplying by the inverse of a power of two is dividing by it. */
        const vf scale = splat(mode == HUB_MLX_NVFP4 ? one : 1.0f / one), factor = splat(encode);
        vi v[32 / LANES];
        for (int k = 0; k < group / LANES; k++) {
            vf t = load(x + j * group + k * LANES);
            t = mode == HUB_MLX_NVFP4 ? t / scale : t * scale;
            t = round_lanes(type, t) * factor;
            v[k] = mode == HUB_MLX_MXFP8 ? e4m3_lanes(t) : e2m1_lanes(t);
        }
        if (group == 32) {
            store_32_bytes(codes + j * group, v);
            continue;
        }
        for (int k = 0; k < group / LANES; k++) {
            store_bytes(codes + j * group + k * LANES, v[k]);
        }
    }
    if (mode != HUB_MLX_MXFP8) {
        const int64_t count = (int64_t)LANES * group;
        HUB_LANES(hub_words).words->pack_rows(coded, count, 4, 1, count, words, count / 2, count / 2);
    }
}

HUB_INLINE void floats_blocks(const float *x, int64_t groups, hub_mlx_mode mode, hub_type type, float global_scale,
                              uint8_t *words, uint8_t *scales) {
    const int weights = LANES * (mode == HUB_MLX_NVFP4 ? 16 : 32);
    const float encode = global_scale > 0 ? MLX_GLOBAL / global_scale : 1.0f;
    for (; groups >= LANES; groups -= LANES) {
        floats_block(x, mode, type, encode, words, scales);
        x += weights;
        words += mode == HUB_MLX_MXFP8 ? weights : weights / 2;
        scales += LANES;
    }
    hub_mlx_scalar.mlx->floats(x, groups, mode, type, global_scale, words, scales);
}

HUB_INLINE void floats_of_type(const float *x, int64_t groups, hub_mlx_mode mode, hub_type type, float global_scale,
                               uint8_t *words, uint8_t *scales) {
    switch (mode) {
    case HUB_MLX_MXFP4: floats_blocks(x, groups, HUB_MLX_MXFP4, type, global_scale, words, scales); break;
    case HUB_MLX_MXFP8: floats_blocks(x, groups, HUB_MLX_MXFP8, type, global_scale, words, scales); break;
    default: floats_blocks(x, groups, HUB_MLX_NVFP4, type, global_scale, words, scales);
    }
}

static void HUB_LANES(floats)(const float *x, int64_t groups, hub_mlx_mode mode, hub_type type, float global_scale,
                              uint8_t *words, uint8_t *scales) {
    switch (type) {
    case HUB_F16: floats_of_type(x, groups, mode, HUB_F16, global_scale, words, scales); break;
    case HUB_BF16: floats_of_type(x, groups, mode, HUB_BF16, global_scale, words, scales); break;
    default: floats_of_type(x, groups, mode, HUB_F32, global_scale, words, scales);
    }
}

static const hub_mlx mlx_table = {HUB_LANES(affine), HUB_LANES(floats)};

extern const hub_kernels HUB_LANES(hub_mlx);
const hub_kernels HUB_LANES(hub_mlx) = {.mlx = &mlx_table};
