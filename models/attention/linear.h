#pragma once

#include "models/attention/attention.h"

namespace tessera {

/// Added to features that a ReLU may have made 0.
constexpr double kFeatureEps = 1e-6;

/// Added to the denominator of linear_attention.
constexpr double kLinearNormalizerEps = 1e-6;

/// out_i = q_i (mean_j k_j^T v_j) / (q_i . mean_j k_j + 1e-6) for each head: linear in the number of tokens.
/// q [B, N, C] and k [B, L, C] are non-negative features in wide_type, v [B, L, C]; returns [B, N, C] in v's dtype.
/// `rope`, when given, turns q and k in the numerator alone (N = L then). The denominator stays in the wide type.
/// Source: Katharopoulos et al. (arXiv:2006.16236), with the means of FLatten.
at::Tensor linear_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                            const Rope* rope = nullptr);

/// FLatten's focusing map over the last axis of x [..., C]: t = (relu(x) + 1e-6) / softplus(scale), then t^power with
/// the length of t. It sharpens the directions of features and keeps their norm. scale [C] before softplus.
/// Returns wide_type(x). Source: FLatten (arXiv:2308.00442), equations 5 and 6.
at::Tensor focus(const at::Tensor& x, const at::Tensor& scale, double power);

/// What FLatten adds to the features: the scale of the focusing map and a depthwise k x k convolution of v over each
/// frame of the token grid, its filters shared by the heads; a kernel of 0 is none. Names: scale [1, 1, C], dwc.weight
/// [head_dim, 1, k, k], dwc.bias [head_dim].
class Focusing {
 public:
  Focusing(int64_t heads, int64_t head_dim, double power, int64_t kernel)
      : heads_(heads), head_dim_(head_dim), kernel_(kernel), power_(power) {}
  void params(ParamList& out, const std::string& prefix);
  at::Tensor features(const at::Tensor& x) const;                        ///< focus of x [B, N, C]
  at::Tensor convolved(const at::Tensor& v, const Extent3& grid) const;  ///< v [B, N, C] in raster order; the same back
  bool convolves() const { return kernel_ > 0; }
  const at::Tensor& filters() const { return weight_; }  ///< [head_dim, 1, k, k]

 private:
  int64_t heads_, head_dim_, kernel_;
  double power_;
  at::Tensor scale_, weight_, bias_;
};

/// Linear self-attention of a video transformer: RMS-normed q and k, features relu + 1e-6 (AttentionKind::kLinear) or
/// FLatten's with its convolution of v (AttentionKind::kFocused), RoPE in the numerator alone, output projection.
/// Names besides diffusers' WanAttention's: those of Focusing.
class LinearAttention : public SelfAttention {
 public:
  LinearAttention(AttentionKind kind, const AttentionConfig& config, int64_t heads, int64_t head_dim, double eps);
  void params(ParamList& out, const std::string& prefix) override;
  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override;

 private:
  at::Tensor features(const at::Tensor& x) const;

  int64_t heads_;
  AttentionProjections projections_;
  std::optional<Focusing> focusing_;
};

}  // namespace tessera
