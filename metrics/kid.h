#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tessera {

/// Mean and population standard deviation over subsets or splits.
struct ScoreSpread {
  double mean = 0, deviation = 0;
};

struct KidOptions {
  int64_t subsets = 100;
  int64_t subset_size = 1000;
  uint32_t seed = 2020;  ///< torch-fidelity's
};

/// The unbiased squared maximum mean discrepancy of [m, D] against [m, D], m >= 2, with the kernel (x.y / D + 1)^3;
/// float64. May be negative. Source: arXiv:1801.01401.
double polynomial_mmd(const at::Tensor& a, const at::Tensor& b);

/// Kernel inception distance: polynomial_mmd over random subsets without replacement, drawn as torch-fidelity draws
/// them (numpy's RandomState(seed), a's subset first). a: [N, D], b: [M, D] float32. Throws Error when a set is smaller
/// than a subset.
ScoreSpread kernel_distance(const at::Tensor& a, const at::Tensor& b, const KidOptions& options = {});

}  // namespace tessera
