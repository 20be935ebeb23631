#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "models/attention/linear.h"

namespace tessera {

/// Sizes of a FLatten attention layer.
struct FocusedConfig {
  int64_t channels = 0, heads = 0;
  Extent3 grid{1, 1, 1};  ///< tokens that its position table is for
  double power = 3;
  int64_t kernel = 5;
  bool bias = true;
  bool separate_queries = false;  ///< parameters q and kv, as in PVT, instead of qkv
  int64_t reduction = 1;          ///< keys and values of a grid reduced so many times a side (PVT's sr_ratio)
};

/// Focused linear attention of FLatten's classifiers: a learned position table is added to k, both go through focus(),
/// the depthwise convolution of v is added to the attention. With a reduction, keys come from a strided convolution
/// (then LayerNorm), and v is stretched linearly along the tokens for the convolution.
/// x [B, N, C] in raster order -> [B, N, C] in x's dtype. Names: qkv (or q and kv), proj, positional_encoding, scale,
/// dwc, sr, norm. Source: FLatten (arXiv:2308.00442), FocusedLinearAttention of its Swin and PVT.
class FocusedAttention : public SelfAttention {
 public:
  explicit FocusedAttention(const FocusedConfig& config);
  void params(ParamList& out, const std::string& prefix) override;
  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override;

 private:
  at::Tensor reduced(const at::Tensor& x) const;

  FocusedConfig config_;
  Focusing focusing_;
  Linear qkv_, q_, kv_, proj_;
  LayerNorm norm_;
  at::Tensor positions_;                    // [1, tokens of k, C]
  at::Tensor reduce_weight_, reduce_bias_;  // [C, C, r, r], [C]
};

}  // namespace tessera
