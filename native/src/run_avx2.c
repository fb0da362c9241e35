/* The runner's exact kernels: AVX2 with FMA. */
#include "run_lanes_avx2.h"

#include "run_kernels.h"
