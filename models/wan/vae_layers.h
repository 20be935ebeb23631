#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/params.h"
#include "kernels/frame_conv.h"
#include "models/wan/vae_norm.h"

// The layers of Wan's causal video autoencoder. Features are contiguous [B, T, H, W, C], the memory order in which
// convolutions are fastest on a CPU (channels last), so that a permuted view serves 2D and 3D convolutions without a
// copy.
namespace tessera {

/// Features that causal layers keep from one chunk of a clip to the next: at most two frames a layer, whatever the
/// clip's length. Layers take their slots in the order they run, so one cache serves one network and one clip.
class CausalCache {
 public:
  /// To be called before every chunk.
  void begin_chunk();
  bool first_chunk() const { return chunks_ == 1; }
  /// x [B, T, ...] preceded by the frames that the calling layer kept; keeps the last `keep` frames of the result.
  at::Tensor extend(const at::Tensor& x, int64_t keep);
  /// The same in parts. Copies no frame where x has those to be kept in tensors of their own.
  FrameParts extend(const FrameParts& x, int64_t keep);
  /// Bytes of all kept frames.
  int64_t bytes() const;

 private:
  std::vector<FrameParts> slots_;
  size_t next_ = 0;
  int64_t chunks_ = 0;
};

/// Convolution over time, height and width that sees no later frame: kernel (kt, k, k), zero padding of kt - 1 frames
/// in front and k / 2 pixels around. x: [B, T, H, W, C] -> [B, T, H, W, C']. Weights are cast to x's dtype. By
/// frame_conv where there is one.
struct CausalConv3d {
  at::Tensor weight;         ///< [C', C, kt, k, k]
  at::Tensor bias;           ///< [C']
  FrameFilterCache filters;  ///< of weight
  bool plain = false;        ///< never by frame_conv: see WanResidualBlock

  /// Starts as a 2D convolution: every temporal tap but the last is zero, the last is normal with deviation gain /
  /// sqrt(C k k).
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels, int64_t time_kernel,
              int64_t kernel, double gain);
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels, int64_t time_kernel,
              int64_t kernel, Init weight_init, Init bias_init = Init::zeros());
  /// `cache` null: x is the whole clip. `residual`, where defined, is added.
  at::Tensor operator()(const FrameParts& x, CausalCache* cache, const at::Tensor& residual = {}) const;
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const { return (*this)(FrameParts{x}, cache); }
  /// Every second frame from kt frames without padding: [B, T, ...] -> [B, (T - kt) / 2 + 1, ...].
  at::Tensor every_second(const FrameParts& x) const;
};

/// Convolution with a 1 x 1 (x 1) kernel, a matrix product over channels.
struct PointConv {
  at::Tensor weight;  ///< [C', C, 1, 1] or [C', C, 1, 1, 1]
  at::Tensor bias;    ///< [C']

  /// `dims` 4 or 5: the rank of the checkpoint's weight.
  void params(ParamList& out, const std::string& prefix, int64_t in, int64_t out_channels, int64_t dims,
              Init weight_init, Init bias_init = Init::zeros());
  at::Tensor operator()(const at::Tensor& x) const;
};

/// norm, SiLU, convolution, twice, plus the input (through a point convolution when the widths differ).
struct WanResidualBlock {
  ChannelNorm norm1, norm2;
  CausalConv3d conv1, conv2;
  PointConv shortcut;
  int64_t in = 0, out = 0;

  /// `plain`: without Winograd's filtering, whose rounding errors matter where neighboring pixels do not resemble each
  /// other, at the latents' resolution. The few pixels there take little time.
  WanResidualBlock(int64_t in_channels, int64_t out_channels, bool plain = false) : in(in_channels), out(out_channels) {
    conv1.plain = conv2.plain = plain;
  }
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
};

/// Self-attention of one head over the pixels of each frame, plus the input.
struct WanFrameAttention {
  ChannelNorm norm;
  PointConv to_qkv, proj;
  int64_t channels = 0;

  explicit WanFrameAttention(int64_t width) : channels(width) {}
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
};

/// Halves height and width; with `temporal`, every pair of frames after the clip's first becomes one.
struct WanDownsample {
  at::Tensor weight, bias;  ///< [C, C, 3, 3], [C]
  CausalConv3d time_conv;   ///< only with `temporal`
  int64_t channels = 0;
  bool temporal = false;

  WanDownsample(int64_t width, bool with_time) : channels(width), temporal(with_time) {}
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
};

/// Doubles height and width; with `temporal`, every frame after the clip's first becomes two.
struct WanUpsample {
  at::Tensor weight, bias;   ///< [C', C, 3, 3], [C']
  FrameFilterCache filters;  ///< of weight
  CausalConv3d time_conv;    ///< only with `temporal`: C -> 2 C, the two frames' channels one after the other
  int64_t channels = 0, out = 0;
  bool temporal = false;

  WanUpsample(int64_t width, int64_t out_channels, bool with_time)
      : channels(width), out(out_channels), temporal(with_time) {}
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
};

/// x [B, T, H, W, C] -> [B, ceil(T / time), H / space, W / space, channels]: the values of each cell of `time` frames
/// and `space` pixels a side become channels, color slowest, and neighbors among them are averaged. Missing first
/// frames of a cell are zero. Source: Wan 2.2's AvgDown3D.
at::Tensor average_cells(const at::Tensor& x, int64_t channels, int64_t time, int64_t space);

/// The reverse, x [B, T, H, W, C] -> [B, T time, H space, W space, channels]: channels are repeated and spread over a
/// cell. Source: Wan 2.2's DupUp3D, which drops the first time - 1 frames of a clip; this does not.
at::Tensor spread_cells(const at::Tensor& x, int64_t channels, int64_t time, int64_t space);

/// A level of Wan 2.2's encoder: residual blocks and, but for the last level, a downsampling, plus the averaged input.
struct WanResidualDown {
  std::vector<WanResidualBlock> resnets;
  std::vector<WanDownsample> downsamplers;  ///< one, or none in the last level

  WanResidualDown(int64_t in, int64_t out, int64_t blocks, bool down, bool with_time);
  void params(ParamList& list, const std::string& prefix);
  at::Tensor operator()(const at::Tensor& x, CausalCache* cache) const;
};

/// Whether what comes next begins a clip: always without a cache.
bool starts_clip(const CausalCache* cache);

}  // namespace tessera
