/* fast_float.h - the float kernels, for vectors of LANES rows: as fast_integer.h, without scales.
 *
 * A tile holds FLOAT_PLACES places of ROWS rows, a place being one weight in f32 or a pair in bf16: 32 bits of a lane.
 *
 * Before it a file defines LANES, HALVES, FLOAT_AT_ONCE (at most 12), vf, vi, load, store, store_int, splat_place, zero and
 *   transpose(v)                 LANES vectors, in place
 * and gives float_linear() two functions: `read` loads LANES places of a row, `step` adds the product of two places.
 */
#ifndef HUB_FAST_FLOAT_H
#define HUB_FAST_FLOAT_H

#include <string.h>

#include "fast.h"

enum { FLOAT_ROWS = LANES * HALVES, FLOAT_PLACES = 256 };

typedef struct float_tile {
    _Alignas(64) float places[FLOAT_PLACES][FLOAT_ROWS];
} float_tile;

/* rows (<= FLOAT_ROWS) rows of `bytes` bytes at `from` -> tile. What is missing counts as zero. */
HUB_INLINE void float_fill(vi (*read)(const uint8_t *), int place_bytes, const uint8_t *from, int64_t row_bytes, int rows,
                           int64_t bytes, float_tile *to) {
    uint8_t rest[4 * LANES];
    const int64_t step = LANES * place_bytes;
    for (int64_t at = 0; at < bytes; at += step) {
        for (int h = 0; h < HALVES; h++) {
            vi v[LANES];
            for (int r = 0; r < LANES; r++) {
                const uint8_t *row = from + (h * LANES + r) * row_bytes + at;
                if (h * LANES + r >= rows) {
                    memset(rest, 0, sizeof rest);
                    row = rest;
                } else if (at + step > bytes) {
                    memset(rest, 0, sizeof rest);
                    memcpy(rest, row, (size_t)(bytes - at));
                    row = rest;
                }
                v[r] = read(row);
            }
            transpose(v);
            for (int i = 0; i < LANES; i++) {
                store_int(&to->places[at / place_bytes + i][h * LANES], v[i]);
            }
        }
    }
}

typedef vf float_step_fn(vf w, vf x, vf sum);

/* y (count, FLOAT_ROWS) += tile x `count` tokens, n of which are interleaved at x. */
HUB_INLINE void float_multiply(float_step_fn *step, int count, const float_tile *w, int places, const uint8_t *x, int64_t n, float *y,
                               int64_t stride) {
    vf total[HALVES][FLOAT_AT_ONCE];
    HUB_UNROLL
    for (int j = 0; j < count; j++) {
        HUB_UNROLL
        for (int h = 0; h < HALVES; h++) {
            total[h][j] = load(y + j * stride + h * LANES);
        }
    }
    for (int k = 0; k < places; k++, x += 4 * n) {
        vf weights[HALVES];
        HUB_UNROLL
        for (int h = 0; h < HALVES; h++) {
            weights[h] = load(&w->places[k][h * LANES]);
        }
        HUB_UNROLL
        for (int j = 0; j < count; j++) {
            const vf place = splat_place(x + 4 * j);
            HUB_UNROLL
            for (int h = 0; h < HALVES; h++) {
                total[h][j] = step(weights[h], place, total[h][j]);
            }
        }
    }
    HUB_UNROLL
    for (int j = 0; j < count; j++) {
        HUB_UNROLL
        for (int h = 0; h < HALVES; h++) {
            store(y + j * stride + h * LANES, total[h][j]);
        }
    }
}

/* All tokens: out (tokens, rows) += tile x x. `first` and `all` are the tile's first place and a token's places. */
HUB_INLINE void float_run(float_step_fn *step, const float_tile *w, int places, const hub_fast_input *x, int64_t first, int64_t all, int rows,
                      float *out, int64_t stride) {
    float part[FLOAT_AT_ONCE][FLOAT_ROWS];
    for (int64_t t = 0; t < x->tokens;) {
        const int64_t start = t - t % FAST_TOKENS, n = batch_width(x->tokens, t), left = n - (t - start);
        const int count = left >= FLOAT_AT_ONCE ? FLOAT_AT_ONCE : left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const uint8_t *places_of_x = (const uint8_t *)x->codes + 4 * (start * all + first * n + t - start);
        float *y = out + t * stride;
        int64_t y_stride = stride;
        if (rows < FLOAT_ROWS) {
            memset(part, 0, sizeof part);
            for (int i = 0; i < count; i++) {
                memcpy(part[i], y + i * stride, (size_t)rows * sizeof(float));
            }
            y = part[0];
            y_stride = FLOAT_ROWS;
        }
        switch (count) {
#if FLOAT_AT_ONCE > 6
        case FLOAT_AT_ONCE: float_multiply(step, FLOAT_AT_ONCE, w, places, places_of_x, n, y, y_stride); break;
#endif
        case 6: float_multiply(step, 6, w, places, places_of_x, n, y, y_stride); break;
        case 4: float_multiply(step, 4, w, places, places_of_x, n, y, y_stride); break;
        case 2: float_multiply(step, 2, w, places, places_of_x, n, y, y_stride); break;
        default: float_multiply(step, 1, w, places, places_of_x, n, y, y_stride); break;
        }
        if (rows < FLOAT_ROWS) {
            for (int i = 0; i < count; i++) {
                memcpy(out + (t + i) * stride, part[i], (size_t)rows * sizeof(float));
            }
        }
        t += count;
    }
}

/* `weight_bytes` of a weight, `per_place` weights to a place. */
HUB_INLINE void float_linear(vi (*read)(const uint8_t *), float_step_fn *step, int weight_bytes, int per_place, const uint8_t *from,
                             int64_t rows, const hub_fast_input *x, float *out, int64_t stride) {
    float_tile w;
    const int place_bytes = weight_bytes * per_place;
    const int64_t row_bytes = x->cols * weight_bytes, all = (x->cols + per_place - 1) / per_place;
    for (int64_t r = 0; r < rows; r += FLOAT_ROWS) {
        const int here = (int)(rows - r < FLOAT_ROWS ? rows - r : FLOAT_ROWS);
        for (int64_t t = 0; t < x->tokens; t++) {
            memset(out + t * stride + r, 0, (size_t)here * sizeof(float));
        }
        for (int64_t k = 0; k < all; k += FLOAT_PLACES) {
            const int places = (int)(all - k < FLOAT_PLACES ? all - k : FLOAT_PLACES);
            const int64_t at = k * place_bytes, left = row_bytes - at, most = (int64_t)FLOAT_PLACES * place_bytes;
            float_fill(read, place_bytes, from + r * row_bytes + at, row_bytes, here, left < most ? left : most, &w);
            float_run(step, &w, places, x, k, all, here, out + r, stride);
        }
    }
}

#endif
