/* MLX's quantizers, one group at a time; the definition. See mlx.h. */
#include "mlx_values.h"
#include "words.h"

extern const hub_kernels hub_words_scalar;

/* To `words` behind `at` codes; a group is whole bytes. */
static void put(const uint8_t *codes, int group, int bits, int64_t at, uint8_t *words) {
    const int64_t size = (int64_t)group * bits / 8;
    hub_words_scalar.words->pack_rows(codes, group, bits, 1, group, words + at * bits / 8, size, size);
}

static void affine_group(const float *x, int group, int bits, float *scale, float *bias, uint8_t *codes) {
    const float n = (float)((1 << bits) - 1);
    float lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < group; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    float s = (hi - lo) / n, b = lo;
    s = s > MLX_EPSILON ? s : MLX_EPSILON;
    if (bits > 1) {
        const bool below = fabsf(lo) > fabsf(hi);
        const float edge = below ? lo : hi;
        s = below ? s : -s;
        const float q = rintf(edge / s);
        s = q != 0 ? edge / q : s;
        b = q != 0 ? edge : 0;
    }
    for (int i = 0; i < group; i++) {
        float t = (x[i] - b) / s;
        t = t > 0 ? t : 0;
        codes[i] = (uint8_t)rintf(t < n ? t : n);
    }
    *scale = s;
    *bias = b;
}

static void affine_scalar(const float *x, int64_t groups, int group, int bits, hub_type type, uint8_t *words,
                          uint8_t *scales, uint8_t *biases) {
    const int size = mlx_size(type);
    for (int64_t g = 0; g < groups; g++, x += group, scales += size, biases += size) {
        float rounded[MLX_GROUP], s, b;
        uint8_t codes[MLX_GROUP];
        for (int i = 0; i < group; i++) {
            rounded[i] = mlx_round(type, x[i]);
        }
        affine_group(rounded, group, bits, &s, &b, codes);
        mlx_store(type, scales, s);
        mlx_store(type, biases, b);
        put(codes, group, bits, g * group, words);
    }
}

static void floats_scalar(const float *x, int64_t groups, hub_mlx_mode mode, hub_type type, float global_scale,
                          uint8_t *words, uint8_t *scales) {
    const int group = mode == HUB_MLX_NVFP4 ? 16 : 32, bits = mode == HUB_MLX_MXFP8 ? 8 : 4;
    const float encode = global_scale > 0 ? MLX_GLOBAL / global_scale : 1.0f;
    for (int64_t g = 0; g < groups; g++, x += group) {
        float rounded[32], largest = 0, scale;
        uint8_t codes[32];
        for (int i = 0; i < group; i++) {
            rounded[i] = mlx_round(type, x[i]);
            const float size = fabsf(rounded[i]);
            largest = size > largest ? size : largest;
        }
        const float r = mlx_round(type, largest / (mode == HUB_MLX_MXFP8 ? 448.0f : 6.0f));
        scales[g] = mlx_scale_byte(mode, r, encode, &scale);
        for (int i = 0; i < group; i++) {
            codes[i] = mlx_float_code(mode, type, rounded[i], scale, encode);
        }
        put(codes, group, bits, g * group, words);
    }
}

static const hub_mlx table = {affine_scalar, floats_scalar};

extern const hub_kernels hub_mlx_scalar;
const hub_kernels hub_mlx_scalar = {.mlx = &table};
