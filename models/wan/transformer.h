#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/attention/attention.h"
#include "models/attention/token_grid.h"
#include "models/layer_stream.h"
#include "models/layers.h"
#include "models/wan/image_embedding.h"

namespace tessera {

/// diffusers' WanTransformer3DModel config.json, plus two objects of our own: `attention` (see AttentionConfig; absent:
/// softmax) and `position_embedding` [frames, height, width] in tokens (absent: none).
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
  int64_t image_dim = 0;        ///< width of an image encoder's states, which blocks attend to besides text; 0: no such
  int64_t image_positions = 0;  ///< `pos_embed_seq_len`: the states of a first and a last picture; 0: of one picture
  AttentionConfig attention;
  std::optional<Extent3> position_embedding;

  int64_t channels() const { return num_attention_heads * attention_head_dim; }
  /// Throws Error naming the file and key: wrong types, sizes that cannot be, unknown keys of `attention`.
  static WanTransformerConfig from_json(const JsonConfig& json);
};

/// What the blocks' tokens attend to: text [B, L, C], and image states [B, K, C], undefined for a model without them.
struct WanContext {
  at::Tensor text, image;
};

/// Attention from video tokens to text, and to image states by keys and values of their own; no mask, every row is
/// attended to.
struct WanCrossAttention {
  /// Of a context: normalized keys and values [B, L, C] of the text, and [B, K, C] of the pictures if there are any.
  struct Keys {
    at::Tensor k, v, image_k, image_v;
  };

  int64_t heads;
  AttentionProjections projections;
  Linear add_k_proj, add_v_proj;  ///< only for image states, like their norm
  RmsNorm norm_added_k;

  void params(ParamList& out, const std::string& prefix, int64_t channels, bool with_image);
  Keys keys(const WanContext& context) const;
  at::Tensor operator()(const at::Tensor& x, const Keys& keys) const;
};

/// Keys and values of every block for one context, kept from one call of a network to the next: a job's are the same
/// in every step. Of the text only the rows up to the last that is not zero, and one of the zero rows behind them,
/// whose keys are all the same.
struct WanKeptKeys {
  WanContext states;  ///< that they belong to, as the network was given them; undefined before the first call
  std::vector<WanCrossAttention::Keys> blocks;
  /// The caller knows that the next call is given the states of the last one: they are not compared, for which the host
  /// would wait for a GPU.
  bool unchanged = false;
};

struct WanBlock {
  std::unique_ptr<SelfAttention> attn1;
  WanCrossAttention attn2;
  LayerNorm norm2;  ///< before cross-attention; without weights when cross_attn_norm is off it is the identity
  Linear ffn_in, ffn_out;
  at::Tensor scale_shift_table;  ///< [1, 6, C]: shift, scale, gate of self-attention, then of the feed-forward

  WanBlock(const WanTransformerConfig& config, int64_t layer);
  void params(ParamList& out, const std::string& prefix, const WanTransformerConfig& config);
  /// x: [B, N, C]; modulation: float32, [B, 6, C], or [B T, 6, C] with a row for the tokens of each of T frames.
  at::Tensor operator()(const at::Tensor& x, const WanCrossAttention::Keys& keys, const at::Tensor& modulation,
                        const AttentionInput& input) const;

 private:
  double eps_;
  bool cross_attn_norm_;
  const char* attention_scope_;  // in profiles
};

/// The denoiser of Wan 2.1 and 2.2, for text and for images to video, with softmax, MHLA or mixed self-attention; the
/// same forward trains (float32 weights that require grad, bf16 latents) and infers. Parameter names are diffusers';
/// MHLA's additions are in models/attention/mhla.h and `position_embedding` [1, C, frames, height, width] is added to
/// the patch embedding. Initial values: proj_out and all modulation zero (adaLN-zero), Xavier elsewhere in the blocks.
/// Move-only; the slots listed by params() point into this object.
class WanTransformer {
 public:
  explicit WanTransformer(WanTransformerConfig config);
  void params(ParamList& out, const std::string& prefix = "");

  /// latents: [B, in_channels, T, H, W], each axis a multiple of the patch, in the compute dtype; timesteps: [B] in
  /// [0, 1000], fractions kept, or [B, T] with one for each frame of tokens; context: [B, L, text_dim] text states,
  /// zero rows beyond the prompt (they pass the text MLP and are attended to like any other, so L is part of the model:
  /// 512 for Wan). `image`: [B, K, image_dim] states of the pictures, for a model that has image_dim. Returns the
  /// velocity [B, out_channels, T, H, W] in the latents' dtype. With `stats`, MHLA's normalizers are counted; `probe`,
  /// when given, sees every self-attention layer. `kept`, when given, holds the keys of text and pictures for the next
  /// call of this network with these weights: it is used if they are equal, else filled; the result is the same.
  /// Throws c10::Error on other shapes.
  at::Tensor operator()(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context,
                        NormalizerStats* stats = nullptr, AttentionProbe* probe = nullptr, const at::Tensor& image = {},
                        WanKeptKeys* kept = nullptr) const;

  const WanTransformerConfig& config() const { return config_; }
  /// For training, which replaces a block's attention while another learns from it.
  std::vector<WanBlock>& blocks() { return blocks_; }
  /// The parameters of each block, and where they come from when a GPU does not hold all of them.
  std::vector<ParamList> layers();
  void stream_from(std::unique_ptr<LayerStream> stream) { stream_ = std::move(stream); }
  /// With `recompute`, a block's activations are not kept for the backward pass but computed again in it: see
  /// models/recomputed.h.
  void set_recompute(bool recompute) { recompute_ = recompute; }

 private:
  void check_input(const at::Tensor& latents, const at::Tensor& timesteps, const at::Tensor& context,
                   const at::Tensor& image) const;
  WanContext embed_context(const WanContext& states) const;
  void keep_keys(const WanContext& states, WanKeptKeys& kept) const;
  at::Tensor embed_patches(const at::Tensor& latents, const Extent3& grid) const;
  at::Tensor unpatchify(const at::Tensor& tokens, const Extent3& grid) const;

  WanTransformerConfig config_;
  at::Tensor patch_weight_, patch_bias_;
  at::Tensor position_embedding_;
  Linear time_in_, time_out_, time_proj_, text_in_, text_out_;
  WanImageEmbedding image_embedding_;
  std::vector<WanBlock> blocks_;
  Linear proj_out_;
  at::Tensor scale_shift_table_;  // [1, 2, C]: shift, scale
  bool recompute_ = false;
  std::unique_ptr<LayerStream> stream_;  // null: all weights are where they are used
};

/// The learned position of a token grid, [1, N, C], from `trained` [1, C, frames, height, width]: itself at the trained
/// grid, the leading frames of fewer, trilinear interpolation (no aligned corners) of longer clips and other heights
/// and widths.
at::Tensor position_for_grid(const at::Tensor& trained, const Extent3& grid);

/// Cosines then sines of t * 10000^(-i / (size / 2)): timesteps [B] -> [B, size] float32, computed in float64.
at::Tensor timestep_sinusoid(const at::Tensor& timesteps, int64_t size);

}  // namespace tessera
