/* Rounding to the nearest: AVX2. */
#include "lanes_avx2.h"

#define NEAREST_LANES
#include "nearest_kernels.h"
