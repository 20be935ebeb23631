#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <variant>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/wan/latent_rgb.h"
#include "models/wan/vae_layers.h"

namespace tessera {

/// The keys of diffusers' AutoencoderKLWan config, with its defaults (Wan 2.1; Wan 2.2's 16x form is residual).
struct WanVaeConfig {
  int64_t base_dim = 96;
  int64_t decoder_base_dim = 96;
  int64_t z_dim = 16;
  std::vector<int64_t> dim_mult{1, 2, 4, 4};
  int64_t num_res_blocks = 2;
  std::vector<double> attn_scales;                           ///< 1, 0.5, ...: sizes at which the encoder also attends
  std::vector<bool> temperal_downsample{false, true, true};  ///< diffusers' spelling
  int64_t in_channels = 3;                                   ///< after the pixel unshuffle
  int64_t out_channels = 3;
  bool is_residual = false;                       ///< levels add their averaged or repeated input: Wan 2.2
  int64_t patch_size = 1;                         ///< pixel unshuffle before the encoder, shuffle after the decoder
  std::vector<double> latents_mean, latents_std;  ///< [z_dim]; a pipeline applies them, the autoencoder does not
  LatentRgb latent_rgb;                           ///< for previews

  /// Throws Error naming file and key for a value of the wrong type, lists of the wrong length, and widths that a
  /// residual form cannot have. Absent latents_mean and latents_std are Wan 2.1's when z_dim is 16, Wan 2.2's for a
  /// residual form of z_dim 48, else 0 and 1; absent colors of latents are Wan 2.1's where the means are.
  static WanVaeConfig from_json(const JsonConfig& json);

  int64_t spatial_stride() const;   ///< pixels a latent pixel covers on a side
  int64_t temporal_stride() const;  ///< frames a latent frame covers, but for the first, which covers one
  int64_t image_channels() const { return out_channels / (patch_size * patch_size); }
};

/// About how many bytes decoding takes besides weights when frames are decoded whole, chunk by chunk in float32:
/// activations and cached frames, both proportional to the pixels and the decoder's width. An estimate from the layers'
/// sizes.
int64_t whole_decode_bytes(const WanVaeConfig& config, int64_t frames, int64_t height, int64_t width);

/// Mean and log-variance of the latent, both [B, z_dim, t, h, w].
struct WanMoments {
  at::Tensor mean, logvar;
};

/// [B, t, h, w, 2 z] -> two of [B, z, t, h, w].
WanMoments split_moments(const at::Tensor& moments);

/// Half of the autoencoder: pixels [B, T, H, W, C] -> moments [B, t, h, w, 2 z_dim].
struct WanVaeEncoder {
  using Layer = std::variant<WanResidualBlock, WanFrameAttention, WanDownsample, WanResidualDown>;

  CausalConv3d conv_in, conv_out;
  std::vector<Layer> down_blocks;
  WanResidualBlock mid_in, mid_out;
  WanFrameAttention mid_attention;
  ChannelNorm norm_out;

  explicit WanVaeEncoder(const WanVaeConfig& config);
  void params(ParamList& out, const std::string& prefix, const WanVaeConfig& config);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
  /// Its two parts: the convolutions that make it smaller, each latent pixel from its surroundings alone (unless
  /// attn_scales are set), and what works at the latents' resolution and sees the whole frame.
  at::Tensor shrink(const at::Tensor& x, CausalCache* cache) const;
  at::Tensor middle(const at::Tensor& x, CausalCache* cache) const;
};

/// The other half: latents [B, t, h, w, z_dim] -> pixels [B, T, H, W, C].
struct WanVaeDecoder {
  struct UpBlock {
    std::vector<WanResidualBlock> resnets;
    std::vector<WanUpsample> upsamplers;  ///< one, or none in the last block
    bool is_residual = false;             ///< what is enlarged also gets its input, repeated

    at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
  };

  CausalConv3d conv_in, conv_out;
  WanResidualBlock mid_in, mid_out;
  WanFrameAttention mid_attention;
  std::vector<UpBlock> up_blocks;
  ChannelNorm norm_out;

