#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "kernels/device_kernels.h"

// MHLA's steps as kernels of a device: models/attention says what they compute. x is contiguous or is copied.
namespace tessera {

/// Tokens of a grid (frames, height, width), of a block, and the number of blocks.
struct GridBlocks {
  std::array<int64_t, 3> tokens, size, blocks;
};

/// What is done to queries or keys [B, N, H * D] on their way into blocks.
struct DeviceFeatures {
  at::Tensor weight = {};  ///< [H * D] of the RMS norm over all heads; undefined: no norm
  double eps = 0;
  at::Tensor cosines = {}, sines = {};  ///< float32 [N, D], or undefined: no rotation
  int64_t heads = 1;
};

/// RMS norm, relu + 1e-6 and rotation: [M, B, H, P, D] as `dtype` (x's or float32), zero beyond the grid; and, `with
/// unrotated`, what it was before rotation in float32.
std::pair<at::Tensor, at::Tensor> device_block_features(const cuda::Kernels& kernels, const at::Tensor& x,
                                                        const DeviceFeatures& features, const GridBlocks& grid,
                                                        at::ScalarType dtype, bool with_unrotated);

/// The RMS norm alone over the last axis, as `dtype` (x's or float32).
at::Tensor device_rms_norm(const cuda::Kernels& kernels, const at::Tensor& x, const at::Tensor& weight, double eps,
                           at::ScalarType dtype);

/// What is done to results [M, B, H, P, D] on their way back to raster order.
struct DeviceUngroup {
  at::Tensor normalizer = {};  ///< float32 [M, B, H, P, 1] that they are divided by, or undefined
  double least_normalizer = 0;
  at::Tensor weight = {};  ///< [D] of each head's RMS norm, or undefined
  double eps = 0;
  at::Tensor gate = {};  ///< [B, N, H * D], whose SiLU they are multiplied with, or undefined
};

/// [B, N, H * D] as `dtype`; x is of that dtype or float32.
at::Tensor device_ungroup(const cuda::Kernels& kernels, const at::Tensor& x, const DeviceUngroup& ungroup,
                          const GridBlocks& grid, at::ScalarType dtype);

/// Sums over places of k [M, B, H, P, D], float32: [M, B, H, 1, D].
at::Tensor device_key_sums(const cuda::Kernels& kernels, const at::Tensor& k);

/// q [M, B, H, P, D] . z [M, B, H, 1, D] + eps, float32: [M, B, H, P, 1]. With `grid`, places beyond it hold the mean
/// of their block's others.
at::Tensor device_products(const cuda::Kernels& kernels, const at::Tensor& q, const at::Tensor& z, double eps,
                           const GridBlocks* grid);

/// base + depthwise convolution of x [B, N, C] with zeros beyond the grid; weight [C, 1, kernel...] of two or three
/// odd sizes, bias [C]. The number of taps is at most cuda::kMostTaps.
at::Tensor device_depthwise(const cuda::Kernels& kernels, const at::Tensor& base, const at::Tensor& x,
                            const std::array<int64_t, 3>& tokens, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace tessera
