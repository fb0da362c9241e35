/* ggml_legacy_lanes.h - q8_0, q4_0, q4_1, q5_0, q5_1 without importance, one block per lane: ggml_legacy_scalar.c's
 * operations on LANES blocks at once. Blocks with a NaN or an infinity, and the last ones, go to the scalar kernel.
 *
 * Included once per instruction set, after its lanes_<isa>.h.
 */
#include "ggml_blocks.h"
#include "lanes.h"

extern const hub_kernels hub_ggml_legacy_scalar;

/* (int)v, 0 where that is undefined; conversions give a number there too, which is not used. */
HUB_INLINE vi truncate_lanes(vf v) {
    return choose_int(is_less(magnitude(v), splat(2147483648.0f)), truncated(v), (vi){0});
}

HUB_INLINE vf inverse_lanes(vf d) { return choose(is_other(d, splat(0.0f)), 1.0f / d, splat(0.0f)); }

/* The low byte, with its sign */
HUB_INLINE vi wrap(vi v) { return v << 24 >> 24; }

/* f16 of each lane, to + stride * lane */
HUB_INLINE void store_halves(vf v, uint8_t *to, int stride) {
    float values[LANES];
    store(values, v);
    for (int j = 0; j < LANES; j++) {
        store_f16(to + j * stride, values[j]);
    }
}

/* codes[32] -> 16 bytes per lane */
HUB_INLINE void store_nibbles(const vi *codes, uint8_t *to, int stride) {
    vi both_halves[16];
    for (int i = 0; i < 16; i++) {
        both_halves[i] = (codes[i] & 15) | (codes[i + 16] & 15) << 4;
    }
    store_sub_blocks(16, both_halves, to, stride);
}

/* codes[32] -> 4 bytes per lane */
HUB_INLINE void store_fifth_bits(const vi *codes, uint8_t *to, int stride) {
    uint32_t values[LANES];
    vi bits = {0};
    for (int i = 31; i >= 0; i--) {
        bits = bits << 1 | (codes[i] >> 4 & 1);
    }
    store_int(values, bits);
    for (int j = 0; j < LANES; j++) {
        store_u32(to + j * stride, values[j]);
    }
}

/* ---------------------------------------------------------------- codes of LANES blocks */

HUB_INLINE vf codes_q8_0_lanes(const vf *x, vi *codes) {
    vf largest = splat(0.0f);
    for (int i = 0; i < QK; i++) {
        largest = larger(magnitude(x[i]), largest);
    }
    const vf d = largest / 127.0f;
    const vf id = inverse_lanes(d);
    for (int i = 0; i < QK; i++) {
        /* half away from zero; the fraction is exact */
        const vf v = x[i] * id;
        const vi whole = truncate_lanes(v);
        const vf rest = v - __builtin_convertvector(whole, vf);
        vi code = choose_int(is_at_most(splat(0.5f), rest), whole + 1, whole);
        code = choose_int(is_at_most(rest, splat(-0.5f)), whole - 1, code);
        codes[i] = choose_int(is_less(magnitude(v), splat(2147483648.0f)), code, (vi){0}) & 255;
    }
    return d;
}

HUB_INLINE vf codes_symmetric_lanes(int h, const vf *x, vi *codes) {
    vf largest = splat(0.0f), peak = splat(0.0f);
    for (int i = 0; i < QK; i++) {
        const vf size = magnitude(x[i]);
        peak = choose(is_less(largest, size), x[i], peak);
        largest = larger(size, largest);
    }
    const vf d = peak / (float)-h;
    const vf id = inverse_lanes(d);
    for (int i = 0; i < QK; i++) {
        codes[i] = smaller_int(wrap(truncate_lanes(x[i] * id + ((float)h + 0.5f))), 2 * h - 1);
    }
    return d;
}

HUB_INLINE vf codes_asymmetric_lanes(int top, const vf *x, vi *codes, vf *min) {
    vf lo = splat(FLT_MAX), hi = splat(-FLT_MAX);
    for (int i = 0; i < QK; i++) {
        lo = smaller(x[i], lo);
        hi = larger(x[i], hi);
    }
    const vf d = (hi - lo) / (float)top;
    const vf id = inverse_lanes(d);
    for (int i = 0; i < QK; i++) {
        codes[i] = smaller_int(wrap(truncate_lanes((x[i] - lo) * id + 0.5f)), top);
    }
    *min = lo;
    return d;
}

