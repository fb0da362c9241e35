/* run.h - the kernels that run a model in `exact` mode: f32, in an order that is the same on every instruction set.
 *
 * Every function is a fixed sequence of IEEE operations for each number that it writes, so neither the instruction set,
 * nor how rows, tokens or heads are split into calls, nor the number of threads changes a bit (which NaN a NaN is, is
 * left open). The order of sums:
 *   dot(a, b)   n is filled up with zeros to a multiple of 16; partial sum j, from +0, takes k = j, j + 16, j + 32 ...
 *               by fused multiply-add: s[j] = fma(a[k], b[k], s[j]). The sixteen are joined by halves:
 *               s[j] += s[j + 8] for j < 8, then s[j + 4], s[j + 2], s[j + 1].
 *   sum(a)      the same with s[j] = s[j] + a[k], and without the zeros.
 *   weighted    sum over tokens in attention: one partial sum per number, tokens in increasing order, by fma.
 * exp, tanh, erf, sin and cos are those of run_math.h.
 *
 * Matrices are row-major; the distance between rows is that of the shape unless a stride is given. `out` may be an
 * input where a comment says "in place"; otherwise nothing overlaps.
 */
#ifndef HUB_RUN_H
#define HUB_RUN_H

#include "hub_native.h"

enum {
    RUN_PARTS = 16,      /* partial sums of a dot product */
    RUN_TILE_ROWS = 4,   /* rows of one register tile */
    RUN_BLOCK_ROWS = 16, /* rows decoded at a time: a multiple of the tile, and together within a second-level cache */
    RUN_BLOCK_TOKENS = 384, /* tokens for which one decoding serves at most; a multiple of every tile's tokens */
    RUN_GROUP_TOKENS = 6    /* the most tokens of a register tile */
};

static inline int64_t run_padded(int64_t n) { return (n + RUN_PARTS - 1) / RUN_PARTS * RUN_PARTS; }

/* Tokens that are packed at a time: all up to 384, fewer where a row is so long that they take more than 8 MiB. */
static inline int64_t run_block_tokens(int64_t tokens, int64_t n) {
    int64_t fit = ((int64_t)1 << 21) / run_padded(n > 0 ? n : 1) / RUN_GROUP_TOKENS * RUN_GROUP_TOKENS;
    fit = fit < 4 * RUN_GROUP_TOKENS ? 4 * RUN_GROUP_TOKENS : fit > RUN_BLOCK_TOKENS ? RUN_BLOCK_TOKENS : fit;
    return tokens < fit ? tokens : fit;
}

/* Floats of scratch that `linear` and `attention` need; scratch begins at a multiple of 64 bytes. */
static inline int64_t run_linear_scratch(int64_t tokens, int64_t n) {
    return run_padded(n) * (RUN_BLOCK_ROWS + run_block_tokens(tokens, n));
}

static inline int64_t run_attention_scratch(int64_t positions, int64_t dim) {
    return (run_padded(dim) + RUN_GROUP_TOKENS) * run_padded(positions) + RUN_GROUP_TOKENS * run_padded(dim);
}

typedef struct run_attention {
    const float *q, *k, *v; /* (tokens, heads * dim) (positions, kv_heads * dim) (positions, kv_heads * value_dim) */
    float *out;             /* (tokens, heads * value_dim) */
    const float *sinks;     /* (heads,) a score that takes part in the softmax and has no value, or NULL */
    int64_t tokens, positions; /* token t stands at position positions - tokens + t */
    int64_t heads, kv_heads, dim, value_dim;
    int64_t first_head, last_head; /* only these heads: [first_head, last_head) */
    int64_t window;         /* position p sees s with p - window < s <= p; 0: all s <= p */
    float scale, softcap;   /* softcap 0: none */
} run_attention;

/* One value per group of weights, spread over a matrix: row r, column c takes values[r / block_rows * row_stride +
 * group(c) * group_stride]. values NULL: the step is left out. */
typedef struct run_spread {
    const float *values;
    int64_t row_stride, group_stride;
} run_spread;

typedef enum run_code { RUN_U8, RUN_I8, RUN_U16, RUN_I16, RUN_U32, RUN_I32, RUN_F32 } run_code;

/* w = scale * (sign * value(code) - zero) + offset, each step rounded to f32: hub/reference.py. */
typedef struct run_codes {
    run_code type;
    const void *codes;    /* (rows, columns / width) */
    const float *table;   /* (entries, width), or NULL: the value of a code is the code */
    int64_t entries, width;
    const int8_t *signs;  /* (rows, columns), or NULL */
    run_spread scale, zero, offset;
    const int32_t *group_of; /* (columns,), or NULL: groups of `group` columns */
    int64_t group, block_rows;
} run_codes;

