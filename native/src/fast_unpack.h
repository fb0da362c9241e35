/* fast_unpack.h - one block of weights as small signed codes: w = scale * code + offset.
 * Written once and compiled for every instruction set; the compiler vectorises it. Scales and offsets are rounded as
 * in dequantizing, so that scale * code + offset is the weight of `exact` mode but for the last rounding.
 */
#ifndef HUB_FAST_UNPACK_H
#define HUB_FAST_UNPACK_H

#include "fast.h"
#include "ggml_search.h"

#include "ggml_k_pack.h"

/* block -> codes (32 or 256,), scales and offsets (one per group,); offsets only where the type has them. */
typedef void fast_unpack_fn(const void *restrict block, int8_t *restrict codes, float *restrict scales,
                            float *restrict offsets);

HUB_INLINE void fast_unpack_q8_0(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q8_0 *block = from;
    (void)offsets;
    scales[0] = load_f16(block->d);
    memcpy(codes, block->qs, QK);
}

HUB_INLINE void fast_unpack_q4_0(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q4_0 *block = from;
    (void)offsets;
    scales[0] = load_f16(block->d);
    HUB_ROLLED
    for (int i = 0; i < 16; i++) {
        codes[i] = (int8_t)((block->qs[i] & 15) - 8);
        codes[i + 16] = (int8_t)((block->qs[i] >> 4) - 8);
    }
}

HUB_INLINE void fast_unpack_q4_1(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q4_1 *block = from;
    scales[0] = load_f16(block->d);
    offsets[0] = load_f16(block->m);
    HUB_ROLLED
    for (int i = 0; i < 16; i++) {
        codes[i] = (int8_t)(block->qs[i] & 15);
        codes[i + 16] = (int8_t)(block->qs[i] >> 4);
    }
}

/* The fifth bits of a block, as 16 or 0: each byte is written eight times, and each copy looks at a bit of its own. */
HUB_INLINE void fifth_bits(const uint8_t *qh, int8_t *bits) {
    static const uint8_t own[QK] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
                                    1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8_t bytes[QK];
    for (int j = 0; j < 4; j++) {
        memset(bytes + 8 * j, qh[j], 8);
    }
    HUB_ROLLED
    for (int i = 0; i < QK; i++) {
        bits[i] = (int8_t)(bytes[i] & own[i] ? 16 : 0);
    }
}

HUB_INLINE void fast_unpack_q5_0(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q5_0 *block = from;
    (void)offsets;
    scales[0] = load_f16(block->d);
    fifth_bits(block->qh, codes);
    HUB_ROLLED
    for (int i = 0; i < 16; i++) {
        codes[i] = (int8_t)(((block->qs[i] & 15) | codes[i]) - 16);
        codes[i + 16] = (int8_t)((block->qs[i] >> 4 | codes[i + 16]) - 16);
    }
}

HUB_INLINE void fast_unpack_q5_1(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q5_1 *block = from;
    scales[0] = load_f16(block->d);
    offsets[0] = load_f16(block->m);
    fifth_bits(block->qh, codes);
    HUB_ROLLED
    for (int i = 0; i < 16; i++) {
        codes[i] = (int8_t)((block->qs[i] & 15) | codes[i]);
        codes[i + 16] = (int8_t)(block->qs[i] >> 4 | codes[i + 16]);
    }
}

HUB_INLINE void fast_unpack_q2_k(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q2_k *block = from;
    const float d = load_f16(block->d), dmin = load_f16(block->dmin);
    for (int j = 0; j < 16; j++) {
        scales[j] = d * (float)(block->scales[j] & 15);
        offsets[j] = -(dmin * (float)(block->scales[j] >> 4));
    }
    for (int half = 0; half < 2; half++) {
        for (int g = 0; g < 4; g++) {
            for (int i = 0; i < 32; i++) {
                codes[128 * half + 32 * g + i] = (int8_t)(block->qs[32 * half + i] >> 2 * g & 3);
            }
        }
    }
}

