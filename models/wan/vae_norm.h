#pragma once

#include <ATen/core/Tensor.h>

#include "core/params.h"

namespace tessera {

/// channel_norm() with a weight of the checkpoint's shape: L2 normalization over the last axis times sqrt(C) * gamma,
/// in float32, returned in x's dtype.
struct ChannelNorm {
  at::Tensor gamma;  ///< [C, 1, 1] or [C, 1, 1, 1]

  /// `dims` 3 or 4: the rank of the checkpoint's gamma.
  void params(ParamList& out, const std::string& prefix, int64_t channels, int64_t dims);
  at::Tensor operator()(const at::Tensor& x) const;
  /// SiLU of the normalized x.
  at::Tensor silu(const at::Tensor& x) const;
};

}  // namespace tessera
