/* fast_integer.h - the integer kernels, for vectors of LANES rows.
 *
 * A tile of weights, ROWS rows by FAST_COLUMNS columns, is unpacked once into codes that lie across: the four codes of a
 * row at columns k..k+3 fill one 32-bit lane. Then all tokens are multiplied with it, a few at a time, so that a code
 * that was loaded serves several tokens and sums stay in registers. Activations are stored + 128, because the instructions
 * take one factor unsigned; the sums start from -128 times the codes' sum to make up for it.
 *
 * Before it a file defines, for its instruction set:
 *   LANES, HALVES, AT_ONCE       rows of a vector, vectors of a tile's rows, tokens at once (2, 4 or 6)
 *   vf, vi                       LANES floats, LANES int32
 *   load store load_int store_int splat zero zero_int fused(a, b, c) to_float
 *   gather_fours(from, to)       codes [ROWS][256] at columns 0..63 -> [16][ROWS][4]
 *   starts_of(shape.wide, steps, codes)      -128 * the sums of LANES rows over `steps` steps of four columns
 *   dot_group(...)               see there
 *   FAST_SUFFIX                  the end of the kernels' names
 */
#ifndef HUB_FAST_INTEGER_H
#define HUB_FAST_INTEGER_H

#include "fast_unpack.h"

enum { ROWS = LANES * HALVES };

typedef struct tile {
    _Alignas(64) int8_t codes[FAST_COLUMNS / 4][ROWS][4];
    _Alignas(64) int32_t starts[FAST_COLUMNS / 16][ROWS]; /* by group, as what follows */
    _Alignas(64) float scales[FAST_COLUMNS / 16][ROWS];
    _Alignas(64) float offsets[FAST_COLUMNS / 16][ROWS];
} tile;
_Static_assert(sizeof(tile) <= FAST_TILE && (int)ROWS <= (int)FAST_ROWS, "scratch");

/* What a type looks like to the loops below; constant in each of their copies. */
typedef struct fast_shape {
    int block, group; /* weights and activations per block, weights per scale */
    bool offsets, wide;
} fast_shape;

typedef void fast_fill_fn(const uint8_t *weights, int64_t row_bytes, int rows, int columns, tile *to);
typedef void fast_run_fn(const tile *w, int columns, const hub_fast_input *x, int64_t column, float *y);

/* rows (<= ROWS) rows of `columns` weights -> tile. The rows that are missing count as zero. */
HUB_INLINE void fill_tile(fast_shape shape, fast_unpack_fn *unpack, int bytes, const uint8_t *from, int64_t row_bytes,
                          int rows, int columns, tile *to) {
    _Alignas(64) int8_t codes[ROWS][QK_K];
    float scale[16], offset[16];
    if (rows < ROWS || columns % 64) {
        memset(codes, 0, sizeof codes);
        memset(to->scales, 0, sizeof to->scales);
        memset(to->offsets, 0, sizeof to->offsets);
    }
    for (int k = 0; k < columns; k += QK_K) {
        const int width = columns - k < QK_K ? columns - k : QK_K;
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < width; i += shape.block) {
                unpack(from + r * row_bytes + (k + i) / shape.block * bytes, codes[r] + i, scale, offset);
                for (int g = 0; g < shape.block / shape.group; g++) {
                    to->scales[(k + i) / shape.group + g][r] = scale[g];
                    if (shape.offsets) {
                        to->offsets[(k + i) / shape.group + g][r] = offset[g];
                    }
                }
            }
        }
        for (int i = 0; i < width; i += 64) {
            gather_fours(&codes[0][i], &to->codes[(k + i) / 4]);
        }
    }
    const int steps = shape.group / 4;
    for (int g = 0; g < columns / shape.group; g++) {
        for (int h = 0; h < HALVES; h++) {
            store_int(&to->starts[g][h * LANES], starts_of(shape.wide, steps, &to->codes[g * steps][h * LANES]));
        }
    }
}

/* y (count, ROWS) += tile x `count` tokens. x, scales and sums are those of the first token at the tile's first column,
 * n is how many tokens are interleaved there. */
HUB_INLINE void multiply(fast_shape shape, int count, const tile *w, int columns, const uint8_t *x, const float *scales,
                         const float *sums, int64_t n, float *y) {
    vf s[HALVES][AT_ONCE], total[HALVES][AT_ONCE];
    HUB_UNROLL
    for (int h = 0; h < HALVES; h++) {
        HUB_UNROLL
        for (int j = 0; j < count; j++) {
            total[h][j] = load(y + j * ROWS + h * LANES);
        }
    }
    for (int k = 0; k < columns; k += shape.block) {
        HUB_UNROLL
        for (int h = 0; h < HALVES; h++) {
            HUB_UNROLL
            for (int j = 0; j < count; j++) {
                s[h][j] = zero();
            }
        }
        for (int g = k / shape.group; g < (k + shape.block) / shape.group; g++) {
            vi dot[HALVES][AT_ONCE];
            dot_group(shape.wide, count, shape.group / 4, &w->codes[g * (shape.group / 4)], w->starts[g], x, n, dot);
            x += shape.group * n;
            HUB_UNROLL
            for (int h = 0; h < HALVES; h++) {
                const vf scale = load(&w->scales[g][h * LANES]);
                HUB_UNROLL
                for (int j = 0; j < count; j++) {
                    s[h][j] = fused(to_float(dot[h][j]), scale, s[h][j]);
                }
                if (shape.offsets) {
                    const vf offset = load(&w->offsets[g][h * LANES]);
                    HUB_UNROLL
                    for (int j = 0; j < count; j++) {
                        s[h][j] = fused(splat(sums[j]), offset, s[h][j]);
                    }
                }
            }
            sums += n;
        }
        HUB_UNROLL
        for (int h = 0; h < HALVES; h++) {
            HUB_UNROLL
            for (int j = 0; j < count; j++) {
                total[h][j] = fused(s[h][j], splat(scales[j]), total[h][j]);
            }
        }
        scales += n;
    }
    HUB_UNROLL
    for (int h = 0; h < HALVES; h++) {
        HUB_UNROLL
        for (int j = 0; j < count; j++) {
            store(y + j * ROWS + h * LANES, total[h][j]);
        }
    }
}

