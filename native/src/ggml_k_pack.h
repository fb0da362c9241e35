/* ggml_k_pack.h - where the 6-bit scales and the 2-bit codes of the K types lie. Shared by all instruction sets. */
#ifndef HUB_GGML_K_PACK_H
#define HUB_GGML_K_PACK_H

#include "ggml_blocks.h"

/* q4_k, q5_k: pair j = (scale, min) of 6 bits each.
 *     byte 0..3   scale 0..3, and in bits 6-7 the top of scale 4..7
 *     byte 4..7   min 0..3,   and in bits 6-7 the top of min 4..7
 *     byte 8..11  low nibble scale 4..7, high nibble min 4..7
 * Call for j = 0..7 in order: the later pairs are or-ed into bytes that the earlier ones have set. A code above 63 is not
 * masked away (ggml's search can yield one, and then so does its file). */
static inline void pack_scale_min(int j, uint8_t scale, uint8_t min, uint8_t *scales) {
    if (j < 4) {
        scales[j] = scale;
        scales[j + 4] = min;
    } else {
        scales[j + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
        scales[j - 4] = (uint8_t)(scales[j - 4] | scale >> 4 << 6);
        scales[j] = (uint8_t)(scales[j] | min >> 4 << 6);
    }
}

static inline void unpack_scale_min(int j, const uint8_t *scales, int32_t *scale, int32_t *min) {
    if (j < 4) {
        *scale = scales[j] & 63;
        *min = scales[j + 4] & 63;
    } else {
        *scale = (scales[j + 4] & 15) | scales[j - 4] >> 6 << 4;
        *min = scales[j + 4] >> 4 | scales[j] >> 6 << 4;
    }
}

/* q3_k: sixteen values 0..63. Low nibbles of 0..7 and 8..15 share bytes 0..7; the top two bits of value j are at bits
 * 2 (j / 4) of byte 8 + j % 4. */
static inline void pack_scales_q3(const uint8_t *values, uint8_t *scales) {
    memset(scales, 0, 12);
    for (int j = 0; j < 16; j++) {
        scales[j % 8] = (uint8_t)(scales[j % 8] | (values[j] & 15) << 4 * (j / 8));
        scales[8 + j % 4] = (uint8_t)(scales[8 + j % 4] | values[j] >> 4 << 2 * (j / 4));
    }
}

static inline int32_t unpack_scale_q3(int j, const uint8_t *scales) {
    return ((scales[j % 8] >> 4 * (j / 8) & 15) | (scales[8 + j % 4] >> 2 * (j / 4) & 3) << 4) - 32;
}

/* q2_k, q3_k: codes L (256,) of two bits, four to a byte, 32 apart. */
static inline void pack_two_bits(const uint8_t *L, uint8_t *qs) {
    for (int half = 0; half < 2; half++, L += 128, qs += 32) {
        for (int l = 0; l < 32; l++) {
            qs[l] = (uint8_t)(L[l] | L[l + 32] << 2 | L[l + 64] << 4 | L[l + 96] << 6);
        }
    }
}

/* q4_k, q5_k: low four bits of L (256,), two to a byte, 32 apart. */
static inline void pack_four_bits(const uint8_t *L, uint8_t *qs) {
    for (int pair = 0; pair < 4; pair++, L += 64, qs += 32) {
        for (int l = 0; l < 32; l++) {
            qs[l] = (uint8_t)((L[l] & 15) | (L[l + 32] & 15) << 4);
        }
    }
}

/* One more bit of L (256,): bit `which` of L[i] goes to bit i / 32 of mask[i % 32]. */
static inline void pack_one_bit(const uint8_t *L, int which, uint8_t *mask) {
    for (int l = 0; l < 32; l++) {
        int32_t bits = 0;
        for (int sub = 0; sub < 8; sub++) {
            bits |= (L[32 * sub + l] >> which & 1) << sub;
        }
        mask[l] = (uint8_t)bits;
    }
}

/* q6_k */
static inline void pack_six_bits(const uint8_t *L, uint8_t *ql, uint8_t *qh) {
    for (int half = 0; half < 2; half++, L += 128, ql += 64, qh += 32) {
        for (int l = 0; l < 32; l++) {
            ql[l] = (uint8_t)((L[l] & 15) | (L[l + 64] & 15) << 4);
            ql[l + 32] = (uint8_t)((L[l + 32] & 15) | (L[l + 96] & 15) << 4);
            qh[l] = (uint8_t)(L[l] >> 4 | L[l + 32] >> 4 << 2 | L[l + 64] >> 4 << 4 | L[l + 96] >> 4 << 6);
        }
    }
}

#endif
