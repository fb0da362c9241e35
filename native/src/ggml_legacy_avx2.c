/* ggml's types with blocks of 32 with AVX2: eight blocks at a time. */
#include "lanes_avx2.h"

#include "ggml_legacy_lanes.h"
