/* Rounding to the nearest with given scales: the definition. */
#define HUB_ISA_SUFFIX scalar
#include "nearest_kernels.h"
