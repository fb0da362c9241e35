/* MLX's quantizers with AVX2: eight groups at a time. */
#include "lanes_avx2.h"

#include "mlx_lanes.h"
