#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "metrics/statistics.h"

namespace tessera {

/// The feature vectors of a set in float32, for the scores that need each of them (KID, IS, precision/recall,
/// intervals). They lie in a nameless file of the temporary folder (TMPDIR) that vanishes with the object, 4 * dims
/// bytes each; what is read is mapped, so the system may drop it from memory. FID alone needs none of this.
class FeatureStore {
 public:
  /// Throws Error (failed) when no file can be made in the temporary folder.
  explicit FeatureStore(int64_t dims);

  /// Appends the rows of `features`, [B, dims], any floating type. Throws Error (failed) when the disk is full.
  void add(const at::Tensor& features);

  int64_t count() const { return count_; }
  int64_t dims() const { return dims_; }
  /// All rows so far, [count, dims] float32, mapped read-only: do not write to it. It may outlive the store.
  at::Tensor rows() const;

 private:
  struct File;
  std::shared_ptr<File> file_;
  int64_t dims_, count_ = 0;
};

/// Mean and scatter of the chosen rows of [N, D] (an index may come more than once), in chunks.
FeatureStatistics statistics_of(const at::Tensor& features, const std::vector<int64_t>& rows);

}  // namespace tessera
