#pragma once

#include <ATen/core/Tensor.h>

#include "models/token_grid.h"

namespace tessera {

/// Rotary positions of a token grid: unit complex numbers, complex64 [N, 1, head_dim / 2], on `device`. The pairs of
/// a head are split D/2 - 2 * (D/2 / 3), D/2 / 3, D/2 / 3 over time, height, width, each part with its own frequencies
/// 10000^(-2i / size). Angles are computed in float64. Source: Wan 2.1 (rope_params), diffusers' WanRotaryPosEmbed.
at::Tensor rope_table(const Extent3& grid, int64_t head_dim, at::Device device);

/// Rotates neighbouring pairs (2i, 2i + 1) of x [B, N, heads, D] by the table; returns the same shape in wide_type(x).
at::Tensor apply_rope(const at::Tensor& x, const at::Tensor& table);

}  // namespace tessera
