#include "metrics/neighbors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "core/error.h"

namespace tessera {
namespace {

constexpr int64_t kRows = 256, kColumns = 1024;  // of a block of distances
constexpr double kSame = 1e-12;  // squared distances below this part of the squared lengths are rounding

using Block = std::function<void(int64_t column, const at::Tensor& squared)>;

/// Squared distances of x [r, D] to all rows of `set`, block by block of columns.
void each_block(const at::Tensor& x, const at::Tensor& set, const Block& use) {
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor x_norm = wide.square().sum(1, true);  // [r, 1]
  for (int64_t start = 0; start < set.size(0); start += kColumns) {
    const at::Tensor y = set.slice(0, start, std::min(start + kColumns, set.size(0))).to(at::kDouble);
    const at::Tensor scale = x_norm + y.square().sum(1).unsqueeze(0);
    const at::Tensor squared = scale - 2 * wide.matmul(y.t());
    use(start, at::where(squared > scale * kSame, squared, at::zeros({}, squared.options())));
  }
}

/// Squared distance of every row to its k-th nearest other row: [N].
at::Tensor ball_sizes(const at::Tensor& set, int64_t k) {
  std::vector<at::Tensor> sizes;
  for (int64_t row = 0; row < set.size(0); row += kRows) {
    const at::Tensor x = set.slice(0, row, std::min(row + kRows, set.size(0)));
    at::Tensor nearest;  // [r, <= k], the smallest so far
    each_block(x, set, [&](int64_t column, const at::Tensor& squared) {
      for (int64_t i = 0; i < x.size(0); ++i) {
        const int64_t self = row + i - column;
        if (self >= 0 && self < squared.size(1)) squared[i][self].fill_(std::numeric_limits<double>::infinity());
      }
      const at::Tensor both = nearest.defined() ? at::cat({nearest, squared}, 1) : squared;
      nearest = std::get<0>(both.topk(std::min(k, both.size(1)), 1, false));
    });
    sizes.push_back(std::get<0>(nearest.max(1)));
  }
  return at::cat(sizes);
}

}  // namespace

NeighborScores neighbor_scores(const at::Tensor& generated, const at::Tensor& real, int64_t k) {
  TORCH_CHECK(generated.dim() == 2 && real.dim() == 2 && generated.size(1) == real.size(1) && k >= 1,
              "neighbor_scores: want [N, D], [M, D] and k >= 1, got ", generated.sizes(), ", ", real.sizes(), ", ", k);
  const int64_t N = generated.size(0), M = real.size(0);
  if (std::min(N, M) <= k) {
    throw Error(c10::str("precision and recall look at the ", k, " nearest neighbors, but the sets have ", N, " and ",
                         M, " samples: each needs at least ", k + 1));
  }
  const at::Tensor real_balls = ball_sizes(real, k), own_balls = ball_sizes(generated, k);
  at::Tensor recalled = at::zeros({M}, at::kBool), covered = at::zeros({M}, at::kBool);
  double precise = 0, inside = 0;
  for (int64_t row = 0; row < N; row += kRows) {
    const int64_t end = std::min(row + kRows, N);
    const at::Tensor reach = own_balls.slice(0, row, end).unsqueeze(1);
    at::Tensor hit = at::zeros({end - row}, at::kBool);
    each_block(generated.slice(0, row, end), real, [&](int64_t column, const at::Tensor& squared) {
      const at::Tensor balls = real_balls.slice(0, column, column + squared.size(1));
      const at::Tensor strictly = squared < balls;
      hit.logical_or_((squared <= balls).any(1));
      inside += static_cast<double>(strictly.sum().item<int64_t>());
      covered.slice(0, column, column + squared.size(1)).logical_or_(strictly.any(0));
      recalled.slice(0, column, column + squared.size(1)).logical_or_((squared <= reach).any(0));
    });
    precise += static_cast<double>(hit.sum().item<int64_t>());
  }
  NeighborScores scores;
  scores.precision = precise / static_cast<double>(N);
  scores.recall = static_cast<double>(recalled.sum().item<int64_t>()) / static_cast<double>(M);
  scores.f_score = 2 * scores.precision * scores.recall / std::max(1e-5, scores.precision + scores.recall);
  scores.density = inside / static_cast<double>(N) / static_cast<double>(k);
  scores.coverage = static_cast<double>(covered.sum().item<int64_t>()) / static_cast<double>(M);
  return scores;
}

}  // namespace tessera
