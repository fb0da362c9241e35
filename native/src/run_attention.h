/* run_attention.h - causal attention, a head at a time, for a few neighbouring tokens at once. */
#ifndef HUB_RUN_ATTENTION_H
#define HUB_RUN_ATTENTION_H

#include "run_dot.h"

/* The largest of x and `start`; a NaN is passed over. */
HUB_INLINE float largest_of(const float *x, int64_t n, float start) {
    float best[RUN_PARTS];
    for (int j = 0; j < RUN_PARTS; j++) {
        best[j] = start;
    }
    for (int64_t i = 0; i < n / RUN_PARTS; i++) {
        for (int j = 0; j < RUN_PARTS; j++) {
            best[j] = x[RUN_PARTS * i + j] > best[j] ? x[RUN_PARTS * i + j] : best[j];
        }
    }
    for (int64_t i = n / RUN_PARTS * RUN_PARTS; i < n; i++) {
        best[0] = x[i] > best[0] ? x[i] : best[0];
    }
    for (int j = 1; j < RUN_PARTS; j++) {
        best[0] = best[j] > best[0] ? best[j] : best[0];
    }
    return best[0];
}

/* x -> exp(x - max) / sum, with a further score in the sum where `sink` is given */
HUB_INLINE void softmax_row(const float *x, int64_t n, const float *sink, float *out) {
    const float largest = largest_of(x, n, sink ? *sink : -INFINITY);
    HUB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        out[i] = exp_of(x[i] - largest);
    }
    float sum = sum_of(out, n);
    if (sink) {
        sum += exp_of(*sink - largest);
    }
    HUB_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        out[i] /= sum;
    }
}

/* sums[c][...] += weights[c][s] * values[s][...] for s in [from, to): `vectors` vectors for `tokens` tokens. */
HUB_INLINE void weighted(const int tokens, const int vectors, const float *weights, int64_t weights_stride,
                         const float *values, int64_t values_stride, int64_t from, int64_t to, float *sums,
                         int64_t sums_stride) {
    vec s[TILE_TOKENS][WEIGHTED_VECTORS];
    HUB_UNROLL
    for (int c = 0; c < tokens; c++) {
        HUB_UNROLL
        for (int j = 0; j < vectors; j++) {
            s[c][j] = vec_load(sums + c * sums_stride + j * WIDTH);
        }
    }
    for (int64_t i = from; i < to; i++) {
        vec v[WEIGHTED_VECTORS];
        HUB_UNROLL
        for (int j = 0; j < vectors; j++) {
            v[j] = vec_load(values + i * values_stride + j * WIDTH);
        }
        HUB_UNROLL
        for (int c = 0; c < tokens; c++) {
            const vec w = vec_splat(weights[c * weights_stride + i]);
            HUB_UNROLL
            for (int j = 0; j < vectors; j++) {
                s[c][j] = vec_fma(w, v[j], s[c][j]);
            }
        }
    }
    HUB_UNROLL
    for (int c = 0; c < tokens; c++) {
        HUB_UNROLL
        for (int j = 0; j < vectors; j++) {
            vec_store(sums + c * sums_stride + j * WIDTH, s[c][j]);
        }
    }
}

/* The same for n numbers of a value. */
HUB_INLINE void weighted_rows(const int tokens, int64_t n, const float *weights, int64_t weights_stride,
                              const float *values, int64_t values_stride, int64_t from, int64_t to, float *sums,
                              int64_t sums_stride) {
    int64_t d = 0;
    for (; d + WEIGHTED_VECTORS * WIDTH <= n; d += WEIGHTED_VECTORS * WIDTH) {
        weighted(tokens, WEIGHTED_VECTORS, weights, weights_stride, values + d, values_stride, from, to, sums + d,
                 sums_stride);
    }
    for (; d + WIDTH <= n; d += WIDTH) {
        weighted(tokens, 1, weights, weights_stride, values + d, values_stride, from, to, sums + d, sums_stride);
    }
    for (; d < n; d++) {
        for (int c = 0; c < tokens; c++) {
            float s = sums[c * sums_stride + d];
            for (int64_t i = from; i < to; i++) {
                s = fmaf(weights[c * weights_stride + i], values[i * values_stride + d], s);
            }
            sums[c * sums_stride + d] = s;
        }
    }
}

/* Where a token's view begins. */
HUB_INLINE int64_t first_seen(const run_attention *a, int64_t position) {
    return a->window > 0 && position >= a->window ? position - a->window + 1 : 0;
}

