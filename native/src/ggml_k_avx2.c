/* ggml's K types with AVX2: eight sub-blocks at a time. */
#include "lanes_avx2.h"

#include "ggml_k_lanes.h"
