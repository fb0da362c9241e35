/* The products of `fast` mode with AVX2 and FMA: 8 rows by 4 tokens in registers, 12 where there are no scales. */
#include <immintrin.h>

#include "fast_prepare.h"
#include "fast_unpack.h"

enum { LANES = 8, HALVES = 1 };
#define AT_ONCE 4
#define FLOAT_AT_ONCE 12
#define FAST_SUFFIX avx2

typedef __m256 vf;
typedef __m256i vi;

HUB_INLINE vf load(const float *p) { return _mm256_loadu_ps(p); }
HUB_INLINE void store(float *p, vf v) { _mm256_storeu_ps(p, v); }
HUB_INLINE vi load_int(const void *p) { return _mm256_loadu_si256(p); }
HUB_INLINE void store_int(void *p, vi v) { _mm256_storeu_si256(p, v); }
HUB_INLINE vf splat(float a) { return _mm256_set1_ps(a); }
HUB_INLINE vf zero(void) { return _mm256_setzero_ps(); }
HUB_INLINE vf fused(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
HUB_INLINE vf to_float(vi a) { return _mm256_cvtepi32_ps(a); }

/* 32 bits at any address, in every lane. */
HUB_INLINE vi splat_bits(const void *p) {
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm256_set1_epi32(bits);
}

/* 8 x 8 lanes, in place. */
HUB_INLINE void transpose(vi *v) {
    vi t[8];
    HUB_UNROLL
    for (int i = 0; i < 8; i += 4) {
        const vi a = _mm256_unpacklo_epi32(v[i], v[i + 1]), b = _mm256_unpackhi_epi32(v[i], v[i + 1]);
        const vi c = _mm256_unpacklo_epi32(v[i + 2], v[i + 3]), d = _mm256_unpackhi_epi32(v[i + 2], v[i + 3]);
        t[i] = _mm256_unpacklo_epi64(a, c);
        t[i + 1] = _mm256_unpackhi_epi64(a, c);
        t[i + 2] = _mm256_unpacklo_epi64(b, d);
        t[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    HUB_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x31);
    }
}

/* ---------------------------------------------------------------- integer products */

/* codes [8][256], columns 0..63 -> [16][8][4] */
HUB_INLINE void gather_fours(const int8_t *from, int8_t (*to)[8][4]) {
    for (int half = 0; half < 2; half++) {
        vi v[8];
        HUB_UNROLL
        for (int r = 0; r < 8; r++) {
            v[r] = load_int(from + r * 256 + 32 * half);
        }
        transpose(v);
        HUB_UNROLL
        for (int i = 0; i < 8; i++) {
            store_int(to[8 * half + i], v[i]);
        }
    }
}

/* Sums of neighbouring int16. */
HUB_INLINE vi sum_pairs(vi a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }

HUB_INLINE vi starts_of(bool wide, int steps, const int8_t (*codes)[4]) {
    vi sum = _mm256_setzero_si256();
    if (wide) {
        return sum;
    }
    for (int i = 0; i < steps; i++) {
        sum = _mm256_add_epi32(sum, sum_pairs(_mm256_maddubs_epi16(_mm256_set1_epi8(1), load_int(codes + 8 * i))));
    }
    return _mm256_slli_epi32(_mm256_sub_epi32(_mm256_setzero_si256(), sum), 7);
}

/* maddubs adds two products in an int16 and saturates. 4 * 255 * 32 fits, so codes that are not wide take two steps before
 * they are widened. Wide ones change places: their magnitude is the unsigned factor, and the activation, signed again,
 * takes their sign; 2 * 128 * 127 fits. */
HUB_INLINE void dot_group(bool wide, int count, int steps, const int8_t (*codes)[8][4], const int32_t *starts,
                          const uint8_t *x, int64_t n, vi dot[1][AT_ONCE]) {
    const vi start = load_int(starts);
    HUB_UNROLL
    for (int j = 0; j < count; j++) {
        dot[0][j] = start;
    }
    if (wide) {
        HUB_UNROLL
        for (int i = 0; i < steps; i++, x += 4 * n) {
            const vi w = load_int(codes[i]), magnitude = _mm256_abs_epi8(w);
            HUB_UNROLL
            for (int j = 0; j < count; j++) {
                const vi four = _mm256_xor_si256(splat_bits(x + 4 * j), _mm256_set1_epi8((char)128));
                const vi sums = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four, w));
                dot[0][j] = _mm256_add_epi32(dot[0][j], sum_pairs(sums));
            }
        }
        return;
    }
    HUB_UNROLL
    for (int i = 0; i < steps; i += 2, x += 8 * n) {
        const vi a = load_int(codes[i]), b = load_int(codes[i + 1]);
        HUB_UNROLL
        for (int j = 0; j < count; j++) {
            const vi sums = _mm256_add_epi16(_mm256_maddubs_epi16(splat_bits(x + 4 * j), a),
                                             _mm256_maddubs_epi16(splat_bits(x + 4 * n + 4 * j), b));
            dot[0][j] = _mm256_add_epi32(dot[0][j], sum_pairs(sums));
        }
    }
}

#include "fast_integer.h"

/* ---------------------------------------------------------------- float products */

HUB_INLINE vf splat_place(const uint8_t *x) { return _mm256_castsi256_ps(splat_bits(x)); }

#include "fast_float.h"

HUB_INLINE vf step(vf w, vf x, vf sum) { return fused(w, x, sum); }

HUB_INLINE vf first_of(vf pair) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pair), 16)); }
HUB_INLINE vf second_of(vf pair) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(pair), _mm256_set1_epi32((int32_t)0xFFFF0000)));
}
HUB_INLINE vf step_pair(vf w, vf x, vf sum) {
    return fused(second_of(w), second_of(x), fused(first_of(w), first_of(x), sum));
}

HUB_INLINE vi read_bits(const uint8_t *p) { return load_int(p); }

/* The exponent's bias changes by a multiplication, which is right for subnormals too; what becomes 65536 or more was
 * infinity or NaN. */
HUB_INLINE vi read_f16(const uint8_t *p) {
    const vi h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    const vi sign = _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(0x8000)), 16);
    const vi magnitude = _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(0x7FFF)), 13);
    const vf value = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), splat(0x1p112f));
    const vf special = _mm256_cmp_ps(value, splat(65536.0f), _CMP_GE_OQ);
    const vi infinity = _mm256_and_si256(_mm256_castps_si256(special), _mm256_set1_epi32(0x7F800000));
    return _mm256_or_si256(_mm256_castps_si256(value), _mm256_or_si256(infinity, sign));
}

static void hub_fast_f32_avx2(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    float_linear(read_bits, step, 4, 1, weights, rows, x, out, stride, scratch);
}

static void hub_fast_f16_avx2(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    float_linear(read_f16, step, 2, 1, weights, rows, x, out, stride, scratch);
}

static void hub_fast_bf16_avx2(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride, void *scratch) {
    float_linear(read_bits, step_pair, 2, 2, weights, rows, x, out, stride, scratch);
}

FAST_PREPARE(avx2)

extern const hub_kernels hub_fast_avx2;
const hub_kernels hub_fast_avx2 = {
    .fast_prepare = {FAST_PREPARE_SLOTS(avx2)},
    .fast_linear = {
        FAST_INTEGER_TYPES(FAST_SLOT)
        [HUB_F32] = hub_fast_f32_avx2,
        [HUB_F16] = hub_fast_f16_avx2,
        [HUB_BF16] = hub_fast_bf16_avx2,
    },
};
