#include "training/dit_data_encoder.h"

#include <ATen/ATen.h>

#include "checkpoints/fingerprint.h"
#include "core/error.h"
#include "core/transfer.h"

namespace tessera {

EncodedBy encoded_by(const DitModel& model) {
  return {component_fingerprint(model.folder.component("vae")), std::to_string(model.class_count()) + " classes"};
}

DitDataEncoder::DitDataEncoder(const std::filesystem::path& model, at::Device device)
    : model_(open_dit_model(model, {})), device_(device) {}

PrepareRequest DitDataEncoder::completed(PrepareRequest request) const {
  const FrameSize own{model_.pixels(), model_.pixels()};
  if (request.size.width == 0) request.size = own;
  const std::string pixels = std::to_string(model_.pixels());
  if (!(request.size == own))
    throw Error("--width and --height must be " + pixels + " for this model, which has one size; leave them out");
  if (request.frames > 1) throw Error("--frames does not apply to this model: it makes pictures");
  if (request.fps.numerator != 0) throw Error("--fps does not apply to this model: it makes pictures");
  request.frames = 1;
  request.fps = {1, 1};
  return request;
}

std::string DitDataEncoder::refusal(const DataItem& item) const {
  if (item.medium == Medium::kVideo) return "it is a video, and the model makes pictures";
  try {
    read_caption(item.caption);
  } catch (const Error& error) {
    return std::string("its caption is not a class of the model: ") + error.what();
  }
  return "";
}

at::Tensor DitDataEncoder::encode_frames(const at::Tensor& frames) {
  if (!vae_) vae_.emplace(load_vae(model_, "fp32", device_));
  const at::Tensor mean = vae_->part.encode(uploaded(frames.transpose(0, 1), device_)).mean.cpu();  // [1, z, h, w]
  return ((mean - model_.vae.shift_factor) * model_.vae.scaling_factor).transpose(0, 1).contiguous();
}

std::string DitDataEncoder::read_caption(const std::string& caption) const {
  return caption.empty() ? "" : std::to_string(model_.classes.find(caption, model_.class_count()));
}

at::Tensor DitDataEncoder::encode_caption(const std::string& read) {
  const int64_t number = read.empty() ? model_.class_count() : std::stoll(read);
  return at::full({1, 1}, number, at::kFloat);
}

}  // namespace tessera
