/* run_linear.h - rows of weights times tokens. Rows are decoded a few at a time and serve all tokens of a block. */
#ifndef HUB_RUN_LINEAR_H
#define HUB_RUN_LINEAR_H

#include "run_dot.h"

enum {
    DECODE = 1024, /* weights decoded at a time: 4 KiB, whole blocks of every type */
    CHUNK = 256    /* weights of a row before the next tile: a block's chunks stay in the first-level cache */
};

/* `rows` <= 16 rows of n weights -> packed tiles of 4 rows, the last one filled up with zeros. */
static void HUB_RUN(hub_decode_rows)(hub_dequantize_fn *decode, hub_type type, const uint8_t *weights, int64_t rows,
                                     int64_t n, float *packed) {
    const int64_t per_block = hub_types[type].weights, bytes = hub_types[type].bytes;
    float some[DECODE];
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *row = weights + r * (n / per_block * bytes);
        float *to = packed + r / RUN_TILE_ROWS * RUN_TILE_ROWS * run_padded(n);
        for (int64_t k = 0; k < n; k += DECODE) {
            const int64_t count = n - k < DECODE ? n - k : DECODE;
            decode(row + k / per_block * bytes, some, count);
            pack(some, count, to + k * RUN_TILE_ROWS, r % RUN_TILE_ROWS, RUN_TILE_ROWS);
        }
    }
    for (int64_t r = rows; r % RUN_TILE_ROWS != 0; r++) {
        pack_zeros(n, packed + r / RUN_TILE_ROWS * RUN_TILE_ROWS * run_padded(n), r % RUN_TILE_ROWS, RUN_TILE_ROWS);
    }
}

/* The sums of a tile to out, of which it may have fewer rows. */
HUB_INLINE void store_tile(const float *parts, int64_t rows, int tokens, float *out, int64_t stride) {
    for (int c = 0; c < tokens; c++) {
        float joined[RUN_TILE_ROWS];
        join_four(parts + c * RUN_TILE_ROWS * RUN_PARTS, joined);
        if (rows >= RUN_TILE_ROWS) {
            memcpy(out + c * stride, joined, sizeof joined);
        } else {
            memcpy(out + c * stride, joined, (size_t)rows * sizeof *joined);
        }
    }
}

/* Packed rows times one group of packed tokens. */
static void HUB_RUN(hub_multiply_group)(const float *w, int64_t rows, const float *x, int tokens, int64_t n, float *out,
                                        int64_t stride) {
    float parts[RUN_BLOCK_ROWS / RUN_TILE_ROWS][TILE_TOKENS][RUN_TILE_ROWS][RUN_PARTS];
    const int64_t padded = run_padded(n);
    memset(parts, 0, sizeof parts);
    for (int64_t k = 0; k < padded; k += CHUNK) {
        const int64_t steps = (padded - k < CHUNK ? padded - k : CHUNK) / RUN_PARTS;
        for (int64_t r = 0; r < rows; r += RUN_TILE_ROWS) {
            HUB_RUN(hub_tile)(tokens, steps, w + r * padded + k * RUN_TILE_ROWS, x + k * tokens,
                              parts[r / RUN_TILE_ROWS][0][0]);
        }
    }
    for (int64_t r = 0; r < rows; r += RUN_TILE_ROWS) {
        store_tile(parts[r / RUN_TILE_ROWS][0][0], rows - r, tokens, out + r, stride);
    }
}

/* All rows times the only group of packed tokens: what is decoded serves once, so it is not packed. */
static void HUB_RUN(hub_multiply_few)(hub_dequantize_fn *decode, hub_type type, const uint8_t *weights, int64_t rows,
                                      int64_t n, const float *x, int tokens, float *out, int64_t stride) {
    const int64_t per_block = hub_types[type].weights, bytes = hub_types[type].bytes;
    float some[RUN_TILE_ROWS][DECODE];
    for (int64_t r = 0; r < rows; r += RUN_TILE_ROWS) {
        float parts[TILE_TOKENS][RUN_TILE_ROWS][RUN_PARTS];
        memset(parts, 0, sizeof parts);
        for (int64_t k = 0; k < n; k += DECODE) {
            const int64_t count = n - k < DECODE ? n - k : DECODE, padded = run_padded(count);
            for (int64_t i = 0; i < RUN_TILE_ROWS; i++) {
                const int64_t have = r + i < rows ? count : 0;
                if (have > 0) {
                    decode(weights + ((r + i) * (n / per_block) + k / per_block) * bytes, some[i], count);
                }
                memset(some[i] + have, 0, (size_t)(padded - have) * sizeof some[i][0]);
            }
            tile_of(tokens, padded / RUN_PARTS, some[0], DECODE, x + k * tokens, parts[0][0]);
        }
        store_tile(parts[0][0], rows - r, tokens, out + r, stride);
    }
}

static void HUB_RUN(hub_linear)(hub_dequantize_fn *decode, hub_type type, const void *weights, int64_t rows, int64_t n,
                                const float *x, int64_t tokens, float *out, int64_t stride, float *scratch) {
    const int64_t padded = run_padded(n), block = run_block_tokens(tokens, n);
    const int64_t row_bytes = n / hub_types[type].weights * hub_types[type].bytes;
    float *w = scratch, *packed = scratch + RUN_BLOCK_ROWS * padded;
    for (int64_t first = 0; first < tokens; first += block) {
        const int64_t end = first + block < tokens ? first + block : tokens;
        for (int64_t t = first; t < end; t++) {
            const int64_t group = (t - first) / TILE_TOKENS * TILE_TOKENS;
            const int64_t slots = end - first - group < TILE_TOKENS ? end - first - group : TILE_TOKENS;
            pack(x + t * n, n, packed + group * padded, t - first - group, slots);
        }
        if (end - first <= TILE_TOKENS) {
            HUB_RUN(hub_multiply_few)(decode, type, weights, rows, n, packed, (int)(end - first), out + first * stride,
                                      stride);
            continue;
        }
        for (int64_t r = 0; r < rows; r += RUN_BLOCK_ROWS) {
            const int64_t some = rows - r < RUN_BLOCK_ROWS ? rows - r : RUN_BLOCK_ROWS;
            HUB_RUN(hub_decode_rows)(decode, type, (const uint8_t *)weights + r * row_bytes, some, n, w);
            for (int64_t t = first; t < end; t += TILE_TOKENS) {
                HUB_RUN(hub_multiply_group)(w, some, packed + (t - first) * padded,
                                            (int)(end - t < TILE_TOKENS ? end - t : TILE_TOKENS), n,
                                            out + t * stride + r, stride);
            }
        }
    }
}

#endif
