/* Rounding to the nearest: AVX-512. */
#include "lanes_avx512.h"

#define NEAREST_LANES
#include "nearest_kernels.h"
