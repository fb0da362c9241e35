/* Rounding to the nearest with given scales: AVX2. */
#include "lanes_avx2.h"

#define NEAREST_LANES
#include "nearest_kernels.h"
