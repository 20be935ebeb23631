#include "models/attention/mixing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/value_type.h"

namespace tessera {
namespace {

/// Distances between block centers, [M, M].
at::Tensor block_distances(const Extent3& layout) {
  const auto axis = [](int64_t n) { return at::arange(n, at::kFloat); };
  const auto grids = at::meshgrid({axis(layout[0]), axis(layout[1]), axis(layout[2])}, "ij");
  const at::Tensor centers = at::stack({grids[0].flatten(), grids[1].flatten(), grids[2].flatten()}, -1);  // [M, 3]
  return (centers.unsqueeze(1) - centers.unsqueeze(0)).square().sum(-1).sqrt();
}

/// Fills row `row` of `weights` [rows, from] with linear interpolation at `place`.
void interpolate_row(at::TensorAccessor<float, 2> weights, int64_t row, int64_t stride, int64_t offset, double place,
                     int64_t last) {
  const auto low = std::min<int64_t>(static_cast<int64_t>(std::floor(place)), last);
  const auto fraction = static_cast<float>(place - static_cast<double>(low));
  weights[row][offset + stride * low] += 1.0F - fraction;
  if (fraction > 0) weights[row][offset + stride * (low + 1)] += fraction;
}

/// Place of block i of `blocks` on an axis trained with `trained` blocks, both first and last blocks coinciding.
double place_of(double block, int64_t blocks, int64_t trained) {
  return blocks > 1 ? block * static_cast<double>(trained - 1) / static_cast<double>(blocks - 1) : 0.0;
}

/// [blocks^2, trained^2]: entry pairs (i, j) of the wanted axis from pairs of the trained axis.
at::Tensor resample_pairs(int64_t trained, int64_t blocks) {
  at::Tensor weights = at::zeros({blocks * blocks, trained * trained}, at::kFloat);
  auto rows = weights.accessor<float, 2>();
  for (int64_t i = 0; i < blocks; ++i) {
    for (int64_t j = 0; j < blocks; ++j) {
      const int64_t offset = std::clamp<int64_t>(i - j, 1 - trained, trained - 1);
      const int64_t length = trained - std::abs(offset);  // entries on that trained diagonal
      const int64_t wanted = std::max<int64_t>(blocks - std::abs(i - j), 1);
      const double place = place_of(static_cast<double>(std::min(i, j)), wanted, length);
      const int64_t start = offset > 0 ? offset * trained : -offset;  // flat index of the diagonal's first entry
      interpolate_row(rows, i * blocks + j, trained + 1, start, place, length - 1);
    }
  }
  return weights;
}

/// [blocks, trained]: values at the wanted blocks from values at the trained ones.
at::Tensor resample_places(int64_t trained, int64_t blocks) {
  at::Tensor weights = at::zeros({blocks, trained}, at::kFloat);
  auto rows = weights.accessor<float, 2>();
  for (int64_t i = 0; i < blocks; ++i)
    interpolate_row(rows, i, 1, 0, place_of(static_cast<double>(i), blocks, trained), trained - 1);
  return weights;
}

/// `weights` [to, from] applied along `axis` of x.
at::Tensor apply_along(const at::Tensor& weights, const at::Tensor& x, int64_t axis) {
  return at::matmul(weights.to(x.options()), x.movedim(axis, -2)).movedim(-2, axis);
}

}  // namespace

at::Tensor initial_mixing(const Extent3& layout, MixingTransform transform) {
  constexpr double kExpSigma = 3.0, kLocalThreshold = 1.5;
  const at::Tensor distance = block_distances(layout);
  const at::Tensor farthest = distance.max().clamp_min(1e-12);
  const at::Tensor relative = distance / farthest;
  at::Tensor weights;
  switch (transform) {
    case MixingTransform::kLinear:
      weights = 1.0 - relative;
      break;
    case MixingTransform::kCos:
      weights = at::cos(relative * (std::numbers::pi / 4));
      break;
    case MixingTransform::kExp:
      weights = at::exp(-distance / kExpSigma);
      break;
    case MixingTransform::kGaussian:
      return at::exp(-distance.square() / (2 * (farthest / 3).square()));
    case MixingTransform::kLocal:
      weights = (distance <= kLocalThreshold).to(at::kFloat);
      break;
  }
  return weights / weights.sum(0, /*keepdim=*/true);
}

void mixing_params(ParamList& out, const std::string& prefix, at::Tensor& mixing, const AttentionConfig& config) {
  const int64_t M = volume(config.block_layout);
  out.add_float(prefix + "block_attn.conv.weight", mixing, {M, M, 1, 1},
                Init::of([layout = config.block_layout, transform = config.transform, M] {
                  return initial_mixing(layout, transform).view({M, M, 1, 1});
                }));
}

at::Tensor mixing_for_blocks(const at::Tensor& trained, const Extent3& layout, const Extent3& blocks) {
  if (layout == blocks) return trained;
  const Extent3 kept{std::min(layout[0], blocks[0]), std::min(layout[1], blocks[1]), std::min(layout[2], blocks[2])};
  at::Tensor mix = trained.view({layout[0], layout[1], layout[2], layout[0], layout[1], layout[2]});
  at::Tensor sums = mix.sum({0, 1, 2});
  for (int64_t axis = 0; axis < 3; ++axis) {
    mix = mix.narrow(axis, 0, kept[axis]).narrow(axis + 3, 0, kept[axis]);
  }
  if (kept == blocks) return mix.reshape({volume(blocks), volume(blocks)});
  mix = mix.permute({0, 3, 1, 4, 2, 5}).flatten(4, 5).flatten(2, 3).flatten(0, 1);
  for (int64_t axis = 0; axis < 3; ++axis) {
    sums = sums.narrow(axis, 0, kept[axis]);
    if (blocks[axis] == kept[axis]) continue;
    mix = apply_along(resample_pairs(kept[axis], blocks[axis]), mix, axis);
    sums = apply_along(resample_places(kept[axis], blocks[axis]), sums, axis);
  }
  const auto [t, h, w] = blocks;
  mix = mix.reshape({t, t, h, h, w, w}).permute({0, 2, 4, 1, 3, 5}).reshape({t * h * w, t * h * w});
  const at::Tensor ratio = sums.reshape(-1) / mix.sum(0);
  return mix * at::where(ratio > 0, ratio.clamp(1.0 / 16, 16.0), at::ones_like(ratio));
}

at::Tensor with_aligned_rows(const at::Tensor& matrix) {
  constexpr int64_t kAlignment = 16;  // bytes
  const int64_t columns = matrix.size(1), unit = std::max<int64_t>(1, kAlignment / matrix.element_size());
  return at::constant_pad_nd(matrix, {0, (columns + unit - 1) / unit * unit - columns}).narrow(1, 0, columns);
}

CallMixing GridMixing::operator()(const at::Tensor& trained, const AttentionConfig& config, const BlockGrid& cut,
                                  const at::Tensor& like) const {
  const auto made = [&] {
    const at::Tensor wide = trained.to(wide_type(like)).flatten(1);
    return mixing_for_blocks(config.clamp_mixing ? wide.clamp_min(0) : wide, config.block_layout, cut.blocks);
  };
  if (!trained.is_cuda() || needs_gradient(trained)) {
    const at::Tensor mixing = made();
    return {mixing, mixing};
  }
  const int64_t version = trained.is_inference() ? 0 : trained._version();
  const std::lock_guard lock(mutex_);
  if (!kept_.trained.is_same(trained) || kept_.version != version || kept_.blocks != cut.blocks ||
      kept_.dtype != like.scalar_type()) {
    const at::Tensor mixing = made();
    kept_ = {trained,
             version,
             cut.blocks,
             like.scalar_type(),
             {with_aligned_rows(mixing), with_aligned_rows(mixing.to(like.scalar_type()))}};
  }
  return kept_.mixing;
}

}  // namespace tessera