/* Tokens [t, t + tokens) of one head. keys: packed tiles of 4 positions. */
static void HUB_RUN(hub_attend)(const run_attention *a, int64_t head, int64_t t, int tokens, const float *keys,
                                float *scores, float *query) {
    const int64_t padded = run_padded(a->dim), scores_stride = run_padded(a->positions);
    const int64_t kv_head = head / (a->heads / a->kv_heads);
    const int64_t at = a->positions - a->tokens + t; /* the position of the first token */
    const int64_t begin = first_seen(a, at), end = at + tokens;
    for (int c = 0; c < tokens; c++) {
        pack(a->q + (t + c) * a->heads * a->dim + head * a->dim, a->dim, query, c, tokens);
    }
    for (int64_t s = begin / RUN_TILE_ROWS * RUN_TILE_ROWS; s < end; s += RUN_TILE_ROWS) {
        float parts[TILE_TOKENS][RUN_TILE_ROWS][RUN_PARTS];
        memset(parts, 0, sizeof parts);
        HUB_RUN(hub_tile)(tokens, padded / RUN_PARTS, keys + s * padded, query, parts[0][0]);
        for (int c = 0; c < tokens; c++) {
            join_four(parts[c][0], scores + c * scores_stride + s);
        }
    }
    const float scale = a->scale, cap = a->softcap;
    for (int c = 0; c < tokens; c++) {
        const int64_t seen = first_seen(a, at + c), n = at + c + 1 - seen;
        float *row = scores + c * scores_stride + seen;
        for (int64_t s = 0; s < n; s++) {
            row[s] *= scale;
        }
        if (cap != 0.0f) {
            for (int64_t s = 0; s < n; s++) {
                row[s] = softcapped(row[s], cap);
            }
        }
        softmax_row(row, n, a->sinks ? a->sinks + head : NULL, row);
    }
    /* What all tokens of the group see is summed together; what comes before and after it one by one, in order. */
    const int64_t common_begin = first_seen(a, at + tokens - 1), common_end = at + 1;
    const int64_t values_stride = a->kv_heads * a->value_dim, sums_stride = a->heads * a->value_dim;
    const float *values = a->v + kv_head * a->value_dim;
    float *sums = a->out + t * sums_stride + head * a->value_dim;
    const bool together = common_begin < common_end;
    for (int c = 0; c < tokens; c++) {
        memset(sums + c * sums_stride, 0, (size_t)a->value_dim * sizeof *sums);
        weighted_rows(1, a->value_dim, scores + c * scores_stride, scores_stride, values, values_stride,
                      first_seen(a, at + c), together ? common_begin : at + c + 1, sums + c * sums_stride, sums_stride);
    }
    if (!together) {
        return;
    }
    if (tokens == TILE_TOKENS) {
        weighted_rows(TILE_TOKENS, a->value_dim, scores, scores_stride, values, values_stride, common_begin,
                      common_end, sums, sums_stride);
    }
    for (int c = 0; c < tokens; c++) {
        weighted_rows(1, a->value_dim, scores + c * scores_stride, scores_stride, values, values_stride,
                      tokens == TILE_TOKENS ? common_end : common_begin, at + c + 1, sums + c * sums_stride,
                      sums_stride);
    }
}

static void HUB_RUN(hub_attention)(const run_attention *a, float *scratch) {
    const int64_t padded = run_padded(a->dim), positions = run_padded(a->positions);
    float *keys = scratch, *scores = keys + padded * positions, *query = scores + RUN_GROUP_TOKENS * positions;
    int64_t packed = -1;
    for (int64_t head = a->first_head; head < a->last_head; head++) {
        const int64_t kv_head = head / (a->heads / a->kv_heads);
        if (kv_head != packed) {
            for (int64_t s = 0; s < positions; s++) {
                float *to = keys + s / RUN_TILE_ROWS * RUN_TILE_ROWS * padded;
                if (s < a->positions) {
                    pack(a->k + (s * a->kv_heads + kv_head) * a->dim, a->dim, to, s % RUN_TILE_ROWS, RUN_TILE_ROWS);
                } else {
                    pack_zeros(a->dim, to, s % RUN_TILE_ROWS, RUN_TILE_ROWS);
                }
            }
            packed = kv_head;
        }
        for (int64_t t = 0; t < a->tokens; t += TILE_TOKENS) {
            const int tokens = (int)(a->tokens - t < TILE_TOKENS ? a->tokens - t : TILE_TOKENS);
            HUB_RUN(hub_attend)(a, head, t, tokens, keys, scores, query);
        }
    }
}

#endif
