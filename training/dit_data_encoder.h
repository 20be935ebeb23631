#pragma once

#include <optional>

#include "checkpoints/dit/model.h"
#include "training/data_encoder.h"

namespace tessera {

EncodedBy encoded_by(const DitModel& model);

/// DiT: pictures of the model's one size, captions that are classes: their name or number. A cache's text states are
/// the number of the class, [1, 1]; without a caption it is that of the class of none.
class DitDataEncoder : public DataEncoder {
 public:
  DitDataEncoder(const std::filesystem::path& model, at::Device device);

  PrepareRequest completed(PrepareRequest request) const override;
  std::vector<FrameSize> buckets(const FrameSize& size) const override { return {size}; }
  int64_t temporal_stride() const override { return 1; }
  CaptionSource caption_source() const override { return CaptionSource::kFolders; }
  std::string refusal(const DataItem& item) const override;
  EncodedBy encoded_by() const override { return tessera::encoded_by(model_); }
  int64_t text_length() const override { return 1; }
  at::Tensor encode_frames(const at::Tensor& frames) override;
  std::string read_caption(const std::string& caption) const override;
  int64_t unused_tokens(const std::string&) override { return 0; }
  at::Tensor encode_caption(const std::string& read) override;

 private:
  DitModel model_;
  at::Device device_;
  std::optional<Loaded<AutoencoderKl>> vae_;
};

}  // namespace tessera
