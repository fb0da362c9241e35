/* run_decode.h - the weights of any layout that the IR can say: scale * (sign * value(code) - zero) + offset. */
#ifndef HUB_RUN_DECODE_H
#define HUB_RUN_DECODE_H

#include "run_dot.h"

enum { SOME = 512 }; /* columns at a time */

/* codes[from, from + n) as f32, each rounded to nearest. */
static void HUB_RUN(hub_codes_to_f32)(run_code type, const void *codes, int64_t from, int64_t n, float *out) {
#define HUB_CODES(T)                                                   \
    for (int64_t i = 0; i < n; i++) {                                  \
        T code;                                                        \
        memcpy(&code, (const T *)codes + from + i, sizeof code);       \
        out[i] = (float)code;                                          \
    }                                                                  \
    break
    switch (type) {
    case RUN_U8: HUB_CODES(uint8_t);
    case RUN_I8: HUB_CODES(int8_t);
    case RUN_U16: HUB_CODES(uint16_t);
    case RUN_I16: HUB_CODES(int16_t);
    case RUN_U32: HUB_CODES(uint32_t);
    case RUN_I32: HUB_CODES(int32_t);
    default: HUB_CODES(float);
    }
#undef HUB_CODES
}

HUB_INLINE int64_t code_at(run_code type, const void *codes, int64_t i) {
    switch (type) {
    case RUN_U8: return ((const uint8_t *)codes)[i];
    case RUN_I8: return ((const int8_t *)codes)[i];
    case RUN_U16: return ((const uint16_t *)codes)[i];
    case RUN_I16: return ((const int16_t *)codes)[i];
    case RUN_U32: return ((const uint32_t *)codes)[i];
    case RUN_I32: return ((const int32_t *)codes)[i];
    default: return -1;
    }
}

/* spread to columns [from, from + n) of a row */
HUB_INLINE void spread_row(const run_codes *c, const run_spread *s, int64_t row, int64_t from, int64_t n, float *out) {
    const float *values = s->values + row / c->block_rows * s->row_stride;
    if (c->group_of) {
        for (int64_t i = 0; i < n; i++) {
            out[i] = values[c->group_of[from + i] * s->group_stride];
        }
        return;
    }
    for (int64_t i = 0; i < n;) {
        const int64_t g = (from + i) / c->group;
        const int64_t end = (g + 1) * c->group - from < n ? (g + 1) * c->group - from : n;
        const float value = values[g * s->group_stride];
        for (; i < end; i++) {
            out[i] = value;
        }
    }
}

static int64_t HUB_RUN(hub_decode)(const run_codes *c, int64_t rows, int64_t columns, float *out) {
    float other[SOME];
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t from = 0, n; from < columns; from += n, out += n) {
            const int64_t at = r * columns + from;
            n = columns - from < SOME ? columns - from : SOME;
            if (c->table) {
                for (int64_t i = 0; i < n; i++) {
                    const int64_t code = code_at(c->type, c->codes, (at + i) / c->width);
                    if (code < 0 || code >= c->entries) {
                        return (at + i) / c->width;
                    }
                    out[i] = c->table[code * c->width + (at + i) % c->width];
                }
            } else {
                HUB_RUN(hub_codes_to_f32)(c->type, c->codes, at, n, out);
            }
            if (c->signs) {
                for (int64_t i = 0; i < n; i++) {
                    out[i] = (float)c->signs[at + i] * out[i];
                }
            }
            if (c->zero.values) {
                spread_row(c, &c->zero, r, from, n, other);
                for (int64_t i = 0; i < n; i++) {
                    out[i] = out[i] - other[i];
                }
            }
            spread_row(c, &c->scale, r, from, n, other);
            for (int64_t i = 0; i < n; i++) {
                out[i] = other[i] * out[i];
            }
            if (c->offset.values) {
                spread_row(c, &c->offset, r, from, n, other);
                for (int64_t i = 0; i < n; i++) {
                    out[i] = out[i] + other[i];
                }
            }
        }
    }
    return -1;
}

#endif
