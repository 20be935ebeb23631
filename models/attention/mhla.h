#pragma once

#include "kernels/block_attention.h"
#include "models/attention/attention.h"
#include "models/attention/blocks.h"
#include "models/attention/mixing.h"

namespace tessera {

/// A mixing matrix [M, M] over the first axis of x [M, ...], cast to x's dtype if it has another.
at::Tensor mix_blocks(const at::Tensor& mixing, const at::Tensor& x);

/// MHLA's denominator before the guard, [M, B, H, P, 1], from features q and k [M, B, H, P, D] before rotation; `form`
/// is kProducts or kSums.
at::Tensor mhla_normalizer(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mixing, const BlockGrid& cut,
                           Normalizer form);

/// kernels/block_attention.h as MHLA calls it: blocks of `cut`, the constants of the normalizer, and what `stats` (may
/// be null) counts. The caller sets what else the layer has in `plan`.
at::Tensor fused_mhla(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mixing,
                      const BlockGrid& cut, Normalizer form, BlockAttention plan, NormalizerStats* stats);

/// Multi-head linear attention, video form (arXiv:2601.07832, MHLA_Video_Uni): tokens fall into blocks, each block
/// keeps a d x d key-value summary a head, a learned matrix mixes the summaries over blocks. q and k: RMS norm over all
/// heads, relu + 1e-6, RoPE in the numerator only; a per-head RMS norm always follows; then the optional SiLU gate of
/// the layer's input, the optional depthwise 3x3x3 convolution of v (LePE), and the output projection. Sums are
/// float32. In bfloat16 on a CPU that block_attention runs on it is one operator, unless a gradient or a view of the
/// layer is wanted.
///
/// Names besides diffusers' WanAttention's: `block_attn.conv.weight` [M, M, 1, 1], `g_norm.weight` [head_dim],
/// `g.weight` [C, C] and `g.bias` [C] (gated), `lepe.weight` [C, 1, 3, 3, 3] and `lepe.bias` [C] (LePE).
///
/// Any grid runs: see cut_into_blocks and mixing_for_blocks. Blocks that reach beyond the grid are padded with zero
/// keys and values, which add nothing to any summary; with Normalizer::kProducts a position that a ragged block lacks
/// counts with the mean of the block's own products, so that a constant product stays constant. Normalizers below 1e-6
/// in magnitude are replaced by +-1e-6, sign kept; all others are untouched.
class MhlaAttention : public SelfAttention {
 public:
  MhlaAttention(const AttentionConfig& config, int64_t heads, int64_t head_dim, double eps);
  void params(ParamList& out, const std::string& prefix) override;
  at::Tensor operator()(const at::Tensor& x, const AttentionInput& input) const override;

 private:
  at::Tensor composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& gate,
                      const CallMixing& mixing, const BlockGrid& cut, const AttentionInput& input) const;
  at::Tensor fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& gate,
                   const at::Tensor& mixing, const BlockGrid& cut, const AttentionInput& input) const;
  bool wants_gradient() const;

  AttentionConfig config_;
  int64_t heads_, head_dim_;
  AttentionProjections projections_;
  at::Tensor mixing_;  // [M, M, 1, 1]
  GridMixing grid_mixing_;
  Linear gate_;
  RmsNorm head_norm_;
  at::Tensor lepe_weight_, lepe_bias_;
};

}  // namespace tessera
