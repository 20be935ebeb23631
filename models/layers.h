#pragma once

#include <ATen/core/Tensor.h>

#include "core/params.h"
#include "kernels/activation_simd.h"

namespace tessera {

/// Xavier's uniform distribution, deviation sqrt(2 / (in + out)). Source: Glorot & Bengio (2010).
Init xavier(int64_t in, int64_t out);

/// activation(x W^T + bias), bias undefined for none. W may be packed (kernels/packed.h): its rows are unpacked block
/// by block, or multiplied in int8 if that is how it is packed. A row's result does not depend on how many others are
/// multiplied with it: ATen's products of few rows take kernels that sum in another order, so few are padded to 8 a
/// thread. bfloat16 on the CPU without gradients takes kernels/linear.h where that is faster.
at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       Activation activation = Activation::kNone);

/// y = x W^T + b in x's dtype: float32 weights are cast on the way, so the same forward serves bf16 training
/// (float32 master weights) and inference (weights already in the compute dtype).
struct Linear {
  at::Tensor weight;       ///< [out, in], plain or packed
  at::Tensor bias;         ///< [out]; undefined when the layer has none
  LoraPair low_rank = {};  ///< y gains scale * (x down^T) up^T; only training sets it

  /// Lists prefix + "weight" (and "bias"). The default initialization is uniform(1 / sqrt(in)), zero bias.
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias = true);
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias,
              Init weight_init);
  /// The same for a matrix inside a block, which `--dtype int8` multiplies in int8. Embeddings, modulation and what
  /// makes the output are too few to matter for speed, and every error of theirs reaches all tokens.
  void block_params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, bool with_bias,
                    Init weight_init);
  /// The same for weights that stay float32 whatever the compute dtype; zero bias.
  void float_params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_features, Init weight_init);
  at::Tensor operator()(const at::Tensor& x) const { return apply(x, Activation::kNone); }
  /// The same for a few rows x [R, in], one by one, and equal neighbors once: for an embedding of timesteps that every
  /// block has. Of few rows at once the library copies the whole matrix first, which takes three times as long.
  at::Tensor each_row(const at::Tensor& x) const;
  at::Tensor gelu(const at::Tensor& x) const { return apply(x, Activation::kGelu); }  ///< gelu_tanh of the product

 private:
  at::Tensor apply(const at::Tensor& x, Activation activation) const;
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
