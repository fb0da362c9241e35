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

#endif
