#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/attention/attention.h"
#include "models/layers.h"

namespace tessera {

/// diffusers' DiTTransformer2DModel config.json with its defaults (those of DiT-XL/2), and keys of our own that say how
/// facebookresearch's and MHLA's models differ from it.
struct DitConfig {
  int64_t num_attention_heads = 16;
  int64_t attention_head_dim = 72;
  int64_t in_channels = 4;
  int64_t out_channels = 4;  ///< twice in_channels with a learned variance
  int64_t num_layers = 28;
  int64_t sample_size = 32;  ///< latent cells a side
  int64_t patch_size = 2;
  int64_t num_embeds_ada_norm = 1000;  ///< classes
  bool attention_bias = true;
  double norm_eps = 1e-5;  ///< of the norm before the feed-forward; the other norms have 1e-6
  AttentionConfig attention;

  // Ours.
  double mlp_ratio = 4.0;
  bool null_class = true;            ///< the label table has one more row, which stands for no class
  int64_t downscale_freq_shift = 1;  ///< timestep frequencies 10000^(-i / (128 - shift)); facebookresearch's has 0
  bool position_embedding = false;   ///< positions are stored, not computed: pos_embed.pos_embed [1, tokens, C]

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
  int64_t grid() const { return sample_size / patch_size; }  ///< tokens a side
  int64_t feed_forward() const { return static_cast<int64_t>(mlp_ratio * static_cast<double>(channels())); }
  int64_t labels() const { return num_embeds_ada_norm + (null_class ? 1 : 0); }
  bool learns_variance() const { return out_channels == 2 * in_channels; }

  /// Throws Error naming the file and key: wrong types, sizes that cannot be, and forms of the class that DiT is not.
  static DitConfig from_json(const JsonConfig& json);
  /// What from_json reads back, with every key.
  nlohmann::ordered_json to_json() const;
};

struct DitBlock {
  Linear time_in, time_out;  ///< float32 whatever the compute dtype
  at::Tensor labels;         ///< [labels, C] float32
  Linear modulation;         ///< shift, scale, gate of the attention, then of the feed-forward
  std::unique_ptr<SelfAttention> attn1;
  Linear ff_in, ff_out;

  DitBlock(const DitConfig& config, int64_t layer);
  void params(ParamList& out, const std::string& prefix, const DitConfig& config);
  /// What the block is told of time and class, [B, C] float32; sinusoid [B, 256].
  at::Tensor condition(const at::Tensor& sinusoid, const at::Tensor& classes) const;
  /// x [B, N, C] in raster order; condition [B, C].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& condition, const AttentionInput& input) const;

 private:
  double norm_eps_;
  const char* attention_scope_;  // in profiles
};

/// DiT, the class-conditional denoiser of latents (arXiv:2212.09748), with softmax, MHLA or another self-attention in
/// its image form (see make_image_attention). Parameter names are those of diffusers' DiTTransformer2DModel: every
/// block has its own embedding of time and class, and the final layer uses that of block 0. Initial values: modulation
/// and last layer zero (adaLN-zero), Xavier elsewhere. Move-only; the slots listed by params() point into this object.
class Dit {
 public:
  explicit Dit(DitConfig config);
  void params(ParamList& out, const std::string& prefix = "");

  /// latents [B, in_channels, sample_size, sample_size] in the compute dtype; timesteps [B], 0 to 999, fractions kept;
  /// classes [B] int64, num_embeds_ada_norm for none. Returns the noise, and with a learned variance its channels after
  /// those of the noise: [B, out_channels, sample_size, sample_size] in the latents' dtype. With `stats`, MHLA's
  /// normalizers are counted; `probe`, when given, sees every self-attention layer. Throws c10::Error on other shapes.
  at::Tensor operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& classes,
                        NormalizerStats* stats = nullptr, AttentionProbe* probe = nullptr) const;

  /// With `recompute`, a block's activations are not kept for the backward pass but computed again in it: see
  /// models/recomputed.h.
  void set_recompute(bool recompute) { recompute_ = recompute; }

  const DitConfig& config() const { return config_; }

 private:
  at::Tensor embed_patches(const at::Tensor& latents) const;
  at::Tensor unpatchify(const at::Tensor& tokens) const;

  DitConfig config_;
  at::Tensor patch_weight_, patch_bias_;
  at::Tensor positions_;  // [1, N, C], defined when stored
  std::vector<DitBlock> blocks_;
  Linear proj_out_1_, proj_out_2_;
  bool recompute_ = false;
};

/// MAE's fixed positions of a square grid, [1, grid^2, channels] float32: sines then cosines of the column, then of the
/// row, at 10000^(-4i / channels). `channels` must be a multiple of 4.
at::Tensor sincos_positions(int64_t grid, int64_t channels, at::Device device);

/// Cosines then sines of t * 10000^(-i / (size / 2 - shift)): timesteps [B] -> [B, size] float32, computed in float32
/// as diffusers and facebookresearch's code do.
at::Tensor dit_timestep_sinusoid(const at::Tensor& timesteps, int64_t size, int64_t shift);

}  // namespace tessera
