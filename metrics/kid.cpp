#include "metrics/kid.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/error.h"
#include "metrics/numpy_random.h"

namespace tessera {
namespace {

at::Tensor kernel(const at::Tensor& x, const at::Tensor& y) {
  const at::Tensor base = x.matmul(y.t()) / static_cast<double>(x.size(1)) + 1;
  return base * base * base;
}

double mean_off_diagonal(const at::Tensor& x) {
  const at::Tensor k = kernel(x, x);
  const double m = static_cast<double>(x.size(0));
  return (k.sum() - k.diagonal().sum()).item<double>() / (m * (m - 1));
}

}  // namespace

double polynomial_mmd(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.dim() == 2 && a.sizes() == b.sizes() && a.size(0) >= 2,
              "polynomial_mmd: want [m, D] twice, m >= 2, got ", a.sizes(), " and ", b.sizes());
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return mean_off_diagonal(x) + mean_off_diagonal(y) - 2 * kernel(x, y).mean().item<double>();
}

ScoreSpread kernel_distance(const at::Tensor& a, const at::Tensor& b, const KidOptions& options) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(1), "kernel_distance: want [N, D] and [M, D], got ",
              a.sizes(), " and ", b.sizes());
  TORCH_CHECK(options.subsets >= 1, "kernel_distance: want at least 1 subset, got ", options.subsets);
  const int64_t smaller = std::min(a.size(0), b.size(0));
  if (options.subset_size < 2 || options.subset_size > smaller) {
    throw Error(c10::str("KID compares subsets of ", options.subset_size, " samples, but the sets have ", a.size(0),
                         " and ", b.size(0), ": set --kid-subset-size between 2 and the smaller of them"));
  }
  NumpyRandom random(options.seed);
  const auto draw = [&](const at::Tensor& set) {
    return set.index_select(0, at::tensor(random.choice(set.size(0), options.subset_size), at::kLong));
  };
  std::vector<double> values;
  for (int64_t i = 0; i < options.subsets; ++i) {
    const at::Tensor x = draw(a);
    values.push_back(polynomial_mmd(x, draw(b)));
  }
  const at::Tensor all = at::tensor(values, at::kDouble);
  return {all.mean().item<double>(), all.std(false).item<double>()};
}

}  // namespace tessera
