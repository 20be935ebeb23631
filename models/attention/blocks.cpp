#include "models/attention/blocks.h"

#include <ATen/ATen.h>

#include "kernels/norm.h"
#include "kernels/value_type.h"

namespace tessera {
namespace {

constexpr double kKernelEps = 1e-6;

/// Calls visit(block, place) for each token in raster order.
template <typename Visit>
void each_token(const BlockGrid& cut, const Visit& visit) {
  const auto [T, H, W] = cut.grid;
  for (int64_t t = 0; t < T; ++t)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t w = 0; w < W; ++w) {
        const Extent3 at{t, h, w};
        int64_t block = 0, place = 0;
        for (size_t axis = 0; axis < 3; ++axis) {
          block = block * cut.blocks[axis] + at[axis] / cut.size[axis];
          place = place * cut.size[axis] + at[axis] % cut.size[axis];
        }
        visit(block, place);
      }
}

/// The place of each token of raster order among the M * P places of its sample, in values of a [M, B, H, P, D] tensor
/// whose first sample and head it belongs to: int64 [N].
at::Tensor grouped_offsets(const BlockGrid& cut, int64_t batch, int64_t heads, int64_t head_dim) {
  const int64_t places = volume(cut.size);
  at::Tensor offsets = at::empty({volume(cut.grid)}, at::kLong);
  int64_t* out = offsets.mutable_data_ptr<int64_t>();
  each_token(cut, [&](int64_t block, int64_t place) { *out++ = (block * batch * heads * places + place) * head_dim; });
  return offsets;
}

at::Tensor raster_offsets(int64_t tokens, int64_t channels) {
  return at::arange(tokens, at::kLong) * channels;
}

}  // namespace

BlockGrid cut_into_blocks(const AttentionConfig& config, const Extent3& grid) {
  const auto ceil_div = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  BlockGrid cut;
  cut.grid = grid;
  for (size_t axis = 0; axis < 3; ++axis) {
    cut.size[axis] =
        config.block_tokens ? (*config.block_tokens)[axis] : ceil_div(grid[axis], config.block_layout[axis]);
    cut.blocks[axis] = ceil_div(grid[axis], cut.size[axis]);
    cut.padded[axis] = cut.blocks[axis] * cut.size[axis];
  }
  return cut;
}

GridBlocks grid_blocks(const BlockGrid& cut) {
  return {cut.grid, cut.size, cut.blocks};
}

at::Tensor tokens_of_blocks(const BlockGrid& cut) {
  const int64_t places = volume(cut.size);
  at::Tensor tokens = at::full({volume(cut.blocks), places}, -1, at::kInt);
  auto* out = tokens.mutable_data_ptr<int32_t>();
  int32_t token = 0;
  each_token(cut, [&](int64_t block, int64_t place) { out[block * places + place] = token++; });
  return tokens;
}

at::Tensor group_blocks(const at::Tensor& x, int64_t heads, const BlockGrid& cut) {
  const auto [t, h, w] = cut.grid;
  const auto [bt, bh, bw] = cut.blocks;
  const auto [st, sh, sw] = cut.size;
  const int64_t B = x.size(0), C = x.size(2);
  at::Tensor grid = x.reshape({B, t, h, w, C});
  if (cut.ragged())
    grid = at::constant_pad_nd(grid, {0, 0, 0, cut.padded[2] - w, 0, cut.padded[1] - h, 0, cut.padded[0] - t});
  return grid.reshape({B, bt, st, bh, sh, bw, sw, heads, C / heads})
      .permute({1, 3, 5, 0, 7, 2, 4, 6, 8})
      .reshape({bt * bh * bw, B, heads, st * sh * sw, C / heads});
}

at::Tensor ungroup_blocks(const at::Tensor& x, const BlockGrid& cut) {
  const int64_t B = x.size(1), H = x.size(2), D = x.size(4);
  const auto [bt, bh, bw] = cut.blocks;
  const auto [st, sh, sw] = cut.size;
  at::Tensor grid = x.reshape({bt, bh, bw, B, H, st, sh, sw, D})
                        .permute({3, 0, 5, 1, 6, 2, 7, 4, 8})
                        .reshape({B, cut.padded[0], cut.padded[1], cut.padded[2], H * D});
  for (int64_t axis = 0; axis < 3; ++axis) grid = grid.narrow(axis + 1, 0, cut.grid[axis]);
  return grid.reshape({B, volume(cut.grid), H * D});
}

at::Tensor block_mask(const BlockGrid& cut, const at::TensorOptions& options) {
  return group_blocks(at::ones({1, volume(cut.grid), 1}, options), 1, cut);
}

