/* f32, f16 and bf16 as stored types: "quantizing" is rounding, every block is one weight. */
#include "hub_native.h"
#include "small_floats.h"

/* Between memory and little-endian bytes; neither way changes a bit, so NaNs keep their payload. */
static void copy_floats(void *to, const void *from, int64_t n) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = load_u32((const uint8_t *)from + 4 * i);
        memcpy((uint8_t *)to + 4 * i, &bits, sizeof bits);
    }
#else
    memcpy(to, from, (size_t)n * sizeof(float));
#endif
}

static void hub_quantize_f32_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                    const float *importance) {
    (void)importance;
    copy_floats(y, x, nrows * n_per_row);
}

static void hub_quantize_f16_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                    const float *importance) {
    (void)importance;
    uint8_t *out = y;
    for (int64_t i = 0; i < nrows * n_per_row; i++) {
        store_u16(out + 2 * i, f32_to_f16(x[i]));
    }
}

static void hub_quantize_bf16_scalar(const float *x, void *y, int64_t nrows, int64_t n_per_row,
                                     const float *importance) {
    (void)importance;
    uint8_t *out = y;
    for (int64_t i = 0; i < nrows * n_per_row; i++) {
        store_u16(out + 2 * i, f32_to_bf16(x[i]));
    }
}

static void hub_dequantize_f32_scalar(const void *y, float *x, int64_t n) {
    copy_floats(x, y, n);
}

static void hub_dequantize_f16_scalar(const void *y, float *x, int64_t n) {
    const uint8_t *in = y;
    for (int64_t i = 0; i < n; i++) {
        x[i] = f16_to_f32(load_u16(in + 2 * i));
    }
}

static void hub_dequantize_bf16_scalar(const void *y, float *x, int64_t n) {
    const uint8_t *in = y;
    for (int64_t i = 0; i < n; i++) {
        x[i] = bf16_to_f32(load_u16(in + 2 * i));
    }
}

extern const hub_kernels hub_cast_scalar;
const hub_kernels hub_cast_scalar = {
    .quantize = {
        [HUB_F32] = hub_quantize_f32_scalar,
        [HUB_F16] = hub_quantize_f16_scalar,
        [HUB_BF16] = hub_quantize_bf16_scalar,
    },
    .dequantize = {
        [HUB_F32] = hub_dequantize_f32_scalar,
        [HUB_F16] = hub_dequantize_f16_scalar,
        [HUB_BF16] = hub_dequantize_bf16_scalar,
    },
};
