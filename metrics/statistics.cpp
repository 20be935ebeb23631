#include "metrics/statistics.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"
#include "core/text.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

at::TensorOptions float64() {
  return at::TensorOptions().dtype(at::kDouble);
}

}  // namespace

FeatureStatistics::FeatureStatistics(int64_t dims) {
  TORCH_CHECK(dims >= 1, "FeatureStatistics: want at least 1 feature, got ", dims);
  mean_ = at::zeros({dims}, float64());
  scatter_ = at::zeros({dims, dims}, float64());
}

void FeatureStatistics::add(const at::Tensor& features) {
  TORCH_CHECK(features.dim() == 2 && features.size(1) == dims() && features.is_floating_point(),
              "FeatureStatistics: want floating [B, ", dims(), "], got ", features.sizes(), " ",
              features.scalar_type());
  const int64_t B = features.size(0);
  if (B == 0) return;
  const at::Tensor x = features.to(at::kCPU, at::kDouble);
  const int64_t bad = B - at::isfinite(x).all(1).sum().item<int64_t>();
  if (bad > 0) {
    throw Error(c10::str("the feature network gave NaN or infinite features for ", bad, " of ", B,
                         " inputs: no score can be computed; try --dtype fp32 and check the weights"),
                ExitCode::kFailed);
  }
  const at::Tensor batch_mean = x.mean(0);
  const at::Tensor shift = batch_mean - mean_;
  const double n = static_cast<double>(count_), b = static_cast<double>(B);
  // The mean's own move is one more row of the product: a single pass over the D x D scatter.
  const at::Tensor rows = at::cat({x - batch_mean, (shift * std::sqrt(n * b / (n + b))).unsqueeze(0)});
  scatter_.addmm_(rows.t(), rows);
  mean_ += shift * (b / (n + b));
  count_ += B;
}

void FeatureStatistics::merge(const FeatureStatistics& other) {
  if (other.dims() != dims()) {
    throw Error(c10::str("statistics of ", dims(), " features cannot be merged with statistics of ", other.dims(),
                         ": they come from different networks or --dims"));
  }
  if (other.count_ == 0) return;
  const double n = static_cast<double>(count_), m = static_cast<double>(other.count_);
  const at::Tensor shift = other.mean_ - mean_;
  scatter_ += other.scatter_;
  scatter_.addr_(shift, shift, 1.0, n * m / (n + m));
  mean_ += shift * (m / (n + m));
  count_ += other.count_;
}

Gaussian FeatureStatistics::gaussian(CovarianceDivisor divisor) const {
  const bool unbiased = divisor == CovarianceDivisor::kCountMinusOne;
  if (count_ < (unbiased ? 2 : 1)) {
    throw Error(c10::str("a covariance needs at least ", counted(unbiased ? 2 : 1, "sample"), ", got ", count_));
  }
  return {mean_.clone(), scatter_ / static_cast<double>(unbiased ? count_ - 1 : count_), count_};
}

void FeatureStatistics::save(const std::filesystem::path& path) const {
  write_safetensors(
      path,
      {{"count", at::full({1}, count_, at::TensorOptions().dtype(at::kLong))}, {"mean", mean_}, {"scatter", scatter_}});
}

FeatureStatistics FeatureStatistics::load(const std::filesystem::path& path) {
  const TensorFile file = read_safetensors(path);
  const at::Tensor &count = file.at("count"), &mean = file.at("mean"), &scatter = file.at("scatter");
  const int64_t D = mean.numel();
  if (count.scalar_type() != at::kLong || count.numel() != 1 || count.item<int64_t>() < 0 ||
      mean.scalar_type() != at::kDouble || mean.dim() != 1 || D < 1 || scatter.scalar_type() != at::kDouble ||
      scatter.sizes() != at::IntArrayRef{D, D} || !mean.isfinite().all().item<bool>() ||
      !scatter.isfinite().all().item<bool>()) {
    throw Error(path.string() +
                ": want running feature statistics (count, finite float64 mean [D] and scatter [D, D]): " +
                "this file holds something else");
  }
  FeatureStatistics result(D);
  result.count_ = count.item<int64_t>();
  result.mean_ = mean.clone();
  result.scatter_ = scatter.clone();
  return result;
}

}  // namespace tessera
