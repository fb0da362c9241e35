/* hub_native.h - what a kernel is, and how one is found.
 *
 * Every kernel file (one family, one instruction set: `ggml_k_scalar.c`, later `ggml_k_avx2.c`) holds static functions
 * only and exports a single const `hub_kernels`, sparse: it fills the slots that it implements. `dispatch.c` lists
 * those tables by instruction set and joins them once. Kernels take raw pointers and counts; they allocate nothing,
 * start no thread and know nothing of Python. Whoever calls one has checked the sizes.
 */
#ifndef HUB_NATIVE_H
#define HUB_NATIVE_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every result is defined as a sequence of IEEE binary32 operations, each rounded once. x87 cannot give that. */
#if FLT_EVAL_METHOD != 0
#error "hub's kernels need float arithmetic without excess precision (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif

/* The order is the index into the tables below; names and sizes are in types.c. */
typedef enum hub_type {
    HUB_F32, HUB_F16, HUB_BF16,
    HUB_Q8_0, HUB_Q4_0, HUB_Q4_1, HUB_Q5_0, HUB_Q5_1,
    HUB_Q2_K, HUB_Q3_K, HUB_Q4_K, HUB_Q5_K, HUB_Q6_K,
    /* These are decoded only. */
    HUB_IQ4_NL, HUB_IQ4_XS, HUB_IQ3_S, HUB_IQ3_XXS, HUB_IQ2_S, HUB_IQ2_XS, HUB_IQ2_XXS, HUB_IQ1_M, HUB_IQ1_S,
    HUB_MXFP4, HUB_NVFP4, HUB_TQ1_0, HUB_TQ2_0, HUB_Q1_0, HUB_Q2_0,
    HUB_TYPES
} hub_type;

typedef struct hub_type_info {
    const char *name;
    int32_t weights; /* per block */
    int32_t bytes;   /* per block */
} hub_type_info;

extern const hub_type_info hub_types[HUB_TYPES];

/* x (nrows, n_per_row) -> y (nrows, n_per_row / weights * bytes). importance (n_per_row,) or NULL serves every row.
 * n_per_row is a multiple of the block; x and importance are aligned for float, y need not be aligned. */
typedef void hub_quantize_fn(const float *x, void *y, int64_t nrows, int64_t n_per_row, const float *importance);

/* y (n / weights * bytes,) -> x (n,). y need not be aligned. */
typedef void hub_dequantize_fn(const void *y, float *x, int64_t n);

typedef struct hub_scan {
    int64_t nonfinite; /* how many are NaN or infinite */
    int64_t first;     /* index of the first of them, -1 if there is none */
    float max_abs;     /* over the finite ones, 0 if there is none */
} hub_scan;

typedef void hub_scan_fn(const void *data, int64_t n, hub_scan *out);

typedef struct hub_difference {
    double max_abs;    /* max |a - b| */
    double sum_sq;     /* sum (a - b)^2 */
    double sum_sq_a;   /* sum a^2 */
    int64_t unequal;   /* positions whose 32 bits differ */
} hub_difference;

typedef void hub_compare_fn(const float *a, const float *b, int64_t n, hub_difference *out);

/* Matrix products of the runner's `fast` mode; layouts and arithmetic are in fast.h. */
typedef enum hub_fast_family { HUB_INT8_32, HUB_INT8_256, HUB_ROUNDED, HUB_PLAIN, HUB_FAST_FAMILIES } hub_fast_family;

typedef struct hub_fast_input {
    int64_t tokens, cols;
    void *codes;                      /* bytes, pairs of bf16 or floats, by the family */
    float *scales, *sums, *half_sums; /* int8: per block; the sums of 32 codes and, of 16, INT8_256 only */
} hub_fast_input;

/* Fills tokens t0..t1 of `to` from x (tokens, cols). t0 is a multiple of FAST_TOKENS, t1 another one or the end. */
typedef void hub_fast_prepare_fn(const float *x, int64_t t0, int64_t t1, const hub_fast_input *to);

/* out[t * stride + r] = the product of row r and token t. weights (rows, x->cols) need not be aligned; scratch is
 * fast_scratch(x->tokens) bytes at a multiple of 64. */
typedef void hub_fast_linear_fn(const void *weights, int64_t rows, const hub_fast_input *x, float *out, int64_t stride,
                                void *scratch);

typedef struct hub_kernels {
    hub_quantize_fn *quantize[HUB_TYPES];
    hub_dequantize_fn *dequantize[HUB_TYPES];
    hub_scan_fn *scan[HUB_TYPES]; /* F32, F16, BF16 only */
    hub_compare_fn *compare;
    hub_fast_prepare_fn *fast_prepare[HUB_FAST_FAMILIES];
    hub_fast_linear_fn *fast_linear[HUB_TYPES];
    const struct hub_run *run; /* all of them or none: run.h */
    const struct hub_words *words; /* the same: words.h */
    const struct hub_mlx *mlx;     /* the same: mlx.h */
    const struct hub_nearest *nearest; /* the same: nearest.h */
} hub_kernels;

/* dispatch.c */

typedef struct hub_selection {
    const char *isa;
    hub_kernels kernels; /* every slot filled, except quantize[] of what is decoded only and scan[] of the packed types */
} hub_selection;

/* The selection of this process, made on the first successful call and kept. HUB_ISA forces an instruction set;
 * when that cannot be had the answer is NULL, `why` holds one line, and the next call tries again.
 * The first call must not race with another one: Cython makes it with the interpreter lock held. */
const hub_selection *hub_select(char *why, size_t size);

/* Instruction sets in this build that this CPU supports, best first. Returns how many; names[] gets at most `max`. */
int hub_available(const char **names, int max);

/* strings.c: portable, so it is not in the tables. */

typedef struct hub_walk {
    int64_t done;    /* strings passed */
    int64_t offset;  /* where the next one starts */
    uint64_t length; /* of the string that is longer than the limit, if too_long */
    bool too_long;
} hub_walk;

/* Walks over `count` strings (u64 little-endian length, then bytes) in buf (size,) from `offset`, 0 <= offset <= size.
 * Stops before the first one that does not lie wholly in buf, and before the first one longer than `limit`. */
void hub_walk_strings(const uint8_t *buf, int64_t size, int64_t offset, int64_t count, uint64_t limit, hub_walk *out);

#endif
