/* run_kernels.h - the kernels of `exact` for one instruction set: include its run_lanes_<isa>.h first. */
#include "run_attention.h"
#include "run_decode.h"
#include "run_elementwise.h"
#include "run_linear.h"
#include "run_rows.h"
#include "run_stats.h"

static const hub_run HUB_RUN(hub_run_table) = {
    .linear = HUB_RUN(hub_linear),
    .attention = HUB_RUN(hub_attention),
    .decode = HUB_RUN(hub_decode),
    .rms_norm = HUB_RUN(hub_rms_norm),
    .layer_norm = HUB_RUN(hub_layer_norm),
    .rope = HUB_RUN(hub_rope),
    .rope_tables = HUB_RUN(hub_rope_tables),
    .softmax = HUB_RUN(hub_softmax),
    .top_k = HUB_RUN(hub_top_k),
    .silu = HUB_RUN(hub_silu),
    .silu_mul = HUB_RUN(hub_silu_mul),
    .gelu_tanh = HUB_RUN(hub_gelu_tanh),
    .gelu_tanh_mul = HUB_RUN(hub_gelu_tanh_mul),
    .gelu_erf = HUB_RUN(hub_gelu_erf),
    .gelu_erf_mul = HUB_RUN(hub_gelu_erf_mul),
    .swiglu_pairs = HUB_RUN(hub_swiglu_pairs),
    .softcap = HUB_RUN(hub_softcap),
    .add = HUB_RUN(hub_add),
    .add_row = HUB_RUN(hub_add_row),
    .scale = HUB_RUN(hub_scale),
    .log_softmax_stats = HUB_RUN(hub_log_softmax_stats),
    .sum_squares = HUB_RUN(hub_sum_squares),
};

extern const hub_kernels HUB_RUN(hub_run);
const hub_kernels HUB_RUN(hub_run) = {.run = &HUB_RUN(hub_run_table)};
