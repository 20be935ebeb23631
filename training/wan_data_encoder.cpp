#include "training/wan_data_encoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "checkpoints/fingerprint.h"
#include "core/error.h"
#include "core/transfer.h"
#include "models/umt5/prompt_clean.h"

namespace tessera {
namespace {

at::Tensor per_latent_channel(const std::vector<double>& values, at::Device device) {
  return uploaded(at::tensor(values, at::kFloat).view({-1, 1, 1, 1}), device);
}

JsonConfig generation_defaults(const WanModel& model) {
  const JsonConfig& index = model.folder.index;
  return index.has("generation_defaults") ? index.object("generation_defaults")
                                          : JsonConfig(nlohmann::json::object(), "");
}

}  // namespace

EncodedBy encoded_by(const WanModel& model) {
  return {component_fingerprint(model.folder.component("vae")),
          component_fingerprint(model.folder.component("text_encoder"))};
}

void require_trainable(const WanModel& model) {
  const std::string where = model.folder.path.string();
  if (model.needs_image()) throw Error(where + ": makes videos of pictures; only models of text can be trained");
  if (model.transformer_2)
    throw Error(where + ": has a transformer for each half of the noise levels; such models cannot be trained");
  if (model.transformer.patch_size[0] != 1)
    throw Error(where + ": its patches cover several latent frames; such models cannot be trained");
}

at::Tensor normalized_latents(const WanVaeConfig& config, const at::Tensor& latents) {
  const at::Device device = latents.device();
  return (latents - per_latent_channel(config.latents_mean, device)) / per_latent_channel(config.latents_std, device);
}

at::Tensor plain_latents(const WanVaeConfig& config, const at::Tensor& normalized) {
  const at::Device device = normalized.device();
  return normalized * per_latent_channel(config.latents_std, device) + per_latent_channel(config.latents_mean, device);
}

WanDataEncoder::WanDataEncoder(const std::filesystem::path& model, std::string dtype, at::Device device)
    : model_(open_wan_model(model)), dtype_(std::move(dtype)), device_(device), tokenizer_(load_tokenizer(model_)) {
  require_trainable(model_);
}

PrepareRequest WanDataEncoder::completed(PrepareRequest request) const {
  const JsonConfig own = generation_defaults(model_);
  if (request.size.width == 0) request.size = {own.integer("width", 832), own.integer("height", 480)};
  if (request.frames == 0) request.frames = own.integer("frames", 81);
  if (request.fps.numerator == 0) {
    const bool whole = !own.has("fps") || own.json().at("fps").is_number_integer();
    request.fps =
        whole ? FrameRate{own.integer("fps", 16), 1} : parse_frame_rate(own.text("fps")).value_or(FrameRate{16, 1});
  }
  check_sizes(request);
  return request;
}

void WanDataEncoder::check_sizes(const PrepareRequest& request) const {
  const int64_t stride = temporal_stride();
  if (request.frames < 1 || (request.frames - 1) % stride != 0)
    throw Error("--frames must be 1 + a multiple of " + std::to_string(stride) + ", got " +
                std::to_string(request.frames) + "; the nearest is " +
                std::to_string(1 + std::max<int64_t>(0, request.frames - 1) / stride * stride));
  if (request.size.width < 1 || request.size.width % model_.width_multiple() != 0 || request.size.height < 1 ||
      request.size.height % model_.height_multiple() != 0)
    throw Error("--width and --height must be multiples of " + std::to_string(model_.width_multiple()) + " and " +
                std::to_string(model_.height_multiple()) + " for this model, got " +
                std::to_string(request.size.width) + "x" + std::to_string(request.size.height));
}

std::vector<FrameSize> WanDataEncoder::buckets(const FrameSize& size) const {
  // Sides about an eighth of a frame apart.
  const int64_t multiple = std::lcm(model_.width_multiple(), model_.height_multiple());
  const double side = std::sqrt(static_cast<double>(size.width * size.height));
  return bucket_sizes(size, std::max<int64_t>(1, static_cast<int64_t>(side / 8) / multiple) * multiple);
}

int64_t WanDataEncoder::text_length() const {
  return generation_defaults(model_).integer("max_sequence_length", DataCache().text_length);
}

at::Tensor WanDataEncoder::encode_frames(const at::Tensor& frames) {
  if (!vae_) vae_.emplace(load_vae(model_, "fp32", device_));
  const at::Tensor mean = vae_->part.encode_chunks(uploaded(frames.unsqueeze(0), device_)).mean[0].cpu();
  return normalized_latents(model_.vae, mean).contiguous();
}

std::string WanDataEncoder::read_caption(const std::string& caption) const {
  return clean_prompt(caption);
}

int64_t WanDataEncoder::unused_tokens(const std::string& read) {
  return std::max<int64_t>(0, static_cast<int64_t>(tokenizer_.encode(read).size()) - text_length());
}

at::Tensor WanDataEncoder::encode_caption(const std::string& read) {
  vae_.reset();  // its memory is the text encoder's now
  if (!text_encoder_) text_encoder_.emplace(load_text_encoder(model_, dtype_, device_));
  const at::Tensor ids = at::tensor(tokenizer_.encode(read, text_length()), at::kLong).unsqueeze(0);
  return text_encoder_->part.forward(uploaded(ids, device_), {})[0].cpu().contiguous();
}

}  // namespace tessera