/* ---------------------------------------------------------------- kernels */

/* `write` is what one type does with LANES finite blocks. */
typedef void write_fn(const vf *x, uint8_t *blocks);

HUB_INLINE void quantize_lanes(hub_type type, int size, write_fn *write, const float *x, uint8_t *y, int64_t nrows,
                               int64_t n_per_row, const float *importance) {
    hub_quantize_fn *const scalar = hub_ggml_legacy_scalar.quantize[type];
    if (importance && type != HUB_Q8_0) {
        scalar(x, y, nrows, n_per_row, importance);
        return;
    }
    vf lanes[QK];
    int64_t left = nrows * n_per_row / QK;
    for (; left >= LANES; left -= LANES, x += LANES * QK, y += LANES * size) {
        load_sub_blocks(QK, x, lanes);
        if (are_finite(QK, lanes)) {
            write(lanes, y);
        } else {
            scalar(x, y, LANES, QK, NULL);
        }
    }
    scalar(x, y, left, QK, NULL);
}

HUB_INLINE void write_q8_0(const vf *x, uint8_t *y) {
    vi codes[QK];
    store_halves(codes_q8_0_lanes(x, codes), y, sizeof(block_q8_0));
    store_sub_blocks(QK, codes, y + offsetof(block_q8_0, qs), sizeof(block_q8_0));
}

HUB_INLINE void write_q4_0(const vf *x, uint8_t *y) {
    vi codes[QK];
    store_halves(codes_symmetric_lanes(8, x, codes), y, sizeof(block_q4_0));
    store_nibbles(codes, y + offsetof(block_q4_0, qs), sizeof(block_q4_0));
}

HUB_INLINE void write_q5_0(const vf *x, uint8_t *y) {
    vi codes[QK];
    store_halves(codes_symmetric_lanes(16, x, codes), y, sizeof(block_q5_0));
    store_fifth_bits(codes, y + offsetof(block_q5_0, qh), sizeof(block_q5_0));
    store_nibbles(codes, y + offsetof(block_q5_0, qs), sizeof(block_q5_0));
}

HUB_INLINE void write_q4_1(const vf *x, uint8_t *y) {
    vi codes[QK];
    vf min;
    store_halves(codes_asymmetric_lanes(15, x, codes, &min), y, sizeof(block_q4_1));
    store_halves(min, y + offsetof(block_q4_1, m), sizeof(block_q4_1));
    store_nibbles(codes, y + offsetof(block_q4_1, qs), sizeof(block_q4_1));
}

HUB_INLINE void write_q5_1(const vf *x, uint8_t *y) {
    vi codes[QK];
    vf min;
    store_halves(codes_asymmetric_lanes(31, x, codes, &min), y, sizeof(block_q5_1));
    store_halves(min, y + offsetof(block_q5_1, m), sizeof(block_q5_1));
    store_fifth_bits(codes, y + offsetof(block_q5_1, qh), sizeof(block_q5_1));
    store_nibbles(codes, y + offsetof(block_q5_1, qs), sizeof(block_q5_1));
}

#define HUB_KERNEL(type, TYPE)                                                                                            \
    static void HUB_LANES(hub_quantize_##type)(const float *x, void *y, int64_t nrows, int64_t n_per_row,                 \
                                               const float *importance) {                                                 \
        quantize_lanes(HUB_##TYPE, sizeof(block_##type), write_##type, x, y, nrows, n_per_row, importance);               \
    }

HUB_KERNEL(q8_0, Q8_0)
HUB_KERNEL(q4_0, Q4_0)
HUB_KERNEL(q4_1, Q4_1)
HUB_KERNEL(q5_0, Q5_0)
HUB_KERNEL(q5_1, Q5_1)

extern const hub_kernels HUB_LANES(hub_ggml_legacy);
const hub_kernels HUB_LANES(hub_ggml_legacy) = {
    .quantize = {
        [HUB_Q8_0] = HUB_LANES(hub_quantize_q8_0),
        [HUB_Q4_0] = HUB_LANES(hub_quantize_q4_0),
        [HUB_Q4_1] = HUB_LANES(hub_quantize_q4_1),
        [HUB_Q5_0] = HUB_LANES(hub_quantize_q5_0),
        [HUB_Q5_1] = HUB_LANES(hub_quantize_q5_1),
    },
};