typedef struct hub_run {
    /* out[t * stride + r] = dot(row r, x[t]). Row r is n weights of `type`, at any address. x (tokens, n) */
    void (*linear)(hub_dequantize_fn *decode, hub_type type, const void *weights, int64_t rows, int64_t n,
                   const float *x, int64_t tokens, float *out, int64_t stride, float *scratch);
    void (*attention)(const run_attention *a, float *scratch);

    /* Rows [first, last) of the weights -> out (last - first, columns). Returns the index in `codes` of the first code
     * that the table does not have, or -1. */
    int64_t (*decode)(const run_codes *c, int64_t rows, int64_t columns, float *out);

    /* Of each group of n: x * (1 / sqrt(dot(x, x) / n + eps)) * weight; weight (n,) or NULL. In place. */
    void (*rms_norm)(const float *x, int64_t groups, int64_t n, const float *weight, float eps, float *out);
    /* d = x - sum(x) / n; d * (1 / sqrt(dot(d, d) / n + eps)) * weight + bias; bias (n,) or NULL. In place. */
    void (*layer_norm)(const float *x, int64_t rows, int64_t n, const float *weight, const float *bias, float eps,
                       float *out);
    /* x (tokens, heads * dim) in place: of each head the first 2 * half numbers, as pairs (i, i + half) or, with
     * neighbours, (2i, 2i + 1): a, b -> a * cos - b * sin, b * cos + a * sin, each product and each sum rounded. cos,
     * sin (tokens, half) */
    void (*rope)(float *x, int64_t tokens, int64_t heads, int64_t dim, const float *cos, const float *sin, int64_t half,
                 bool neighbours);
    /* cos, sin (tokens, half) of the f32 product position * inv_freq, times scale. |product| <= 2^28 */
    void (*rope_tables)(const float *inv_freq, int64_t half, const int32_t *positions, int64_t tokens, float scale,
                        float *cos, float *sin);
    /* exp(x - max) / sum. In place. */
    void (*softmax)(const float *x, int64_t rows, int64_t n, float *out);
    /* The k largest, largest first; of equals the lower index first; NaN last. k <= n */
    void (*top_k)(const float *x, int64_t rows, int64_t n, int64_t k, int32_t *ids, float *values);

    /* All in place. The first two arguments of a pair are a and b, n numbers each. */
    void (*silu)(const float *x, int64_t n, float *out);                          /* x / (1 + exp(-x)) */
    void (*silu_mul)(const float *gate, const float *up, int64_t n, float *out);  /* silu(gate) * up */
    void (*gelu_tanh)(const float *x, int64_t n, float *out); /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    void (*gelu_tanh_mul)(const float *gate, const float *up, int64_t n, float *out);
    void (*gelu_erf)(const float *x, int64_t n, float *out);                      /* x/2 (1 + erf(x / sqrt(2))) */
    void (*gelu_erf_mul)(const float *gate, const float *up, int64_t n, float *out);
    /* Of n pairs (gate, up), next to each other: c / (1 + exp(-alpha c)) * (u + 1), c the gate but at most limit, u the
     * up kept within -limit and limit. Not in place. */
    void (*swiglu_pairs)(const float *x, int64_t n, float alpha, float limit, float *out);
    void (*softcap)(const float *x, int64_t n, float cap, float *out);            /* cap * tanh(x / cap) */
    void (*add)(const float *a, const float *b, int64_t n, float *out);
    void (*add_row)(float *x, int64_t rows, int64_t n, const float *bias);        /* bias (n,) to every row */
    void (*scale)(float *x, int64_t n, float by);

    /* Verification, sums in double in the order of sum(). a, b (rows, n) logits; next[r] the id that came next, or -1:
     * kl[r] = KL(softmax a || softmax b); nll[r] = -log softmax[next], 0 with -1; same_top[r] whether the largest is
     * the same one. */
    void (*log_softmax_stats)(const float *a, const float *b, int64_t rows, int64_t n, const int32_t *next, double *kl,
                              double *nll_a, double *nll_b, uint8_t *same_top);
    /* out[c] += sum over rows of x[r][c]^2, rows in increasing order, in double. */
    void (*sum_squares)(const float *x, int64_t rows, int64_t n, double *out);
} hub_run;

#endif
