#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace tessera {

/// What a covariance is divided by: numpy.cov's N - 1 (pytorch-fid, torch-fidelity, clean-fid) or N (StyleGAN-V's FVD).
enum class CovarianceDivisor { kCountMinusOne, kCount };

/// Mean and covariance of a set of features, which is all that the Frechet distance reads.
struct Gaussian {
  at::Tensor mean;               ///< [D] float64
  at::Tensor covariance;         ///< [D, D] float64, symmetric
  std::optional<int64_t> count;  ///< samples, where known: bounds the covariance's rank
};

/// Mean and scatter of feature vectors in float64, one pass, O(D^2) memory whatever their number. Chunks, shards, ranks
/// and resumed runs merge exactly to rounding, in any order (Chan, Golub & LeVeque 1979).
class FeatureStatistics {
 public:
  /// An empty set of vectors of length `dims` >= 1.
  explicit FeatureStatistics(int64_t dims);

  /// Adds the rows of `features`, [B, dims], any floating type, any device; B may be 0. Throws Error when a value is
  /// NaN or infinite (nothing is added), c10::Error for another shape.
  void add(const at::Tensor& features);
  /// Adds all that `other` holds. Throws Error when the lengths differ.
  void merge(const FeatureStatistics& other);

  int64_t count() const { return count_; }
  int64_t dims() const { return mean_.size(0); }
  const at::Tensor& mean() const { return mean_; }  ///< [dims] float64; zeros while empty

  /// Throws Error when there are too few vectors for a covariance: fewer than 2 (N - 1) or none (N).
  Gaussian gaussian(CovarianceDivisor divisor) const;

  /// Writes count, mean and scatter to `path` (safetensors, atomically); load() gives the same bits back. Throws Error.
  void save(const std::filesystem::path& path) const;
  static FeatureStatistics load(const std::filesystem::path& path);

 private:
  int64_t count_ = 0;
  at::Tensor mean_;     // [dims] float64
  at::Tensor scatter_;  // [dims, dims] float64: sum of (x - mean)(x - mean)^T
};

}  // namespace tessera
