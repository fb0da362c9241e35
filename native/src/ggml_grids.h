/* ggml_grids.h - the vectors that the lattice types (iq1, iq2, iq3) name by number.
 *
 * A vector is packed into 16 bits: weight k of it is level `vector >> bits * k & mask`. The levels are the magnitudes of
 * ggml's tables (for iq1 the values -1, 0, 1), the order of vectors is ggml's.
 */
#ifndef HUB_GGML_GRIDS_H
#define HUB_GGML_GRIDS_H

#include "hub_native.h"

typedef struct hub_grid {
    const uint16_t *vectors;
    float levels[8];
    int32_t count; /* of vectors */
    int32_t width; /* weights per vector */
    int32_t bits;  /* per weight */
} hub_grid;

extern const hub_grid hub_grid_iq2_xxs, hub_grid_iq2_xs, hub_grid_iq2_s, hub_grid_iq3_xxs, hub_grid_iq3_s, hub_grid_iq1;

/* The grid of a type, NULL where it has none. */
const hub_grid *hub_grid_of(hub_type type);

#endif
