#pragma once

#include "models/attention/attention.h"

namespace tessera {

/// Scaled dot-product attention over heads: q [B, N, heads * D] in any float type, k and v [B, L, heads * D]; returns
/// [B, N, heads * D] in v's dtype. No mask. On a CPU bfloat16 without gradients takes kernels/tiled_attention.h, which
/// rounds q and k to bfloat16; otherwise scores of few keys are float32.
at::Tensor softmax_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads);

/// Whether softmax_attention of tensors like v [B, L, heads * D] rounds q and k to bfloat16, so that what makes them
/// may as well.
bool rounds_queries(const at::Tensor& v, int64_t heads);

/// Wan 2.1's self-attention: RMS-normed q and k, 3D RoPE, softmax. Parameter names are diffusers' WanAttention's.
class SoftmaxAttention : public SelfAttention {
 public:
  SoftmaxAttention(int64_t heads, int64_t head_dim, double eps) : heads_(heads), projections_(heads * head_dim, eps) {}
  void params(ParamList& out, const std::string& prefix) override { projections_.params(out, prefix); }
  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override;

 private:
  int64_t heads_;
  AttentionProjections projections_;
};

}  // namespace tessera
