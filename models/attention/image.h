#pragma once

#include "models/attention/attention.h"
#include "models/attention/blocks.h"
#include "models/attention/linear.h"
#include "models/attention/mixing.h"

namespace tessera {

/// Self-attention of an image transformer (DiT): no positions, no norms of q and k besides MHLA's own. Names are those
/// of diffusers' Attention: to_q, to_k, to_v (with a bias where `bias`), to_out.0. Kinds: softmax; linear (features
/// relu + 1e-6); focused (adds the names of Focusing); mhla (see ImageMhla).
std::unique_ptr<SelfAttention> make_image_attention(AttentionKind kind, const AttentionConfig& config, int64_t heads,
                                                    int64_t head_dim, bool bias);

/// Softmax, linear and focused attention between the four projections.
class ImageAttention : public SelfAttention {
 public:
  ImageAttention(AttentionKind kind, const AttentionConfig& config, int64_t heads, int64_t head_dim, bool bias);
  void params(ParamList& out, const std::string& prefix) override;
  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override;

 private:
  AttentionKind kind_;
  int64_t heads_, channels_;
  bool bias_;
  Linear to_q_, to_k_, to_v_, to_out_;
  std::optional<Focusing> focusing_;
};

/// Multi-head linear attention, image form (arXiv:2601.07832, MHLA4DiT): LayerNorm of the input, projections, optional
/// RMS norm of q and k over all channels (config.qk_norm), relu + 1e-6, block summaries mixed by a learned [M, M]
/// matrix, the normalizer, the optional SiLU gate of the normed input (config.gated; not in the published image
/// models), the optional depthwise convolution of v (config.lepe) added before the output projection. Sums are float32.
/// Tokens come and go in raster order; blocks and grids of other sizes as in MhlaAttention. Names besides the
/// projections': norm.weight, norm.bias, norm_q.weight, norm_k.weight (qk_norm), block_attn.conv.weight [M, M, 1, 1],
/// g.weight, g.bias, lepe.weight [C, 1, k, k], lepe.bias.
class ImageMhla : public SelfAttention {
 public:
  ImageMhla(const AttentionConfig& config, int64_t heads, int64_t head_dim, bool bias);
  void params(ParamList& out, const std::string& prefix) override;
  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override;

 private:
  at::Tensor features(const at::Tensor& x, const RmsNorm& norm, const BlockGrid& cut) const;
  at::Tensor composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const CallMixing& mixing,
                      const BlockGrid& cut, const AttentionInput& input) const;
  bool wants_gradient() const;

  AttentionConfig config_;
  int64_t heads_, channels_;
  bool bias_;
  LayerNorm norm_;
  Linear to_q_, to_k_, to_v_, to_out_;
  RmsNorm norm_q_, norm_k_;
  Linear gate_;
  at::Tensor mixing_;  // [M, M, 1, 1]
  GridMixing grid_mixing_;
  at::Tensor lepe_weight_, lepe_bias_;
};

}  // namespace tessera
