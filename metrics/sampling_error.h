#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "metrics/frechet.h"

namespace tessera {

/// FID as a function of how many samples were seen, and the line through it.
struct FidInfinity {
  double value = 0;               ///< at infinitely many samples
  double slope = 0;               ///< FID(N) = value + slope / N
  std::vector<int64_t> counts;    ///< the sample sizes tried
  std::vector<double> distances;  ///< the FID at each
};

/// Called after each of the distances that a long computation needs.
using DistanceDone = std::function<void()>;

/// Extrapolates the Frechet distance of `features` [N, D] to `reference` to infinitely many samples: `points` random
/// subsets of sizes evenly spaced from min(5000, N / 2) to N, a least-squares line over 1 / N, its value at 0. The
/// reference's own finite size is not corrected for. Throws Error below 4 samples or 2 points. Source: Chong & Forsyth,
/// arXiv:1911.07023 (their 15 points; their Sobol noise is not used).
FidInfinity fid_infinity(const at::Tensor& features, const FrechetSide& reference, CovarianceDivisor divisor,
                         int64_t points, uint32_t seed, const DistanceDone& done = {});

/// How far a distance would move had other samples been drawn.
struct BootstrapInterval {
  double low = 0,
         high = 0;  ///< 95 %: the 2.5 % and 97.5 % quantiles of the replicates, moved so that their mean is `value`
  double deviation = 0;  ///< of the replicates
};

/// Resamples the rows of `features` [N, D] with replacement `replicates` times (>= 2) and measures each resampled set
/// against `reference`; `value` is the distance of the set itself. Repeated rows raise a Frechet distance (its bias at
/// size N), so the replicates' spread is used and their mean is not. The reference stays fixed.
BootstrapInterval bootstrap_interval(const at::Tensor& features, const FrechetSide& reference,
                                     CovarianceDivisor divisor, double value, int64_t replicates, uint32_t seed,
                                     const DistanceDone& done = {});

}  // namespace tessera