/* All tokens: y (tokens, ROWS) += tile x x. `column` is that of the tile. */
HUB_INLINE void run_tile(fast_shape shape, const tile *w, int columns, const hub_fast_input *x, int64_t column, float *y) {
    for (int64_t t = 0; t < x->tokens;) {
        const int64_t start = t - t % FAST_TOKENS, n = batch_width(x->tokens, t), j = t - start;
        const int64_t left = n - j, count = left >= AT_ONCE ? AT_ONCE : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const uint8_t *codes = (const uint8_t *)x->codes + start * x->cols + column * n + 4 * j;
        const float *scales = x->scales + start * (x->cols / shape.block) + column / shape.block * n + j;
        const float *sums =
            fast_sums(x, shape.group) + start * (x->cols / shape.group) + column / shape.group * n + j;
        float *here = y + t * ROWS;
        switch (count) {
        case AT_ONCE: multiply(shape, AT_ONCE, w, columns, codes, scales, sums, n, here); break;
#if AT_ONCE > 4
        case 4: multiply(shape, 4, w, columns, codes, scales, sums, n, here); break;
#endif
        case 2: multiply(shape, 2, w, columns, codes, scales, sums, n, here); break;
        default: multiply(shape, 1, w, columns, codes, scales, sums, n, here); break;
        }
        t += count;
    }
}

HUB_INLINE void integer_linear(fast_fill_fn *fill, fast_run_fn *run, int block, int bytes, const uint8_t *from,
                               int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    tile *w = scratch;
    float *y = (float *)((uint8_t *)scratch + FAST_TILE);
    const int64_t row_bytes = x->cols / block * bytes;
    for (int64_t r = 0; r < rows; r += ROWS) {
        const int here = (int)(rows - r < ROWS ? rows - r : ROWS);
        memset(y, 0, (size_t)(x->tokens * ROWS) * sizeof(float));
        for (int64_t k = 0; k < x->cols; k += FAST_COLUMNS) {
            const int columns = (int)(x->cols - k < FAST_COLUMNS ? x->cols - k : FAST_COLUMNS);
            fill(from + r * row_bytes + k / block * bytes, row_bytes, here, columns, w);
            run(w, columns, x, k, y);
        }
        fast_store(y, ROWS, here, x->tokens, out + r, stride);
    }
}

/* ---------------------------------------------------------------- the copies: by shape, then by type */

#define FAST_RUN(block, group, offsets, wide)                                                                                \
    static void run_##block##_##group##_##offsets##_##wide(const tile *w, int columns, const hub_fast_input *x, int64_t column, \
                                                  float *y) {                                                         \
        run_tile((fast_shape){block, group, offsets, wide}, w, columns, x, column, y); \
    }
FAST_RUN(32, 32, false, true)
FAST_RUN(32, 32, false, false)
FAST_RUN(32, 32, true, false)
FAST_RUN(256, 32, true, false)
FAST_RUN(256, 16, true, false)
FAST_RUN(256, 16, false, false)

#define FAST_JOIN3(a, b, c) a##_##b##_##c
#define FAST_JOIN(a, b, c) FAST_JOIN3(a, b, c)
#define FAST_NAME(type) FAST_JOIN(hub_fast, type, FAST_SUFFIX)

#define FAST_LINEAR(index, type, block, group, offsets, wide)                                                                \
    static void fill_##type(const uint8_t *from, int64_t row_bytes, int rows, int columns, tile *to) {                 \
        fill_tile((fast_shape){block, group, offsets, wide}, fast_unpack_##type, sizeof(block_##type), from, row_bytes, rows, \
                  columns, to);                                                                                        \
    }                                                                                                                  \
    static void FAST_NAME(type)(const void *from, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, \
                                void *scratch) { \
        integer_linear(fill_##type, run_##block##_##group##_##offsets##_##wide, block, sizeof(block_##type), from, rows, x, out, \
                       stride, scratch); \
    }
FAST_INTEGER_TYPES(FAST_LINEAR)

#define FAST_SLOT(index, type, block, group, offsets, wide) [index] = FAST_NAME(type),

#endif
