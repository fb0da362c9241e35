/* fast_float.h - the float kernels, for vectors of LANES rows: as fast_integer.h, without scales.
 *
 * A tile holds FAST_PLACES places of ROWS rows, a place being one weight in f32 or a pair in bf16: 32 bits of a lane.
 *
 * Before it a file defines LANES, HALVES, FLOAT_AT_ONCE (at most 12), vf, vi, load, store, store_int, splat_place, zero and
 *   transpose(v)                 LANES vectors, in place
 * and gives float_linear() two functions: `read` loads LANES places of a row, `step` adds the product of two places.
 */
#ifndef HUB_FAST_FLOAT_H
#define HUB_FAST_FLOAT_H

#include "fast.h"

enum { FLOAT_ROWS = LANES * HALVES };

typedef struct float_tile {
    _Alignas(64) float places[FAST_PLACES][FLOAT_ROWS];
} float_tile;
_Static_assert(sizeof(float_tile) <= FAST_TILE && (int)FLOAT_ROWS <= (int)FAST_ROWS, "scratch");

/* rows (<= FLOAT_ROWS) rows of `bytes` bytes at `from` -> tile. What is missing counts as zero. Rows are copied a good way
 * along before they are turned: they often lie a multiple of 4 KiB apart, and a cache holds few lines of such addresses. */
HUB_INLINE void float_fill(vi (*read)(const uint8_t *), int place_bytes, const uint8_t *from, int64_t row_bytes, int rows,
                           int64_t bytes, float_tile *to) {
    enum { RUN = 1024, APART = RUN + 64 };
    _Alignas(64) uint8_t copy[LANES * APART];
    for (int h = 0; h < HALVES; h++) {
        for (int64_t at = 0; at < bytes; at += RUN) {
            const int64_t run = bytes - at < RUN ? bytes - at : RUN;
            if (run < RUN || rows < FLOAT_ROWS) {
                memset(copy, 0, sizeof copy);
            }
            for (int r = 0; r < LANES && h * LANES + r < rows; r++) {
                const uint8_t *row = from + (h * LANES + r) * row_bytes + at;
                if (run == RUN) {
                    memcpy(copy + r * APART, row, RUN);
                } else {
                    memcpy(copy + r * APART, row, (size_t)run);
                }
            }
            for (int64_t i = 0; i < run; i += LANES * place_bytes) {
                vi v[LANES];
                HUB_UNROLL
                for (int r = 0; r < LANES; r++) {
                    v[r] = read(copy + r * APART + i);
                }
                transpose(v);
                HUB_UNROLL
                for (int r = 0; r < LANES; r++) {
                    store_int(&to->places[(at + i) / place_bytes + r][h * LANES], v[r]);
                }
            }
        }
    }
}

typedef vf float_step_fn(vf w, vf x, vf sum);

/* y (count, FLOAT_ROWS) += tile x `count` tokens, n of which are interleaved at x. */
HUB_INLINE void float_multiply(float_step_fn *step, int count, const float_tile *w, int places, const uint8_t *x, int64_t n,
                               float *y) {
    vf total[HALVES][FLOAT_AT_ONCE];
    HUB_UNROLL
    for (int j = 0; j < count; j++) {
        HUB_UNROLL
        for (int h = 0; h < HALVES; h++) {
            total[h][j] = load(y + j * FLOAT_ROWS + h * LANES);
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
            store(y + j * FLOAT_ROWS + h * LANES, total[h][j]);
        }
    }
}

/* All tokens: y (tokens, FLOAT_ROWS) += tile x x. `first` and `all` are the tile's first place and a token's places. */
HUB_INLINE void float_run(float_step_fn *step, const float_tile *w, int places, const hub_fast_input *x, int64_t first,
                          int64_t all, float *y) {
    for (int64_t t = 0; t < x->tokens;) {
        const int64_t start = t - t % FAST_TOKENS, n = batch_width(x->tokens, t), left = n - (t - start);
        const int count = left >= FLOAT_AT_ONCE ? FLOAT_AT_ONCE : left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const uint8_t *from = (const uint8_t *)x->codes + 4 * (start * all + first * n + t - start);
        float *here = y + t * FLOAT_ROWS;
        switch (count) {
        case FLOAT_AT_ONCE: float_multiply(step, FLOAT_AT_ONCE, w, places, from, n, here); break;
        case 6: float_multiply(step, 6, w, places, from, n, here); break;
        case 4: float_multiply(step, 4, w, places, from, n, here); break;
        case 2: float_multiply(step, 2, w, places, from, n, here); break;
        default: float_multiply(step, 1, w, places, from, n, here); break;
        }
        t += count;
    }
}

/* `weight_bytes` of a weight, `per_place` weights to a place. */
HUB_INLINE void float_linear(vi (*read)(const uint8_t *), float_step_fn *step, int weight_bytes, int per_place,
                             const uint8_t *from, int64_t rows, const hub_fast_input *x, float *out, int64_t stride,
                             void *scratch) {
    float_tile *w = scratch;
    float *y = (float *)((uint8_t *)scratch + FAST_TILE);
    const int place_bytes = weight_bytes * per_place;
    const int64_t row_bytes = x->cols * weight_bytes, all = (x->cols + per_place - 1) / per_place;
    for (int64_t r = 0; r < rows; r += FLOAT_ROWS) {
        const int here = (int)(rows - r < FLOAT_ROWS ? rows - r : FLOAT_ROWS);
        memset(y, 0, (size_t)(x->tokens * FLOAT_ROWS) * sizeof(float));
        for (int64_t k = 0; k < all; k += FAST_PLACES) {
            const int places = (int)(all - k < FAST_PLACES ? all - k : FAST_PLACES);
            const int64_t at = k * place_bytes, left = row_bytes - at, most = (int64_t)FAST_PLACES * place_bytes;
            float_fill(read, place_bytes, from + r * row_bytes + at, row_bytes, here, left < most ? left : most, w);
            float_run(step, w, places, x, k, all, y);
        }
        fast_store(y, FLOAT_ROWS, here, x->tokens, out + r, stride);
    }
}

#endif
