/* Rounding to the nearest: the definition. */
#define HUB_ISA_SUFFIX scalar
#include "nearest_kernels.h"
