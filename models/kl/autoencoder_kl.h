#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "kernels/frame_conv.h"
#include "models/kl/group_norm.h"
#include "models/layers.h"

namespace tessera {

/// The keys of diffusers' AutoencoderKL config, with its defaults.
struct AutoencoderKlConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels{64};
  int64_t layers_per_block = 1;
  int64_t norm_num_groups = 32;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;
  double scaling_factor = 0.18215;  ///< latents of a pipeline are (z - shift_factor) * scaling_factor
  double shift_factor = 0.0;

  /// Throws Error naming file and key for a value of the wrong type or out of range, and for block types, activations
  /// and latent statistics that this autoencoder does not have.
  static AutoencoderKlConfig from_json(const JsonConfig& json);

  int64_t stride() const { return int64_t{1} << (block_out_channels.size() - 1); }  ///< pixels of a latent cell
};

/// A convolution with its bias, weight [out, in, k, k]. By frame_conv where there is one.
struct Conv2d {
  at::Tensor weight, bias;
  FrameFilterCache filters;  ///< of weight
  bool plain = false;        ///< never by frame_conv: see KlResnet

  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels, int64_t kernel);
  /// Padded to keep the size. `residual`, where defined, is added.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& residual = {}) const;
  /// Of x with every pixel repeated to 2x2.
  at::Tensor enlarged(const at::Tensor& x) const;
};

/// Norm, SiLU, 3x3 convolution, twice, plus the input (through a 1x1 convolution where the channels differ).
struct KlResnet {
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2, conv_shortcut;
  int64_t in, out;

  /// `plain`: without Winograd's filtering, whose rounding errors matter where neighboring cells do not resemble each
  /// other, at the latents' resolution. The few cells there take little time.
  KlResnet(int64_t in_channels, int64_t out_channels, int64_t groups, bool plain = false);
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x, SharedStatistics* shared) const;
};

/// Self-attention of one head over all cells, plus the input.
struct KlAttention {
  GroupNorm group_norm;
  Linear to_q, to_k, to_v, to_out;
  int64_t channels;

  KlAttention(int64_t width, int64_t groups);
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x) const;
};

/// The blocks between both halves: resnet, attention, resnet.
struct KlMiddle {
  KlResnet first, last;
  std::optional<KlAttention> attention;

  KlMiddle(int64_t channels, const AutoencoderKlConfig& config);
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x) const;
};

/// Resnets of one resolution and the convolution that changes it: half after it in the encoder, double in the decoder.
struct KlLevel {
  std::vector<KlResnet> resnets;
  std::optional<Conv2d> resample;  ///< none at the finest resolution
};

/// Mean and log-variance of the latent, both [B, latent_channels, h, w].
struct KlMoments {
  at::Tensor mean, logvar;
};

/// Stable Diffusion's autoencoder (diffusers' AutoencoderKL, under its names). Pictures are [B, C, H, W] in [-1, 1], H
/// and W multiples of config.stride(); latents are [B, latent_channels, H / stride, W / stride], neither scaled nor
/// shifted. The input's dtype is the compute dtype; norms are float32. Source: Latent Diffusion, arXiv:2112.10752.
class AutoencoderKl {
 public:
  explicit AutoencoderKl(AutoencoderKlConfig config);
  void params(ParamList& out, const std::string& prefix = "");

  /// The log-variance is held within [-30, 20].
  KlMoments encode(const at::Tensor& images) const;
  /// Not clamped.
  at::Tensor decode(const at::Tensor& latents) const;
  /// decode in overlapping tiles of about `tile` pixels a side, blended linearly: memory grows with the tile and the
  /// picture's own pixels. The blocks at the latents' resolution see the whole picture; those above see tiles, twice:
  /// first to gather the statistics of the norms over all tiles, then to decode with them, so that no tile has
  /// brightness or contrast of its own. A picture no larger than a tile is what decode gives. Throws c10::Error for
  /// tiles below 4 latent cells.
  at::Tensor decode_tiled(const at::Tensor& latents, int64_t tile) const;

  const AutoencoderKlConfig& config() const { return config_; }

 private:
  at::Tensor decoder_middle(const at::Tensor& latents) const;
  at::Tensor decoder_levels(const at::Tensor& x, SharedStatistics* shared) const;

  AutoencoderKlConfig config_;
  Conv2d encoder_in_, encoder_out_, decoder_in_, decoder_out_, quant_conv_, post_quant_conv_;
  std::vector<KlLevel> down_, up_;
  KlMiddle encoder_middle_, decoder_middle_;
  GroupNorm encoder_norm_, decoder_norm_;
};

}  // namespace tessera
