#include "models/attention/probe.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/value_type.h"

namespace tessera {
namespace {

/// [B, N, H * D] -> [B, H, N, D] in float32 or wider.
at::Tensor wide_heads(const at::Tensor& x, int64_t heads) {
  return x.to(wide_type(x)).unflatten(-1, {heads, -1}).transpose(1, 2);
}

}  // namespace

at::Tensor convolution_matrix(const at::Tensor& filters, const Extent3& grid) {
  at::Tensor filter = filters.to(at::kFloat).mean(0).unsqueeze(0);  // [1, 1, (k,) k, k]
  if (filter.dim() == 4) filter = filter.unsqueeze(2);
  std::vector<int64_t> padding;
  for (int64_t axis = 2; axis < 5; ++axis) padding.push_back(filter.size(axis) / 2);
  const at::Tensor ones = at::eye(volume(grid), filter.options()).view({-1, 1, grid[0], grid[1], grid[2]});
  const std::vector<int64_t> stride(3, 1);
  return at::conv3d(ones, filter, {}, stride, padding).reshape({volume(grid), volume(grid)}).t();  // [output, input]
}

AttentionView softmax_view(const at::Tensor& q, const at::Tensor& k, int64_t heads, const Extent3& grid) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1) / heads));
  const at::Tensor scores = at::matmul(wide_heads(q, heads) * scale, wide_heads(k, heads).mT());
  return {AttentionKind::kSoftmax, grid, scores.softmax(-1), {}};
}

AttentionView linear_view(const at::Tensor& q, const at::Tensor& k, int64_t heads, const Rope* rope,
                          const Extent3& grid) {
  const auto turned = [&](const at::Tensor& x) {
    return rope ? apply_rope(x.unflatten(-1, {heads, -1}), *rope).flatten(2) : x;
  };
  const at::Tensor normalizer = at::matmul(wide_heads(q, heads), wide_heads(k, heads).mean(-2, true).mT());
  const at::Tensor products = at::matmul(wide_heads(turned(q), heads), wide_heads(turned(k), heads).mT());
  const auto keys = static_cast<double>(k.size(1));
  return {AttentionKind::kLinear, grid, products / keys / (normalizer + kLinearNormalizerEps), normalizer.squeeze(-1)};
}

void see_focusing(AttentionView& view, const Focusing& focusing) {
  view.kind = AttentionKind::kFocused;
  if (focusing.convolves()) view.convolution = convolution_matrix(focusing.filters(), view.grid);
}

AttentionView mhla_view(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mixing,
                        const at::Tensor& normalizer, const BlockGrid& cut) {
  const int64_t heads = q.size(2), M = q.size(0), P = q.size(3);
  const auto raster = [&](const at::Tensor& x) { return wide_heads(ungroup_blocks(x, cut), heads); };
  const at::Tensor numbers = at::arange(M, mixing.options().dtype(at::kLong)).view({M, 1, 1, 1, 1});
  const at::Tensor block = ungroup_blocks(numbers.expand({M, 1, 1, P, 1}), cut).flatten();  // [N]
  at::Tensor weights = at::matmul(raster(q), raster(k).mT());                               // [B, H, N, N]
  weights = weights * mixing.to(weights.scalar_type()).index_select(0, block).index_select(1, block);
  AttentionView view{AttentionKind::kMhla, cut.grid, weights, {}, mixing};
  if (!normalizer.defined()) return view;
  view.normalizer = raster(normalizer).squeeze(-1);  // [B, H, N]
  view.weights = weights / guard_normalizer(view.normalizer).unsqueeze(-1);
  return view;
}

}  // namespace tessera
