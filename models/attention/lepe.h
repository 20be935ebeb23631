#pragma once

#include <ATen/core/Tensor.h>

#include "models/attention/token_grid.h"

namespace tessera {

/// Depthwise 3x3x3 convolution over the token grid with zero padding: x [B, N, C] in raster order, weight [C, 1, 3, 3,
/// 3], bias [C]; returns [B, N, C] in x's dtype. A grid of one frame uses the middle taps alone.
at::Tensor depthwise_3d(const at::Tensor& x, const Extent3& grid, const at::Tensor& weight, const at::Tensor& bias);

/// Depthwise k x k convolution (k odd) over each frame of the token grid with zero padding: x [B, N, C] in raster
/// order, weight [C, 1, k, k], bias [C]; returns [B, N, C] in x's dtype.
at::Tensor depthwise_2d(const at::Tensor& x, const Extent3& grid, const at::Tensor& weight, const at::Tensor& bias);

/// base + the depthwise convolution of x by a weight of two or three sizes, as above; one pass on a device with kernels
/// of our own.
at::Tensor add_depthwise(const at::Tensor& base, const at::Tensor& x, const Extent3& grid, const at::Tensor& weight,
                         const at::Tensor& bias);

}  // namespace tessera
