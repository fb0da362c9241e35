/* ggml_blocks.h - how ggml's blocks lie in bytes.
 *
 * All fields are bytes, also the 16-bit ones: a block then has no padding and no alignment, and may start at any
 * offset of a file. Multi-byte fields are little-endian; read and write them with load_/store_ of small_floats.h.
 * Weight i of a block is called w[i] below.
 */
#ifndef HUB_GGML_BLOCKS_H
#define HUB_GGML_BLOCKS_H

#include "hub_native.h"

enum { QK = 32, QK_K = 256 }; /* weights per block of the legacy types, per super-block of the K types */

typedef struct {
    uint8_t d[2];   /* f16 scale */
    int8_t qs[32];  /* w[i] = qs[i] * d */
} block_q8_0;
_Static_assert(sizeof(block_q8_0) == 34, "q8_0");

typedef struct {
    uint8_t d[2];   /* f16 scale */
    uint8_t qs[16]; /* codes 0..15: low nibbles are w[0..15], high nibbles w[16..31]; w = (q - 8) * d */
} block_q4_0;
_Static_assert(sizeof(block_q4_0) == 18, "q4_0");

typedef struct {
    uint8_t d[2];   /* f16 scale */
    uint8_t m[2];   /* f16 minimum */
    uint8_t qs[16]; /* nibbles as in q4_0; w = q * d + m */
} block_q4_1;
_Static_assert(sizeof(block_q4_1) == 20, "q4_1");

typedef struct {
    uint8_t d[2];   /* f16 scale */
    uint8_t qh[4];  /* bit i of this u32 is the fifth bit of w[i] */
    uint8_t qs[16]; /* low four bits, nibbles as in q4_0; w = (q - 16) * d */
} block_q5_0;
_Static_assert(sizeof(block_q5_0) == 22, "q5_0");

typedef struct {
    uint8_t d[2];   /* f16 scale */
    uint8_t m[2];   /* f16 minimum */
    uint8_t qh[4];  /* fifth bits */
    uint8_t qs[16]; /* w = q * d + m */
} block_q5_1;
_Static_assert(sizeof(block_q5_1) == 24, "q5_1");

typedef struct {
    uint8_t scales[16]; /* per 16 weights: low nibble scale, high nibble min */
    uint8_t qs[64];     /* 2 bits: w[128h + 32g + l] in bits 2g of qs[32h + l] */
    uint8_t d[2];       /* f16 scale of the scales */
    uint8_t dmin[2];    /* f16 scale of the mins; w = (d * scale) * q - dmin * min */
} block_q2_k;
_Static_assert(sizeof(block_q2_k) == 84, "q2_k");

typedef struct {
    uint8_t hmask[32];  /* third bit: w[i] in bit i / 32 of hmask[i % 32] */
    uint8_t qs[64];     /* low two bits, as in q2_k */
    uint8_t scales[12]; /* sixteen 6-bit scales, stored + 32; see pack_scales_q3 */
    uint8_t d[2];       /* f16; w = (d * (scale - 32)) * (q - 4) */
} block_q3_k;
_Static_assert(sizeof(block_q3_k) == 110, "q3_k");

typedef struct {
    uint8_t d[2];       /* f16 scale of the scales */
    uint8_t dmin[2];    /* f16 scale of the mins */
    uint8_t scales[12]; /* eight 6-bit (scale, min) pairs, one per 32 weights; see pack_scale_min */
    uint8_t qs[128];    /* 4 bits: w[64c + l] low, w[64c + 32 + l] high nibble of qs[32c + l] */
} block_q4_k;
_Static_assert(sizeof(block_q4_k) == 144, "q4_k");

typedef struct {
    uint8_t d[2];       /* f16 scale of the scales */
    uint8_t dmin[2];    /* f16 scale of the mins */
    uint8_t scales[12]; /* as in q4_k */
    uint8_t qh[32];     /* fifth bit: w[i] in bit i / 32 of qh[i % 32] */
    uint8_t qs[128];    /* low four bits, as in q4_k */
} block_q5_k;
_Static_assert(sizeof(block_q5_k) == 176, "q5_k");

typedef struct {
    uint8_t ql[128];   /* low four bits: w[128h + l + 32g] in ql[64h + l + 32(g & 1)], low nibble if g < 2 */
    uint8_t qh[64];    /* top two bits: w[128h + 32g + l] in bits 2g of qh[32h + l] */
    int8_t scales[16]; /* per 16 weights */
    uint8_t d[2];      /* f16; w = (d * scale) * (q - 32) */
} block_q6_k;
_Static_assert(sizeof(block_q6_k) == 210, "q6_k");

typedef struct {
    uint8_t d[2];   /* f16 scale */
    uint8_t qs[16]; /* nibbles as in q4_0; w = d * value, from the sixteen values of ggml_values.h */
} block_iq4_nl;
_Static_assert(sizeof(block_iq4_nl) == 18, "iq4_nl");

typedef struct {
    uint8_t d[2];        /* f16 scale of the scales */
    uint8_t scales_h[2]; /* bits 2b of this u16 are the top two bits of scale b, one per 32 weights */
    uint8_t scales_l[4]; /* its low four: nibble b % 2 of scales_l[b / 2]; stored + 32 */
    uint8_t qs[128];     /* per 32 weights as in iq4_nl; w = (d * (scale - 32)) * value */
} block_iq4_xs;
_Static_assert(sizeof(block_iq4_xs) == 136, "iq4_xs");

