#pragma once

#include <memory>

#include "models/attention/attention.h"
#include "models/attention/causal_mhla.h"

namespace tessera {

/// Self-attention of a language model. `kernel` is that of convolutions over time, 0 for none: kFocused's depthwise one
/// of v, added to the output, and kMhla's short convolutions of q, k and v.
struct CausalAttentionConfig {
  AttentionKind kind = AttentionKind::kSoftmax;
  int64_t kernel = 0;
  double focusing_factor = 3;  ///< kFocused
  int64_t chunk = 64;          ///< tokens of a chunk; rows of kMhla's mixing matrix: one a chunk
  bool gated = false;          ///< kMhla: output times SiLU of a linear map of the input

  /// {"kind": "softmax" | "linear"}, {"kind": "focused", "focusing_factor": 3, "kernel_size": 5},
  /// {"kind": "mhla", "chunk": 64, "gated": true, "kernel_size": 4}. Throws Error naming the file and key.
  static CausalAttentionConfig from_json(const JsonConfig& json);
};

/// out_i = q_i (sum_{j<=i} k_j^T v_j) / (q_i . sum_{j<=i} k_j + 1e-6): linear attention of the tokens so far, in
/// chunks. q, k [B, T, H, D] non-negative features, v [B, T, H, V]; the numerator has q and k at rotary positions, the
/// denominator has not. Returns [B, T, H, V] in v's dtype; sums are float32 (float64 for float64).
at::Tensor causal_linear_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t chunk);

/// x [B, T, C] -> y_t = sum_i w_i x_{t - kernel + 1 + i} + b for each channel, zeros before the first token; weight
/// [C, 1, kernel], bias [C]. Returns x's dtype.
at::Tensor causal_depthwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// A token mixer whose output at a token depends on that token and those before it. Softmax, linear (relu + 1e-6) and
/// focused (FLatten's map; its filters, shared by the heads, run over time) have biased projections q, k, v and o and
/// rotary positions; kMhla is CausalMhlaLayer with as many key channels as values and relu features.
/// Names: q., k., v., o. (weight, bias); scale [1, 1, C], dwc.weight [head_dim, 1, kernel], dwc.bias (kFocused);
/// CausalMhlaLayer's (kMhla).
class CausalAttention {
 public:
  /// `length`: the most tokens that it will see. Throws c10::Error when head_dim is odd.
  CausalAttention(const CausalAttentionConfig& config, int64_t heads, int64_t head_dim, int64_t length);
  void params(ParamList& out, const std::string& prefix);
  /// x [B, T, C] -> [B, T, C] in x's dtype.
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor linear(const at::Tensor& x) const;

  CausalAttentionConfig config_;
  int64_t heads_, head_dim_;
  std::unique_ptr<CausalMhlaLayer> mhla_;
  Linear q_, k_, v_, o_;
  at::Tensor scale_, filters_, filter_bias_;
};

}  // namespace tessera
