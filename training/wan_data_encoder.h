#pragma once

#include <optional>

#include "checkpoints/wan/model.h"
#include "training/data_encoder.h"

namespace tessera {

EncodedBy encoded_by(const WanModel& model);

/// Throws Error for models that cannot be trained: those that make videos of pictures, those with two transformers, and
/// those whose patches cover several latent frames.
void require_trainable(const WanModel& model);

/// Wan: clips and pictures of several sizes, captions as states of UMT5. Either network is in memory only while it is
/// used.
class WanDataEncoder : public DataEncoder {
 public:
  WanDataEncoder(const std::filesystem::path& model, std::string dtype, at::Device device);

  PrepareRequest completed(PrepareRequest request) const override;
  std::vector<FrameSize> buckets(const FrameSize& size) const override;
  int64_t temporal_stride() const override { return model_.vae.temporal_stride(); }
  CaptionSource caption_source() const override { return CaptionSource::kTexts; }
  std::string refusal(const DataItem&) const override { return ""; }
  EncodedBy encoded_by() const override { return tessera::encoded_by(model_); }
  int64_t text_length() const override;
  at::Tensor encode_frames(const at::Tensor& frames) override;
  std::string read_caption(const std::string& caption) const override;
  int64_t unused_tokens(const std::string& read) override;
  at::Tensor encode_caption(const std::string& read) override;

 private:
  void check_sizes(const PrepareRequest& request) const;

  WanModel model_;
  std::string dtype_;
  at::Device device_;
  Tokenizer tokenizer_;
  std::optional<Loaded<WanVae>> vae_;
  std::optional<Loaded<Umt5Encoder>> text_encoder_;
};

/// The latents that a transformer of Wan sees for those of its autoencoder, [z, t, h, w], and back.
at::Tensor normalized_latents(const WanVaeConfig& config, const at::Tensor& latents);
at::Tensor plain_latents(const WanVaeConfig& config, const at::Tensor& normalized);

}  // namespace tessera