typedef struct {
    uint8_t e;      /* exponent of the scale, see ggml_values.h */
    uint8_t qs[16]; /* nibbles as in q4_0; w = value * scale */
} block_mxfp4;
_Static_assert(sizeof(block_mxfp4) == 17, "mxfp4");

enum { QK_NVFP4 = 64 };

typedef struct {
    uint8_t d[4];   /* scale per 16 weights, see ggml_values.h */
    uint8_t qs[32]; /* w[16s + l] low, w[16s + 8 + l] high nibble of qs[8s + l], l < 8; w = value * scale */
} block_nvfp4;
_Static_assert(sizeof(block_nvfp4) == 36, "nvfp4");

/* The lattice types: a number names a vector of 4 or 8 weights (ggml_grids.h), whose signs stand apart. A byte of signs is
 * that of 8 weights, bit k of the k-th, set for minus; where seven bits are stored, the eighth makes the number of minus
 * signs even. Vectors and sub-blocks of 32 weights, called b, are counted through the block. */

typedef struct {
    uint8_t d[2];   /* f16 */
    uint8_t qs[64]; /* per b eight bytes: four vectors, then a u32 of four times 7 signs and a 4-bit scale on top.
                       w = (d * (0.5 + scale) / 4) * value */
} block_iq2_xxs;
_Static_assert(sizeof(block_iq2_xxs) == 66, "iq2_xxs");

typedef struct {
    uint8_t d[2];      /* f16 */
    uint8_t qs[64];    /* u16 per vector: 9 bits of it, 7 signs */
    uint8_t scales[8]; /* per b: low nibble for its first 16 weights; w as in iq2_xxs */
} block_iq2_xs;
_Static_assert(sizeof(block_iq2_xs) == 74, "iq2_xs");

typedef struct {
    uint8_t d[2];      /* f16 */
    uint8_t qs[32];    /* low byte per vector */
    uint8_t signs[32]; /* per vector */
    uint8_t qh[8];     /* per b: top two bits of its four vectors */
    uint8_t scales[8]; /* as in iq2_xs */
} block_iq2_s;
_Static_assert(sizeof(block_iq2_s) == 82, "iq2_s");

typedef struct {
    uint8_t d[2];      /* f16 */
    uint8_t qs[64];    /* per vector of 4 */
    uint8_t signs[32]; /* per b a u32 of four times 7 signs and a 4-bit scale on top
                          w = (d * (0.5 + scale) / 2) * value */
} block_iq3_xxs;
_Static_assert(sizeof(block_iq3_xxs) == 98, "iq3_xxs");

typedef struct {
    uint8_t d[2];      /* f16 */
    uint8_t qs[64];    /* low byte per vector of 4 */
    uint8_t qh[8];     /* per b: top bit of its eight vectors */
    uint8_t signs[32]; /* per 8 weights */
    uint8_t scales[4]; /* nibble b % 2 of scales[b / 2]; w = (d * (1 + 2 * scale)) * value */
} block_iq3_s;
_Static_assert(sizeof(block_iq3_s) == 110, "iq3_s");

typedef struct {
    uint8_t d[2];   /* f16 */
    uint8_t qs[32]; /* low byte per vector */
    uint8_t qh[16]; /* u16 per b: top three bits of its four vectors, 3-bit scale, shift (set: -1/8, else +1/8)
                       w = (d * (2 * scale + 1)) * (value + shift) */
} block_iq1_s;
_Static_assert(sizeof(block_iq1_s) == 50, "iq1_s");

typedef struct {
    uint8_t qs[32];    /* low byte per vector */
    uint8_t qh[16];    /* nibble per vector: its top three bits and its shift */
    uint8_t scales[8]; /* four u16: four 3-bit scales of 16 weights each, and a nibble of the f16 d, lowest first */
} block_iq1_m;
_Static_assert(sizeof(block_iq1_m) == 56, "iq1_m");

typedef struct {
    uint8_t qs[48]; /* five ternary digits per byte, which is a fraction of 256 and begins with the first: w[32n + l] in
                       digit n of qs[l], l < 32, then w[160 + 16n + l] in digit n of qs[32 + l], l < 16 */
    uint8_t qh[4];  /* four: w[240 + 4n + l] in digit n of qh[l] */
    uint8_t d[2];   /* f16; w = (digit - 1) * d */
} block_tq1_0;
_Static_assert(sizeof(block_tq1_0) == 54, "tq1_0");

typedef struct {
    uint8_t qs[64]; /* 2 bits, as in q2_k; w = (q - 1) * d */
    uint8_t d[2];   /* f16 */
} block_tq2_0;
_Static_assert(sizeof(block_tq2_0) == 66, "tq2_0");

enum { QK1_0 = 128, QK2_0 = 64 };

typedef struct {
    uint8_t d[2];   /* f16 */
    uint8_t qs[16]; /* bit i % 8 of qs[i / 8]: w = d where it is set, else -d */
} block_q1_0;
_Static_assert(sizeof(block_q1_0) == 18, "q1_0");

typedef struct {
    uint8_t d[2];   /* f16 */
    uint8_t qs[16]; /* 2 bits, four neighbours a byte, lowest first; w = (q - 1) * d */
} block_q2_0;
_Static_assert(sizeof(block_q2_0) == 18, "q2_0");

#endif
