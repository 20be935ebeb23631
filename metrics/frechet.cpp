#include "metrics/frechet.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace tessera {
namespace {

constexpr double kFloat32Noise = 1e-5;  // of the largest eigenvalue; covariances that were stored in float32 reach 1e-6

constexpr double kSafePivot = 1e-10;  // of the largest; rounding leaves 1e-14 where the rank ends

at::Tensor checked_covariance(const Gaussian& gaussian, const std::string& what) {
  const at::Tensor& covariance = gaussian.covariance;
  const int64_t D = gaussian.mean.numel();
  if (gaussian.mean.dim() != 1 || covariance.sizes() != at::IntArrayRef{D, D}) {
    throw Error(c10::str(what, ": want a mean [D] and a covariance [D, D], got ", gaussian.mean.sizes(), " and ",
                         covariance.sizes()));
  }
  if (!gaussian.mean.isfinite().all().item<bool>() || !covariance.isfinite().all().item<bool>())
    throw Error(what + ": its mean or covariance holds NaN or infinity, so no distance can be computed; remake it");
  const at::Tensor wide = covariance.to(at::kCPU, at::kDouble);
  const double largest = wide.abs().max().item<double>();
  if ((wide - wide.t()).abs().max().item<double>() > kFloat32Noise * largest)
    throw Error(what + ": its covariance is not symmetric, so it is no covariance; remake it");
  return (wide + wide.t()) / 2;
}

/// The Cholesky factor of a covariance that is safely of full rank, twice as fast as eigenvectors; undefined otherwise.
at::Tensor full_rank_root(const at::Tensor& covariance) {
  const auto [factor, failed] = at::linalg_cholesky_ex(covariance);
  if (failed.item<int>() != 0) return {};
  const at::Tensor pivots = factor.diagonal().square();
  return (pivots.min() > kSafePivot * pivots.max()).item<bool>() ? factor : at::Tensor();
}

/// The Cholesky factor of a covariance of `rank` or less, its largest pivots first, several times as fast as
/// eigenvectors; undefined where that leaves more than rounding.
at::Tensor low_rank_root(const at::Tensor& covariance, int64_t rank) {
  const int64_t D = covariance.size(0);
  at::Tensor left = covariance.diagonal().clone();
  const double largest = left.max().item<double>();
  at::Tensor rows = at::empty({rank, D}, covariance.options());
  for (int64_t k = 0; k < rank; ++k) {
    const int64_t pivot = left.argmax().item<int64_t>();
    const double value = left[pivot].item<double>();
    if (value <= largest * static_cast<double>(D) * std::numeric_limits<double>::epsilon()) {
      rows = rows.slice(0, 0, k);
      break;
    }
    const at::Tensor above = rows.slice(0, 0, k);
    at::Tensor row = rows[k].copy_(covariance[pivot]);
    if (k > 0) row.addmv_(above.t(), above.select(1, pivot), 1, -1);
    row.div_(std::sqrt(value));
    left.addcmul_(row, row, -1);
  }
  // All of the matrix, not the diagonal alone: one with zeros there and something beside them is no covariance.
  const double missed = (covariance - rows.t().matmul(rows)).abs().max().item<double>();
  return missed <= kSafePivot * largest ? rows.t() : at::Tensor();
}

}  // namespace

FrechetSide frechet_side(const Gaussian& gaussian, const std::string& what) {
  const at::Tensor covariance = checked_covariance(gaussian, what);
  const int64_t D = covariance.size(0);
  const at::Tensor mean = gaussian.mean.to(at::kCPU, at::kDouble);
  const double trace = covariance.diagonal().sum().item<double>();
  const bool may_be_full = !gaussian.count || *gaussian.count > D;
  at::Tensor quick;
  if (may_be_full)
    quick = full_rank_root(covariance);
  else if (*gaussian.count <= D / 2)
    quick = low_rank_root(covariance, std::max<int64_t>(*gaussian.count - 1, 0));
  if (quick.defined()) return {mean, quick, trace};
  const auto [values, vectors] = at::linalg_eigh(covariance);  // ascending
  const double largest = std::max(values[D - 1].item<double>(), 0.0), smallest = values[0].item<double>();
  if (smallest < -kFloat32Noise * std::max(largest, -smallest * 1e-3)) {
    throw Error(c10::str(what, ": its covariance has the eigenvalue ", smallest, " beside ", largest,
                         ", and a covariance has none below 0; remake it"));
  }
  const double floor = largest * static_cast<double>(D) * std::numeric_limits<double>::epsilon();
  int64_t rank = (values > floor).sum().item<int64_t>();
  if (gaussian.count) rank = std::min(rank, std::max<int64_t>(*gaussian.count - 1, 0));
  const at::Tensor root = vectors.slice(1, D - rank) * values.slice(0, D - rank).sqrt();
  return {mean, root, trace};
}

double frechet_distance(const FrechetSide& a, const FrechetSide& b) {
  if (a.mean.numel() != b.mean.numel()) {
    throw Error(c10::str("the two sets have ", a.mean.numel(), " and ", b.mean.numel(),
                         " features: they come from different networks or --dims and cannot be compared"));
  }
  double overlap = 0;
  if (a.root.size(1) > 0 && b.root.size(1) > 0)
    overlap = at::linalg_svdvals(a.root.t().matmul(b.root)).sum().item<double>();
  const double distance = (a.mean - b.mean).square().sum().item<double>() + a.trace + b.trace - 2 * overlap;
  TORCH_CHECK(distance == distance, "frechet_distance: NaN from finite statistics");
  return std::max(distance, 0.0);  // rounding leaves -1e-14 of the traces where the truth is 0
}

double frechet_distance(const Gaussian& a, const Gaussian& b) {
  return frechet_distance(frechet_side(a, "the first set"), frechet_side(b, "the second set"));
}

}  // namespace tessera