BlockFeatures block_features(const at::Tensor& x, const RmsNorm& norm, const Rope& rope, int64_t heads,
                             const BlockGrid& cut, bool with_unrotated) {
  if (const auto* kernels = device_kernels(x); kernels && !needs_gradient(norm.weight)) {
    const DeviceFeatures features{norm.weight, norm.eps, rope.cosines, rope.sines, heads};
    const auto [rotated, unrotated] =
        device_block_features(*kernels, x, features, grid_blocks(cut), x.scalar_type(), with_unrotated);
    return {rotated, unrotated};
  }
  if (!can_vectorize(x)) return block_features_composite(x, norm, rope, heads, cut, with_unrotated);
  const int64_t B = x.size(0), N = x.size(1), C = x.size(2), D = C / heads, P = volume(cut.size);
  const NormLayout layout{.rows = B * N,
                          .tokens = N,
                          .heads = heads,
                          .head_dim = D,
                          .x_sample = N * C,
                          .x_head = D,
                          .y_sample = heads * P * D,
                          .y_head = P * D,
                          .x_token = raster_offsets(N, C),
                          .y_token = grouped_offsets(cut, B, heads, D),
                          .each_head = false,
                          .cosines = rope.cosines,
                          .sines = rope.sines,
                          .y_shape = {volume(cut.blocks), B, heads, P, D},
                          .gaps = cut.ragged()};
  const auto [rotated, unrotated] =
      norm_and_move(x.contiguous(), norm.weight, norm.eps, layout, x.scalar_type(), with_unrotated);
  return {rotated, unrotated};
}

at::Tensor ungroup_results(const at::Tensor& x, const at::Tensor& normalizer, const RmsNorm* norm,
                           const at::Tensor& gate, const BlockGrid& cut, at::ScalarType dtype) {
  const auto learns = [](const at::Tensor& t) { return t.defined() && needs_gradient(t); };
  const at::Tensor weight = norm ? norm->weight : at::Tensor();
  const bool rounds = x.scalar_type() == at::kFloat || x.scalar_type() == dtype;
  if (const auto* kernels = device_kernels(x);
      kernels && rounds && dtype != at::kDouble && !learns(normalizer) && !learns(weight) && !learns(gate)) {
    const DeviceUngroup ungroup{normalizer, kLeastNormalizer, weight, norm ? norm->eps : 0, gate};
    return device_ungroup(*kernels, x, ungroup, grid_blocks(cut), dtype);
  }
  const at::Tensor divided = normalizer.defined() ? x / guard_normalizer(normalizer) : x;
  const at::Tensor out = norm ? ungroup_normed(divided, *norm, cut, dtype) : ungroup_blocks(divided, cut).to(dtype);
  return gate.defined() ? out * at::silu(gate) : out;
}

at::Tensor ungroup_normed(const at::Tensor& x, const RmsNorm& norm, const BlockGrid& cut, at::ScalarType dtype) {
  if (!can_vectorize(x) || (dtype != at::kFloat && dtype != at::kBFloat16))
    return ungroup_normed_composite(x, norm, cut, dtype);
  const int64_t B = x.size(1), heads = x.size(2), P = x.size(3), D = x.size(4), N = volume(cut.grid), C = heads * D;
  const NormLayout layout{.rows = B * N,
                          .tokens = N,
                          .heads = heads,
                          .head_dim = D,
                          .x_sample = heads * P * D,
                          .x_head = P * D,
                          .y_sample = N * C,
                          .y_head = D,
                          .x_token = grouped_offsets(cut, B, heads, D),
                          .y_token = raster_offsets(N, C),
                          .each_head = true,
                          .cosines = {},
                          .sines = {},
                          .y_shape = {B, N, C},
                          .gaps = cut.ragged()};
  return norm_and_move(x.contiguous(), norm.weight, norm.eps, layout, dtype, /*with_unrotated=*/false).first;
}

BlockFeatures block_features_composite(const at::Tensor& x, const RmsNorm& norm, const Rope& rope, int64_t heads,
                                       const BlockGrid& cut, bool with_unrotated) {
  const at::Tensor unrotated = at::relu(rms_norm_composite(x, norm.weight, norm.eps, wide_type(x))) + kKernelEps;
  const at::Tensor rotated = apply_rope(unrotated.unflatten(-1, {heads, -1}), rope).flatten(2).to(x.scalar_type());
  return {group_blocks(rotated, heads, cut), with_unrotated ? group_blocks(unrotated, heads, cut) : at::Tensor()};
}

at::Tensor ungroup_normed_composite(const at::Tensor& x, const RmsNorm& norm, const BlockGrid& cut,
                                    at::ScalarType dtype) {
  return ungroup_blocks(rms_norm_composite(x, norm.weight, norm.eps, dtype), cut);
}

}  // namespace tessera