  explicit WanVaeDecoder(const WanVaeConfig& config);
  void params(ParamList& out, const std::string& prefix, const WanVaeConfig& config);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
  /// Its two parts: what works at the latents' resolution and sees the whole frame (the attention is there), and the
  /// convolutions that make it larger, each pixel from its surroundings alone.
  at::Tensor middle(const at::Tensor& x, CausalCache* cache) const;
  at::Tensor enlarge(const at::Tensor& x, CausalCache* cache) const;
};

/// Wan's causal video autoencoder (diffusers' AutoencoderKLWan). Frames are [B, C, T, H, W] in [-1, 1], T = 1 + k
/// temporal_stride, H and W multiples of spatial_stride; latents are [B, z_dim, 1 + k, H / stride, W / stride], not
/// normalized. The input's dtype is the compute dtype (float32 weights are cast on the way), norms are float32. The
/// first frame passes every change of frame rate by itself, so one image is a clip of one frame. Source: Wan,
/// arXiv:2503.20314.
class WanVae {
 public:
  using FrameSink = std::function<void(const at::Tensor& frames)>;

  explicit WanVae(WanVaeConfig config);
  /// Initial values: each causal convolution starts as a 2D one, changes of frame rate as keep and repeat, the mean
  /// with a deviation of about 2, the log-variance at -6.
  void params(ParamList& out, const std::string& prefix = "");

  /// The whole clip at once: fastest for short clips, differentiable.
  WanMoments encode(const at::Tensor& frames) const;
  /// The same result frame group by frame group; activations do not grow with the clip's length.
  WanMoments encode_chunks(const at::Tensor& frames) const;

  /// Like encode_chunks, but everything above the latents' resolution runs in tiles of `tile` pixels a side, whose
  /// overlap is wider than what a latent pixel sees, so that the result is the same up to rounding. `pause` is called
  /// between tiles. Throws c10::Error for tiles of fewer than kSmallestTile latent pixels, and for an encoder with
  /// attention in its levels.
  WanMoments encode_tiles(const at::Tensor& frames, int64_t tile, const std::function<void()>& pause = {}) const;

  /// The whole clip at once, clamped to [-1, 1].
  at::Tensor decode(const at::Tensor& latents) const;
  /// Like decode without the clamp, whose gradient is zero outside: for training.
  at::Tensor decode_unclamped(const at::Tensor& latents) const;
  /// The same frames as decode, one latent frame at a time: `sink` gets 1 frame first, then temporal_stride at a time.
  /// Memory does not grow with the clip's length. For inference: call it without gradients.
  void decode_chunks(const at::Tensor& latents, const FrameSink& sink) const;

  /// Like decode_chunks, but everything above the latents' resolution runs in tiles of `tile` pixels a side (rounded
  /// down to whole latent pixels), which overlap and are blended linearly: see wan_vae_tiles.cpp for what that bounds.
  /// Frames no larger than a tile are what decode_chunks gives; others reach `sink` in float32. `pause` is called
  /// between tiles. Throws c10::Error for tiles of fewer than kSmallestTile latent pixels.
  void decode_tiles(const at::Tensor& latents, int64_t tile, const FrameSink& sink,
                    const std::function<void()>& pause = {}) const;
  static constexpr int64_t kSmallestTile = 24;

  const WanVaeConfig& config() const { return config_; }

 private:
  at::Tensor moments(const at::Tensor& frames, CausalCache* cache) const;
  void check_frames(const at::Tensor& frames) const;
  at::Tensor pixels(const at::Tensor& latents, CausalCache* cache) const;
  /// Frames as the encoder takes them.
  at::Tensor encoder_input(const at::Tensor& frames) const;
  /// Latents as the decoder takes them, and its features as frames.
  at::Tensor decoder_input(const at::Tensor& latents) const;
  at::Tensor frames_of(const at::Tensor& features) const;

  WanVaeConfig config_;
  WanVaeEncoder encoder_;
  WanVaeDecoder decoder_;
  PointConv quant_conv_, post_quant_conv_;
};

}  // namespace tessera
