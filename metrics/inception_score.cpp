#include "metrics/inception_score.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/text.h"
#include "metrics/numpy_random.h"

namespace tessera {
namespace {

constexpr int64_t kChunk = 4096;  // rows

double split_score(const at::Tensor& logits, const at::Tensor& order) {
  at::Tensor total = at::zeros({logits.size(1)}, at::kDouble);
  double negative_entropy = 0;
  for (int64_t start = 0; start < order.numel(); start += kChunk) {
    const at::Tensor rows = order.slice(0, start, std::min(start + kChunk, order.numel()));
    const at::Tensor log_p = logits.index_select(0, rows).to(at::kDouble).log_softmax(1);
    const at::Tensor p = log_p.exp();
    total += p.sum(0);
    negative_entropy += (p * log_p).sum().item<double>();
  }
  const double n = static_cast<double>(order.numel());
  const at::Tensor mean = total / n;
  return std::exp(negative_entropy / n - at::xlogy(mean, mean).sum().item<double>());
}

}  // namespace

ScoreSpread inception_score(const at::Tensor& logits, int64_t splits, std::optional<uint32_t> shuffle_seed) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) >= 1, "inception_score: want [N, classes], got ", logits.sizes());
  TORCH_CHECK(splits >= 1, "inception_score: want at least 1 split, got ", splits);
  const int64_t N = logits.size(0);
  if (N < splits)
    throw Error(c10::str("the inception score takes ", splits, " splits, but the set has only ", counted(N, "image")));
  std::vector<int64_t> order(static_cast<size_t>(N));
  std::iota(order.begin(), order.end(), 0);
  if (shuffle_seed) order = NumpyRandom(*shuffle_seed).permutation(N);
  const at::Tensor rows = at::tensor(order, at::kLong);
  std::vector<double> scores;
  for (int64_t i = 0; i < splits; ++i)
    scores.push_back(split_score(logits, rows.slice(0, i * N / splits, (i + 1) * N / splits)));
  const at::Tensor all = at::tensor(scores, at::kDouble);
  return {all.mean().item<double>(), all.std(false).item<double>()};
}

}  // namespace tessera
