/* ggml's K types with AVX-512: sixteen sub-blocks at a time. */
#include "lanes_avx512.h"

#include "ggml_k_lanes.h"
