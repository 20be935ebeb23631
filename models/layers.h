#pragma once

#include <ATen/core/Tensor.h>

#include "core/params.h"
#include "kernels/fused.h"

namespace tessera {

/// x W^T + bias (may be undefined). On a CPU products of few rows take kernels that sum in another order; few rows are
/// padded to 8 a thread, so that a row's result does not depend on how many others are multiplied with it.
at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// y = x W^T + b in x's dtype: float32 weights are cast on the way, so the same forward serves bf16 training
/// (float32 master weights) and inference (weights already in the compute dtype).
struct Linear {
  at::Tensor weight;  ///< [out, in]
  at::Tensor bias;    ///< [out]; undefined when the layer has none

  /// Lists prefix + "weight" (and "bias"). The default initialization is uniform(1 / sqrt(in)), zero bias.
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias = true);
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias,
              Init weight_init);
  at::Tensor operator()(const at::Tensor& x) const;
};

/// Layer normalization over the last axis, statistics in float32, returned in x's dtype.
struct LayerNorm {
  at::Tensor weight, bias;  ///< [C]; undefined for the form without affine parameters
  double eps = 1e-6;

  void params(ParamList& out, const std::string& prefix, int64_t channels);
  at::Tensor operator()(const at::Tensor& x) const;
};

/// Root-mean-square normalization over the last axis: x / sqrt(mean(x^2) + eps) * weight in float32.
struct RmsNorm {
  at::Tensor weight;  ///< [C]
  double eps = 1e-6;

  void params(ParamList& out, const std::string& prefix, int64_t channels);
  at::Tensor operator()(const at::Tensor& x) const;  ///< in x's dtype
  at::Tensor wide(const at::Tensor& x) const;        ///< in wide_type(x)
};

}  // namespace tessera
