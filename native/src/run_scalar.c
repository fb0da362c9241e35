/* The runner's exact kernels: the definition. */
#include "run_lanes_scalar.h"

#include "run_kernels.h"
