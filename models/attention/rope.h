#pragma once

#include <ATen/core/Tensor.h>

#include "models/attention/token_grid.h"

namespace tessera {

/// Rotary positions of a token grid, N tokens in raster order.
struct Rope {
  at::Tensor table;    ///< unit complex numbers, complex64 [N, 1, head_dim / 2]
  at::Tensor cosines;  ///< float32 [N, head_dim]: the real parts, each twice
  at::Tensor sines;    ///< float32 [N, head_dim]: the imaginary parts, each twice, the first of a pair negative
};

/// The pairs of a head are split D/2 - 2 * (D/2 / 3), D/2 / 3, D/2 / 3 over time, height, width, each part with its own
/// frequencies 10000^(-2i / size). Angles are computed in float64. Source: Wan 2.1 (rope_params), diffusers'
/// WanRotaryPosEmbed.
Rope make_rope(const Extent3& grid, int64_t head_dim, at::Device device);

/// Rotates neighboring pairs (2i, 2i + 1) of x [B, N, heads, D]; returns the same shape in wide_type(x).
at::Tensor apply_rope(const at::Tensor& x, const Rope& rope);

}  // namespace tessera
