#include "metrics/sampling_error.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "metrics/feature_store.h"
#include "metrics/numpy_random.h"

namespace tessera {
namespace {

double distance_of(const at::Tensor& features, const std::vector<int64_t>& rows, const FrechetSide& reference,
                   CovarianceDivisor divisor) {
  return frechet_distance(frechet_side(statistics_of(features, rows).gaussian(divisor), "a subset"), reference);
}

}  // namespace

FidInfinity fid_infinity(const at::Tensor& features, const FrechetSide& reference, CovarianceDivisor divisor,
                         int64_t points, uint32_t seed, const DistanceDone& done) {
  const int64_t N = features.size(0);
  if (N < 4) throw Error(c10::str("FID-infinity draws a line over several sample sizes and needs 4 images, got ", N));
  TORCH_CHECK(points >= 2, "fid_infinity: want at least 2 points, got ", points);
  NumpyRandom random(seed);
  const double low = static_cast<double>(std::min<int64_t>(5000, N / 2)), high = static_cast<double>(N);
  FidInfinity result;
  double mean_x = 0, mean_y = 0, xx = 0, xy = 0;
  for (int64_t i = 0; i < points; ++i) {
    const int64_t count =
        static_cast<int64_t>(low + (high - low) * static_cast<double>(i) / static_cast<double>(points - 1));
    result.counts.push_back(count);
    result.distances.push_back(distance_of(features, random.choice(N, count), reference, divisor));
    mean_x += 1.0 / static_cast<double>(count) / static_cast<double>(points);
    mean_y += result.distances.back() / static_cast<double>(points);
    if (done) done();
  }
  for (size_t i = 0; i < result.counts.size(); ++i) {
    const double x = 1.0 / static_cast<double>(result.counts[i]) - mean_x;
    xx += x * x, xy += x * (result.distances[i] - mean_y);
  }
  result.slope = xy / xx;
  result.value = mean_y - result.slope * mean_x;
  return result;
}

BootstrapInterval bootstrap_interval(const at::Tensor& features, const FrechetSide& reference,
                                     CovarianceDivisor divisor, double value, int64_t replicates, uint32_t seed,
                                     const DistanceDone& done) {
  const int64_t N = features.size(0);
  TORCH_CHECK(replicates >= 2 && N >= 2, "bootstrap_interval: want 2 replicates of 2 rows at least, got ", replicates,
              " of ", N);
  NumpyRandom random(seed);
  std::vector<double> distances;
  for (int64_t i = 0; i < replicates; ++i) {
    std::vector<int64_t> rows(static_cast<size_t>(N));
    for (int64_t& row : rows) row = random.below_or_equal(N - 1);
    distances.push_back(distance_of(features, rows, reference, divisor));
    if (done) done();
  }
  const at::Tensor all = at::tensor(distances, at::kDouble);
  const at::Tensor moved = all - all.mean() + value;
  return {at::quantile(moved, 0.025).item<double>(), at::quantile(moved, 0.975).item<double>(),
          all.std().item<double>()};
}

}  // namespace tessera
