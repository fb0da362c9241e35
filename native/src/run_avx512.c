/* The runner's exact kernels: AVX-512. */
#include "run_lanes_avx512.h"

#include "run_kernels.h"
