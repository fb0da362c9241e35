/* ggml_decode_x86.h - dequantizing with vectors: the numbers of the scalar files, sixteen at a time.
 *
 * Every weight is one product, or a product and a sum, of its own code, so there is no order to keep. Codes are taken
 * apart as sixteen bytes. Defined before this file is included:
 *   HUB_ISA_SUFFIX
 *   store_product(x, codes, step)          x[0..15] = codes * step; codes are signed bytes
 *   store_less(x, codes, step, min)        codes * step - min
 *   store_more(x, codes, step, min)        codes * step + min
 *   store_halves(x, halves)                x[0..7] = eight f16, as f16_to_f32() has it
 */
#ifndef HUB_GGML_DECODE_X86_H
#define HUB_GGML_DECODE_X86_H

#include "ggml_k_pack.h"
#include "ggml_search.h"

#define HUB_JOIN3(a, b, c) a##b##c
#define HUB_JOIN2(a, b) HUB_JOIN3(a, _, b)
#define HUB_DECODE(name) HUB_JOIN2(hub_dequantize_##name, HUB_ISA_SUFFIX)

HUB_INLINE __m128i load_codes(const void *p) { return _mm_loadu_si128(p); }
HUB_INLINE __m128i low_bits(__m128i v, int mask) { return _mm_and_si128(v, _mm_set1_epi8((char)mask)); }

/* What crosses from byte to byte in these shifts is masked away: shift + bits of the mask <= 8. */
HUB_INLINE __m128i shifted_bits(__m128i v, int shift, int mask) {
    return low_bits(_mm_srl_epi16(v, _mm_cvtsi32_si128(shift)), mask);
}

/* `value` in each byte of v that has bit `bit` */
HUB_INLINE __m128i where_bit(__m128i v, int bit, int value) {
    const __m128i mask = _mm_set1_epi8((char)(1 << bit));
    return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(v, mask), mask), _mm_set1_epi8((char)value));
}

/* `value` in byte i if bit i of the 16 bits is set */
HUB_INLINE __m128i spread_bits(uint32_t bits, int value) {
    const __m128i which = _mm_set_epi8(-128, 64, 32, 16, 8, 4, 2, 1, -128, 64, 32, 16, 8, 4, 2, 1);
    const __m128i place = _mm_set_epi8(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m128i bytes = _mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), place);
    return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(bytes, which), which), _mm_set1_epi8((char)value));
}

static void HUB_DECODE(f16)(const void *y, float *x, int64_t n) {
    const uint8_t *in = y;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        store_halves(x + i, load_codes(in + 2 * i));
    }
    for (; i < n; i++) {
        x[i] = load_f16(in + 2 * i);
    }
}

static void HUB_DECODE(bf16)(const void *y, float *x, int64_t n) {
    const uint8_t *in = y;
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        x[i] = bf16_to_f32(half);
    }
}

static void HUB_DECODE(q8_0)(const void *y, float *x, int64_t n) {
    const block_q8_0 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        store_product(x, load_codes(block->qs), d);
        store_product(x + 16, load_codes(block->qs + 16), d);
    }
}

static void HUB_DECODE(q4_0)(const void *y, float *x, int64_t n) {
    const block_q4_0 *block = y;
    const __m128i eight = _mm_set1_epi8(8);
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        const __m128i qs = load_codes(block->qs);
        store_product(x, _mm_sub_epi8(low_bits(qs, 15), eight), d);
        store_product(x + 16, _mm_sub_epi8(shifted_bits(qs, 4, 15), eight), d);
    }
}

static void HUB_DECODE(q4_1)(const void *y, float *x, int64_t n) {
    const block_q4_1 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d), m = load_f16(block->m);
        const __m128i qs = load_codes(block->qs);
        store_more(x, low_bits(qs, 15), d, m);
        store_more(x + 16, shifted_bits(qs, 4, 15), d, m);
    }
}

static void HUB_DECODE(q5_0)(const void *y, float *x, int64_t n) {
    const block_q5_0 *block = y;
    const __m128i sixteen = _mm_set1_epi8(16);
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d);
        const uint32_t qh = load_u32(block->qh);
        const __m128i qs = load_codes(block->qs);
        store_product(x, _mm_sub_epi8(_mm_or_si128(low_bits(qs, 15), spread_bits(qh, 16)), sixteen), d);
        store_product(x + 16, _mm_sub_epi8(_mm_or_si128(shifted_bits(qs, 4, 15), spread_bits(qh >> 16, 16)), sixteen),
                      d);
    }
}

static void HUB_DECODE(q5_1)(const void *y, float *x, int64_t n) {
    const block_q5_1 *block = y;
    for (float *const end = x + n; x < end; x += QK, block++) {
        const float d = load_f16(block->d), m = load_f16(block->m);
        const uint32_t qh = load_u32(block->qh);
        const __m128i qs = load_codes(block->qs);
        store_more(x, _mm_or_si128(low_bits(qs, 15), spread_bits(qh, 16)), d, m);
        store_more(x + 16, _mm_or_si128(shifted_bits(qs, 4, 15), spread_bits(qh >> 16, 16)), d, m);
    }
}

