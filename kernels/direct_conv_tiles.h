#pragma once

#include "kernels/direct_conv.h"

namespace tessera {

/// Whether a convolution of bfloat16 can be done in tile registers: raw sums, runs of a multiple of 32 values. Needs a
/// machine with AMX.
bool can_convolve_in_tiles(const DirectConv& conv);

/// direct_conv in tile registers (AMX). Pixels that follow each other at equal distances, in the source and in the
/// destination, go together, sixteen or more being best; a pixel's sums do not depend on its neighbors. Needs
/// can_convolve_in_tiles.
void convolve_in_tiles(const DirectConv& conv, const uint16_t* from, float* to);

}  // namespace tessera
