/* Which kernels this process runs.
 *
 * A row per instruction set, best first. A row need not be complete: a slot that it leaves empty is taken from the next
 * row below, and the last row, scalar, has them all. To add one: its kernel file(s), a row here, a line in CMakeLists.txt.
 */
#include "hub_native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const hub_kernels hub_cast_scalar, hub_ggml_legacy_scalar, hub_ggml_k_scalar, hub_measure_scalar;
extern const hub_kernels hub_ggml_iq_scalar, hub_ggml_small_scalar;
extern const hub_kernels hub_ggml_legacy_avx2, hub_ggml_k_avx2, hub_ggml_legacy_avx512, hub_ggml_k_avx512;
extern const hub_kernels hub_ggml_decode_avx2, hub_ggml_decode_avx512;
extern const hub_kernels hub_words_scalar, hub_words_avx2, hub_words_avx512;
extern const hub_kernels hub_mlx_scalar, hub_mlx_avx2, hub_mlx_avx512;
extern const hub_kernels hub_nearest_scalar, hub_nearest_avx2, hub_nearest_avx512;
extern const hub_kernels hub_run_scalar, hub_run_avx2, hub_run_avx512;
extern const hub_kernels hub_fast_scalar, hub_fast_avx2, hub_fast_avx512, hub_fast_avx512vnni, hub_fast_avx512bf16;

enum { FILES = 12, EXTRAS = 5 };

typedef struct row {
    const char *name;
    bool (*supported)(void);
    const hub_kernels *files[FILES]; /* ends at the first NULL */
    struct {
        bool (*supported)(void);
        const hub_kernels *file;
    } extras[EXTRAS]; /* come first, best first, where the CPU can do this as well; ends at the first NULL */
} row;

static bool always(void) { return true; }

/* These ask whether the system keeps the wide registers, too. */
#ifdef HUB_BUILD_AVX512
static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

#ifdef HUB_BUILD_AVX2
static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }
#endif

static bool has_fma(void) {
#if defined(HUB_BUILD_AVX2) || defined(HUB_BUILD_AVX512)
    return __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

#ifdef HUB_BUILD_AVX512VNNI
static bool has_vnni(void) { return __builtin_cpu_supports("avx512vnni") && has_fma(); }
#endif

#ifdef HUB_BUILD_AVX512BF16
static bool has_bf16(void) { return __builtin_cpu_supports("avx512bf16") && has_fma(); }
#endif

static const row rows[] = {
#ifdef HUB_BUILD_AVX512
    {"avx512", has_avx512, {&hub_ggml_legacy_avx512, &hub_ggml_k_avx512, &hub_ggml_decode_avx512, &hub_words_avx512,
                            &hub_mlx_avx512, &hub_nearest_avx512}, {
#ifdef HUB_BUILD_AVX512VNNI
        {has_vnni, &hub_fast_avx512vnni},
#endif
#ifdef HUB_BUILD_AVX512BF16
        {has_bf16, &hub_fast_avx512bf16},
#endif
        {has_fma, &hub_run_avx512},
        {has_fma, &hub_fast_avx512},
    }},
#endif
#ifdef HUB_BUILD_AVX2
    {"avx2", has_avx2, {&hub_ggml_legacy_avx2, &hub_ggml_k_avx2, &hub_ggml_decode_avx2, &hub_words_avx2, &hub_mlx_avx2,
                        &hub_nearest_avx2}, {
        {has_fma, &hub_run_avx2},
        {has_fma, &hub_fast_avx2},
    }},
#endif
    {"scalar", always,
     {&hub_cast_scalar, &hub_ggml_legacy_scalar, &hub_ggml_k_scalar, &hub_ggml_iq_scalar, &hub_ggml_small_scalar,
      &hub_measure_scalar, &hub_run_scalar, &hub_fast_scalar, &hub_words_scalar,
      &hub_mlx_scalar, &hub_nearest_scalar}, {{NULL, NULL}}},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* Every name that HUB_ISA may ever have, so that "not here" and "no such thing" are told apart. */
static const char *const known[] = {"avx512", "avx2", "neon", "scalar"};
enum { KNOWN = sizeof known / sizeof known[0] };

int hub_available(const char **names, int max) {
    int n = 0;
    for (int r = 0; r < ROWS; r++) {
        if (rows[r].supported()) {
            if (n < max) {
                names[n] = rows[r].name;
            }
            n++;
        }
    }
    return n;
}

/* Fills the empty slots of `to` from one kernel file. */
static void fill(hub_kernels *to, const hub_kernels *from) {
    for (int t = 0; t < HUB_TYPES; t++) {
        if (!to->quantize[t]) to->quantize[t] = from->quantize[t];
        if (!to->dequantize[t]) to->dequantize[t] = from->dequantize[t];
        if (!to->scan[t]) to->scan[t] = from->scan[t];
        if (!to->fast_linear[t]) to->fast_linear[t] = from->fast_linear[t];
    }
    if (!to->compare) to->compare = from->compare;
    for (int f = 0; f < HUB_FAST_FAMILIES; f++) {
        if (!to->fast_prepare[f]) to->fast_prepare[f] = from->fast_prepare[f];
    }
    if (!to->run) to->run = from->run;
    if (!to->words) to->words = from->words;
    if (!to->mlx) to->mlx = from->mlx;
    if (!to->nearest) to->nearest = from->nearest;
}

static const char *why_not(const char *name) {
    for (int r = 0; r < ROWS; r++) {
        if (strcmp(rows[r].name, name) == 0) {
            return "this CPU does not support it";
        }
    }
    for (int k = 0; k < KNOWN; k++) {
        if (strcmp(known[k], name) == 0) {
            return "this build does not contain it";
        }
    }
    return "no such instruction set";
}

const hub_selection *hub_select(char *why, size_t size) {
    static hub_selection selection;
    if (selection.isa) {
        return &selection;
    }
    const char *forced = getenv("HUB_ISA");
    int chosen = 0;
    while (chosen < ROWS && !(rows[chosen].supported() && (!forced || strcmp(rows[chosen].name, forced) == 0))) {
        chosen++;
    }
    if (chosen == ROWS) { /* only when forced: scalar is always supported */
        const char *names[ROWS];
        const int n = hub_available(names, ROWS);
        /* A name longer than any real one is cut: the line must fit `why` and still end with the names. */
        int at = snprintf(why, size, "HUB_ISA=%.32s: %s; available:", forced, why_not(forced));
        for (int i = 0; i < n && at >= 0 && (size_t)at < size; i++) {
            at += snprintf(why + at, size - (size_t)at, " %s", names[i]);
        }
        return NULL;
    }
    for (int r = chosen; r < ROWS; r++) {
        /* A lower row may be for another CPU family, e.g. none of avx2's kernels may fill a gap of neon. */
        for (int e = 0; rows[r].supported() && e < EXTRAS && rows[r].extras[e].file; e++) {
            if (rows[r].extras[e].supported()) {
                fill(&selection.kernels, rows[r].extras[e].file);
            }
        }
        for (int f = 0; rows[r].supported() && f < FILES && rows[r].files[f]; f++) {
            fill(&selection.kernels, rows[r].files[f]);
        }
    }
    selection.isa = rows[chosen].name;
    return &selection;
}
