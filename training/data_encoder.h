#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "training/prepare.h"

namespace tessera {

/// Which networks encoded a cache: what must be equal where it is used.
struct EncodedBy {
  std::string vae, text_encoder;  ///< fingerprints, see component_fingerprint

  /// Throws Error when the cache is by other networks than those of the model `where`.
  void check(const DataCache& cache, const std::string& where) const;
};

/// What `tessera train prepare` asks of a model, whatever its family: what its transformer is trained with.
class DataEncoder {
 public:
  virtual ~DataEncoder() = default;

  /// The request with the model's defaults where it says nothing. Throws Error for sizes that the model cannot have.
  virtual PrepareRequest completed(PrepareRequest request) const = 0;
  /// The sizes that frames are brought to.
  virtual std::vector<FrameSize> buckets(const FrameSize& size) const = 0;
  /// A clip has 1 + a multiple of so many frames.
  virtual int64_t temporal_stride() const = 0;
  virtual CaptionSource caption_source() const = 0;
  /// Why this model cannot be trained on an item; "" when it can.
  virtual std::string refusal(const DataItem& item) const = 0;

  virtual EncodedBy encoded_by() const = 0;
  virtual int64_t text_length() const = 0;  ///< DataCache::text_length
  /// [3, T, H, W] in [-1, 1] -> latents [z, t, h, w] as the transformer sees them.
  virtual at::Tensor encode_frames(const at::Tensor& frames) = 0;
  /// A caption as the model reads it; equal ones are encoded once. "" is no caption.
  virtual std::string read_caption(const std::string& caption) const = 0;
  /// How many tokens at the end of what read_caption returned are not used.
  virtual int64_t unused_tokens(const std::string& read) = 0;
  /// What read_caption returned as the transformer sees it, [1 to text_length, d] float32.
  virtual at::Tensor encode_caption(const std::string& read) = 0;
};

/// The encoder of a model directory of either family: Wan's autoencoder and text encoder, or DiT's autoencoder and
/// classes. `dtype` is that of the text encoder; autoencoders compute in float32. What is encoded comes and goes on the
/// CPU, whatever the device. Throws Error for any other path.
std::unique_ptr<DataEncoder> open_data_encoder(const std::filesystem::path& model, const std::string& dtype,
                                               at::Device device);

}  // namespace tessera