HUB_INLINE void fast_unpack_q3_k(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q3_k *block = from;
    const float d = load_f16(block->d);
    (void)offsets;
    for (int j = 0; j < 16; j++) {
        scales[j] = d * (float)unpack_scale_q3(j, block->scales);
    }
    for (int half = 0; half < 2; half++) {
        for (int g = 0; g < 4; g++) {
            for (int i = 0; i < 32; i++) {
                const int high = block->hmask[i] >> (4 * half + g) & 1;
                codes[128 * half + 32 * g + i] = (int8_t)((block->qs[32 * half + i] >> 2 * g & 3) + 4 * high - 4);
            }
        }
    }
}

/* The scales and mins that q4_k and q5_k share. */
HUB_INLINE void fast_scales_q45_k(const uint8_t *d16, const uint8_t *dmin16, const uint8_t *packed, float *scales,
                                  float *offsets) {
    const float d = load_f16(d16), dmin = load_f16(dmin16);
    for (int j = 0; j < 8; j++) {
        int32_t scale, min;
        unpack_scale_min(j, packed, &scale, &min);
        scales[j] = d * (float)scale;
        offsets[j] = -(dmin * (float)min);
    }
}

HUB_INLINE void fast_unpack_q4_k(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q4_k *block = from;
    fast_scales_q45_k(block->d, block->dmin, block->scales, scales, offsets);
    for (int c = 0; c < 4; c++) {
        for (int i = 0; i < 32; i++) {
            codes[64 * c + i] = (int8_t)(block->qs[32 * c + i] & 15);
            codes[64 * c + 32 + i] = (int8_t)(block->qs[32 * c + i] >> 4);
        }
    }
}

HUB_INLINE void fast_unpack_q5_k(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q5_k *block = from;
    fast_scales_q45_k(block->d, block->dmin, block->scales, scales, offsets);
    for (int c = 0; c < 4; c++) {
        for (int i = 0; i < 32; i++) {
            const int low = block->qh[i] >> 2 * c & 1, high = block->qh[i] >> (2 * c + 1) & 1;
            codes[64 * c + i] = (int8_t)((block->qs[32 * c + i] & 15) | low << 4);
            codes[64 * c + 32 + i] = (int8_t)(block->qs[32 * c + i] >> 4 | high << 4);
        }
    }
}

HUB_INLINE void fast_unpack_q6_k(const void *restrict from, int8_t *restrict codes, float *restrict scales,
                                      float *restrict offsets) {
    const block_q6_k *block = from;
    const float d = load_f16(block->d);
    (void)offsets;
    for (int j = 0; j < 16; j++) {
        scales[j] = d * (float)block->scales[j];
    }
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = block->ql + 64 * half, *qh = block->qh + 32 * half;
        for (int i = 0; i < 32; i++) {
            int8_t *to = codes + 128 * half + i;
            to[0] = (int8_t)(((ql[i] & 15) | (qh[i] & 3) << 4) - 32);
            to[32] = (int8_t)(((ql[i + 32] & 15) | (qh[i] >> 2 & 3) << 4) - 32);
            to[64] = (int8_t)((ql[i] >> 4 | (qh[i] >> 4 & 3) << 4) - 32);
            to[96] = (int8_t)((ql[i + 32] >> 4 | (qh[i] >> 6 & 3) << 4) - 32);
        }
    }
}

/* X(hub_type, name, weights per block, weights per group, offsets, wide): every type with an integer kernel. A block of
 * activations is as long as one of weights. The codes of all that are not wide lie in -32..31. */
#define FAST_INTEGER_TYPES(X)                \
    X(HUB_Q8_0, q8_0, 32, 32, false, true)   \
    X(HUB_Q4_0, q4_0, 32, 32, false, false)  \
    X(HUB_Q4_1, q4_1, 32, 32, true, false)   \
    X(HUB_Q5_0, q5_0, 32, 32, false, false)  \
    X(HUB_Q5_1, q5_1, 32, 32, true, false)   \
    X(HUB_Q2_K, q2_k, 256, 16, true, false)  \
    X(HUB_Q3_K, q3_k, 256, 16, false, false) \
    X(HUB_Q4_K, q4_k, 256, 32, true, false)  \
    X(HUB_Q5_K, q5_k, 256, 32, true, false)  \
    X(HUB_Q6_K, q6_k, 256, 16, false, false)

/* The sums of x that go with groups of 16 or 32. */
HUB_INLINE const float *fast_sums(const hub_fast_input *x, int group) { return group == 16 ? x->half_sums : x->sums; }

#endif
