/* MLX's quantizers with AVX-512: sixteen groups at a time. */
#include "lanes_avx512.h"

#include "mlx_lanes.h"
