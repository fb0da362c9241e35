/* ggml's types with blocks of 32 with AVX-512: sixteen blocks at a time. */
#include "lanes_avx512.h"

#include "ggml_legacy_lanes.h"
