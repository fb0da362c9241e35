/* Names and block sizes, in the order of hub_type. */
#include "ggml_blocks.h"

const hub_type_info hub_types[HUB_TYPES] = {
    [HUB_F32]  = {"f32", 1, 4},
    [HUB_F16]  = {"f16", 1, 2},
    [HUB_BF16] = {"bf16", 1, 2},
    [HUB_Q8_0] = {"q8_0", QK, sizeof(block_q8_0)},
    [HUB_Q4_0] = {"q4_0", QK, sizeof(block_q4_0)},
    [HUB_Q4_1] = {"q4_1", QK, sizeof(block_q4_1)},
    [HUB_Q5_0] = {"q5_0", QK, sizeof(block_q5_0)},
    [HUB_Q5_1] = {"q5_1", QK, sizeof(block_q5_1)},
    [HUB_Q2_K] = {"q2_k", QK_K, sizeof(block_q2_k)},
    [HUB_Q3_K] = {"q3_k", QK_K, sizeof(block_q3_k)},
    [HUB_Q4_K] = {"q4_k", QK_K, sizeof(block_q4_k)},
    [HUB_Q5_K] = {"q5_k", QK_K, sizeof(block_q5_k)},
    [HUB_Q6_K] = {"q6_k", QK_K, sizeof(block_q6_k)},
};
