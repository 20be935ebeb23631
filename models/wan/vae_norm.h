#pragma once

#include <ATen/core/Tensor.h>

#include "core/params.h"

namespace tessera {

/// L2 normalization over the last axis times sqrt(C) * gamma, in float32, returned in x's dtype. On a CPU in float32
/// and bfloat16 norm and activation are one pass over memory (a tenth to a quarter of a training step); elsewhere they
/// are ATen operations. First derivatives only.
struct ChannelNorm {
  at::Tensor gamma;  ///< [C, 1, 1] or [C, 1, 1, 1]

  /// `dims` 3 or 4: the rank of the checkpoint's gamma.
  void params(ParamList& out, const std::string& prefix, int64_t channels, int64_t dims);
  at::Tensor operator()(const at::Tensor& x) const;
  /// silu of the normalized x.
  at::Tensor silu(const at::Tensor& x) const;
};

/// What ChannelNorm computes, from ATen operations on any device; gamma [C].
at::Tensor channel_norm_composite(const at::Tensor& x, const at::Tensor& gamma, bool silu);

}  // namespace tessera
