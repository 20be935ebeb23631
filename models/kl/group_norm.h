#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/params.h"

namespace tessera {

/// The statistics of every group norm of a network, in the order of the calls, gathered over several tiles of one
/// picture and then given to each of them, so that all tiles are normalized alike.
class SharedStatistics {
 public:
  /// The next tile passes through the network.
  void begin_tile() { next_ = 0; }
  /// From here on the mean over the tiles seen is used instead of a tile's own.
  void finish() { recording_ = false; }
  bool recording() const { return recording_; }

  /// Adds the statistics of x [B, G, cells] (float32) to those of the next norm.
  void record(const at::Tensor& x);
  /// Mean and variance of the next norm, [B, G, 1] float32.
  std::pair<at::Tensor, at::Tensor> take();

 private:
  struct Sums {
    at::Tensor sum, squares;  // [B, G, 1] float64
    double cells = 0;
  };
  std::vector<Sums> norms_;
  size_t next_ = 0;
  bool recording_ = true;
};

/// Group normalization of x [B, C, H, W], statistics in float32, returned in x's dtype and memory format.
struct GroupNorm {
  at::Tensor weight, bias;  ///< [C]
  int64_t groups = 32;
  double eps = 1e-6;

  void params(ParamList& out, const std::string& prefix, int64_t channels);
  /// `shared` (may be null) records or replaces the statistics.
  at::Tensor operator()(const at::Tensor& x, SharedStatistics* shared) const;
  /// SiLU of the normalized x.
  at::Tensor silu(const at::Tensor& x, SharedStatistics* shared) const;
};

}  // namespace tessera
