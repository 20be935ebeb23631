#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/attention/attention.h"
#include "models/attention/token_grid.h"
#include "models/layers.h"

namespace tessera {

/// diffusers' WanTransformer3DModel config.json (text to video), plus two objects of our own: `attention` (see
/// AttentionConfig; absent: softmax) and `position_embedding` [frames, height, width] in tokens (absent: none).
struct WanTransformerConfig {
  Extent3 patch_size{1, 2, 2};
  int64_t num_attention_heads = 40;
  int64_t attention_head_dim = 128;
  int64_t in_channels = 16;
  int64_t out_channels = 16;
  int64_t text_dim = 4096;
  int64_t freq_dim = 256;
  int64_t ffn_dim = 13824;
  int64_t num_layers = 40;
  bool cross_attn_norm = true;
  double eps = 1e-6;
  AttentionConfig attention;
  std::optional<Extent3> position_embedding;

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
  /// Throws Error naming the file and key: wrong types, sizes that cannot be, unknown keys of `attention`, and
  /// image-to-video models, which this is not.
  static WanTransformerConfig from_json(const JsonConfig& json);
};

/// Attention from video tokens to text; no mask, every context row is attended to.
struct WanCrossAttention {
  int64_t heads;
  AttentionProjections projections;

  at::Tensor operator()(const at::Tensor& x, const at::Tensor& context) const;
};

struct WanBlock {
  std::unique_ptr<SelfAttention> attn1;
  WanCrossAttention attn2;
  LayerNorm norm2;  ///< before cross-attention; without weights when cross_attn_norm is off it is the identity
  Linear ffn_in, ffn_out;
  at::Tensor scale_shift_table;  ///< [1, 6, C]: shift, scale, gate of self-attention, then of the feed-forward

  WanBlock(const WanTransformerConfig& config, int64_t layer);
  void params(ParamList& out, const std::string& prefix, const WanTransformerConfig& config);
  /// x: [B, N, C]; modulation: [B, 6, C] float32; context: [B, L, C].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& context, const at::Tensor& modulation,
                        const AttentionInput& input) const;

 private:
  double eps_;
  bool cross_attn_norm_;
  const char* attention_scope_;  // in profiles
};

/// The Wan 2.1 text-to-video denoiser with softmax, MHLA or mixed self-attention; the same forward trains (float32
/// weights that require grad, bf16 latents) and infers. Parameter names are diffusers'; MHLA's additions are in
/// models/attention/mhla.h and `position_embedding` [1, C, frames, height, width] is added to the patch embedding.
/// Initial values: proj_out and all modulation zero (adaLN-zero), Xavier elsewhere in the blocks.
/// Move-only; the slots listed by params() point into this object.
class WanTransformer {
 public:
  explicit WanTransformer(WanTransformerConfig config);
  void params(ParamList& out, const std::string& prefix = "");

  /// latents: [B, in_channels, T, H, W], each axis a multiple of the patch, in the compute dtype; timesteps: [B] in
  /// [0, 1000], fractions kept; context: [B, L, text_dim] text states, zero rows beyond the prompt (they pass the text
  /// MLP and are attended to like any other, so L is part of the model: 512 for Wan). Returns the velocity
  /// [B, out_channels, T, H, W] in the latents' dtype. With `stats`, MHLA's normalizers are counted;
  /// `probe`, when given, sees every self-attention layer. Throws c10::Error on other shapes.
  at::Tensor operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context,
                        NormalizerStats* stats = nullptr, AttentionProbe* probe = nullptr) const;

  const WanTransformerConfig& config() const { return config_; }
  /// For training, which replaces a block's attention while another learns from it.
  std::vector<WanBlock>& blocks() { return blocks_; }
  /// With `recompute`, a block's activations are not kept for the backward pass but computed again in it: see
  /// models/recomputed.h.
  void set_recompute(bool recompute) { recompute_ = recompute; }

 private:
  at::Tensor embed_patches(const at::Tensor& latents, const Extent3& grid) const;
  at::Tensor unpatchify(const at::Tensor& tokens, const Extent3& grid) const;

  WanTransformerConfig config_;
  at::Tensor patch_weight_, patch_bias_;
  at::Tensor position_embedding_;
  Linear time_in_, time_out_, time_proj_, text_in_, text_out_;
  std::vector<WanBlock> blocks_;
  Linear proj_out_;
  at::Tensor scale_shift_table_;  // [1, 2, C]: shift, scale
  bool recompute_ = false;
};

/// The learned position of a token grid, [1, N, C], from `trained` [1, C, frames, height, width]: itself at the trained
/// grid, the leading frames of fewer, trilinear interpolation (no aligned corners) of longer clips and other heights
/// and widths.
at::Tensor position_for_grid(const at::Tensor& trained, const Extent3& grid);

/// Cosines then sines of t * 10000^(-i / (size / 2)): timesteps [B] -> [B, size] float32, computed in float64.
at::Tensor timestep_sinusoid(const at::Tensor& timesteps, int64_t size);

}  // namespace tessera
