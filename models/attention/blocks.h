#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/device_blocks.h"
#include "models/attention/attention.h"

namespace tessera {

/// How a token grid is cut into blocks. Grouped tokens are [M, B, H, P, D]: M blocks first, so that mixing blocks is
/// one matrix product; P places a block, those beyond the grid holding zeros.
struct BlockGrid {
  Extent3 grid;    ///< tokens
  Extent3 size;    ///< tokens of a block
  Extent3 blocks;  ///< number of blocks: grid / size, rounded up
  Extent3 padded;  ///< blocks * size, at least the grid

  bool ragged() const { return padded != grid; }
};

/// Blocks of `config.block_tokens` tokens when the config says so, however many the grid takes; otherwise the grid is
/// divided into `config.block_layout` blocks, sizes rounded up (which may leave fewer blocks than the layout has).
BlockGrid cut_into_blocks(const AttentionConfig& config, const Extent3& grid);

/// The token at each place of each block, -1 beyond the grid: int32 [M, P].
at::Tensor tokens_of_blocks(const BlockGrid& cut);

/// x [B, N, H * D] in raster order -> [M, B, H, P, D].
at::Tensor group_blocks(const at::Tensor& x, int64_t heads, const BlockGrid& cut);

/// The way back: [M, B, H, P, D] -> [B, N, H * D] in raster order.
at::Tensor ungroup_blocks(const at::Tensor& x, const BlockGrid& cut);

/// 1 for the tokens of the grid, 0 beyond it: [M, 1, 1, P, 1].
at::Tensor block_mask(const BlockGrid& cut, const at::TensorOptions& options);

/// Queries or keys as MHLA wants them, grouped into blocks, zero beyond the grid.
struct BlockFeatures {
  at::Tensor rotated;    ///< [M, B, H, P, D] in x's dtype
  at::Tensor unrotated;  ///< before rotation, in wide_type(x); undefined unless asked for
};

/// `cut` as kernels/device_blocks.h wants it.
GridBlocks grid_blocks(const BlockGrid& cut);

/// x [B, N, H * D] -> RMS norm over all heads, relu + 1e-6, rotation, grouped into blocks; one pass on a CPU, and on a
/// device with kernels of our own.
BlockFeatures block_features(const at::Tensor& x, const RmsNorm& norm, const Rope& rope, int64_t heads,
                             const BlockGrid& cut, bool with_unrotated);

/// Results [M, B, H, P, D], divided by guard_normalizer(normalizer) if that is defined [M, B, H, P, 1], then normed by
/// head with `norm` (null: not) and multiplied with SiLU(gate) if that is defined [B, N, H * D]: [B, N, H * D] as
/// `dtype`. One pass on a device with kernels of our own.
at::Tensor ungroup_results(const at::Tensor& x, const at::Tensor& normalizer, const RmsNorm* norm,
                           const at::Tensor& gate, const BlockGrid& cut, at::ScalarType dtype);

/// x [M, B, H, P, D] -> RMS norm of each head in raster order, [B, N, H * D] as `dtype`; one pass on a CPU.
at::Tensor ungroup_normed(const at::Tensor& x, const RmsNorm& norm, const BlockGrid& cut, at::ScalarType dtype);

/// What the two compute, from ATen operations on any device.
BlockFeatures block_features_composite(const at::Tensor& x, const RmsNorm& norm, const Rope& rope, int64_t heads,
                                       const BlockGrid& cut, bool with_unrotated);
at::Tensor ungroup_normed_composite(const at::Tensor& x, const RmsNorm& norm, const BlockGrid& cut,
                                    at::ScalarType dtype);

}  // namespace tessera
