#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <vector>

#include "core/params.h"

namespace tessera {

/// The sizes of a tiny decoder, which its tensors tell.
struct TinyDecoderConfig {
  int64_t z_dim = 16;
  int64_t patch_size = 1;                             ///< pixel shuffle after the last layer
  std::array<int64_t, 4> widths{256, 128, 64, 64};    ///< of the levels
  std::array<int64_t, 3> frames_per_latent{1, 2, 2};  ///< frames that each level makes of one

  int64_t spatial_stride() const { return 8 * patch_size; }
};

/// The decoder of a tiny autoencoder for videos (TAEHV; taew2_1 is that of Wan 2.1): a few convolutions per level, of
/// which each block also sees what it saw of the frame before. For previews it makes one picture of each latent frame,
/// the last of those that the network would make of it. Latents are normalized, as samplers have them.
/// Source: TAEHV by Ollin Boer Bohan, https://github.com/madebyollin/taehv; parity target its decoder without
/// temporal upscaling.
class TinyDecoder {
 public:
  using PictureSink = std::function<void(int64_t frame, const at::Tensor& picture)>;

  explicit TinyDecoder(const TinyDecoderConfig& config);
  /// Lists prefix + "decoder.1.weight" and so on: places in the reference's sequence of layers.
  void params(ParamList& out, const std::string& prefix = "");

  /// latents [1, z_dim, t, h, w], one frame after another: `sink` gets each as [1, 3, H, W] in [0, 1], in the latents'
  /// dtype; memory does not grow with t.
  void operator()(const at::Tensor& latents, const PictureSink& sink) const;

  const TinyDecoderConfig& config() const { return config_; }

 private:
  struct Convolution {
    at::Tensor weight, bias;  ///< [out, in, k, k], [out]; bias undefined for some
    at::Tensor operator()(const at::Tensor& x) const;
  };
  /// Three convolutions over this frame and the one before, plus the input.
  struct MemoryBlock {
    std::array<Convolution, 3> layers;
    at::Tensor operator()(const at::Tensor& x, const at::Tensor& before) const;
  };
  struct Level {
    std::array<MemoryBlock, 3> blocks;
    Convolution grow;  ///< to frames_per_latent frames, of which the last is used
    Convolution next;  ///< to the next level's width
  };
  using Memory = std::vector<at::Tensor>;  // what each memory block saw of the frame before; undefined at first

  at::Tensor frame(const at::Tensor& latent, Memory& memory) const;

  TinyDecoderConfig config_;
  Convolution first_, last_;
  std::array<Level, 3> levels_;
};

}  // namespace tessera