static void HUB_DECODE(q2_k)(const void *y, float *x, int64_t n) {
    const block_q2_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d), dmin = load_f16(block->dmin);
        for (int j = 0; j < 16; j++, x += 16) {
            const __m128i qs = load_codes(block->qs + 32 * (j / 8) + 16 * (j % 2));
            store_less(x, shifted_bits(qs, 2 * (j / 2 % 4), 3), d * (float)(block->scales[j] & 15),
                       dmin * (float)(block->scales[j] >> 4));
        }
    }
}

static void HUB_DECODE(q3_k)(const void *y, float *x, int64_t n) {
    const block_q3_k *block = y;
    const __m128i four = _mm_set1_epi8(4);
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        const __m128i hmask[2] = {load_codes(block->hmask), load_codes(block->hmask + 16)};
        for (int j = 0; j < 16; j++, x += 16) {
            const __m128i qs = load_codes(block->qs + 32 * (j / 8) + 16 * (j % 2));
            const __m128i codes = _mm_or_si128(shifted_bits(qs, 2 * (j / 2 % 4), 3), where_bit(hmask[j % 2], j / 2, 4));
            store_product(x, _mm_sub_epi8(codes, four), d * (float)unpack_scale_q3(j, block->scales));
        }
    }
}

static void HUB_DECODE(q4_k)(const void *y, float *x, int64_t n) {
    const block_q4_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d), dmin = load_f16(block->dmin);
        for (int j = 0; j < 8; j++, x += 32) {
            int32_t scale_code, min_code;
            unpack_scale_min(j, block->scales, &scale_code, &min_code);
            const float step = d * (float)scale_code, min = dmin * (float)min_code;
            const uint8_t *qs = block->qs + 32 * (j / 2);
            store_less(x, shifted_bits(load_codes(qs), 4 * (j % 2), 15), step, min);
            store_less(x + 16, shifted_bits(load_codes(qs + 16), 4 * (j % 2), 15), step, min);
        }
    }
}

static void HUB_DECODE(q5_k)(const void *y, float *x, int64_t n) {
    const block_q5_k *block = y;
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d), dmin = load_f16(block->dmin);
        const __m128i qh[2] = {load_codes(block->qh), load_codes(block->qh + 16)};
        for (int j = 0; j < 8; j++, x += 32) {
            int32_t scale_code, min_code;
            unpack_scale_min(j, block->scales, &scale_code, &min_code);
            const float step = d * (float)scale_code, min = dmin * (float)min_code;
            for (int h = 0; h < 2; h++) {
                const __m128i qs = load_codes(block->qs + 32 * (j / 2) + 16 * h);
                store_less(x + 16 * h, _mm_or_si128(shifted_bits(qs, 4 * (j % 2), 15), where_bit(qh[h], j, 16)), step,
                           min);
            }
        }
    }
}

static void HUB_DECODE(q6_k)(const void *y, float *x, int64_t n) {
    const block_q6_k *block = y;
    const __m128i half_range = _mm_set1_epi8(32);
    for (float *const end = x + n; x < end; block++) {
        const float d = load_f16(block->d);
        for (int j = 0; j < 16; j++, x += 16) {
            const int half = j / 8, g = j / 2 % 4, odd = 16 * (j % 2);
            const __m128i ql = load_codes(block->ql + 64 * half + 32 * (g & 1) + odd);
            const __m128i qh = load_codes(block->qh + 32 * half + odd);
            const __m128i top = _mm_slli_epi16(shifted_bits(qh, 2 * g, 3), 4);
            const __m128i codes = _mm_or_si128(shifted_bits(ql, 4 * (g >> 1), 15), top);
            store_product(x, _mm_sub_epi8(codes, half_range), d * (float)block->scales[j]);
        }
    }
}

extern const hub_kernels HUB_JOIN2(hub_ggml_decode, HUB_ISA_SUFFIX);
const hub_kernels HUB_JOIN2(hub_ggml_decode, HUB_ISA_SUFFIX) = {
    .dequantize = {
        [HUB_F16] = HUB_DECODE(f16),
        [HUB_BF16] = HUB_DECODE(bf16),
        [HUB_Q8_0] = HUB_DECODE(q8_0),
        [HUB_Q4_0] = HUB_DECODE(q4_0),
        [HUB_Q4_1] = HUB_DECODE(q4_1),
        [HUB_Q5_0] = HUB_DECODE(q5_0),
        [HUB_Q5_1] = HUB_DECODE(q5_1),
        [HUB_Q2_K] = HUB_DECODE(q2_k),
        [HUB_Q3_K] = HUB_DECODE(q3_k),
        [HUB_Q4_K] = HUB_DECODE(q4_k),
        [HUB_Q5_K] = HUB_DECODE(q5_k),
        [HUB_Q6_K] = HUB_DECODE(q6_k),
    },
};

#endif
