#include "checkpoints/wan/model.h"

#include <algorithm>
#include <map>

#include "checkpoints/wan/layouts.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

/// Component -> its supported classes.
const std::map<std::string, std::vector<std::string>>& supported_classes() {
  static const std::map<std::string, std::vector<std::string>> classes = {
      {"text_encoder", {"UMT5EncoderModel"}},
      {"tokenizer", {"T5Tokenizer", "T5TokenizerFast"}},
      {"transformer", {"WanTransformer3DModel"}},
      {"vae", {"AutoencoderKLWan"}},
  };
  return classes;
}

void check_class(const std::string& where, const std::string& found, const std::vector<std::string>& supported) {
  if (std::find(supported.begin(), supported.end(), found) != supported.end()) return;
  throw Error(where + ": class " + found + " is not supported; want " + joined(supported, " or "));
}

void check_classes(const ModelDir& folder) {
  check_class(folder.index.where(), folder.class_name, {"WanPipeline"});
  for (const auto& [name, classes] : supported_classes())
    check_class(folder.index.where() + ": " + name, folder.component(name).class_name, classes);
  if (folder.find("transformer_2"))
    throw Error(folder.index.where() +
                ": transformer_2 is listed: models with two denoisers (Wan 2.2) are not supported; use Wan 2.1");
}

void check_fit(const WanModel& model) {
  const auto& transformer = model.transformer;
  const auto where_of = [&](const std::string& part) { return model.folder.component(part).config().where() + ": "; };
  const std::string where = where_of("transformer");
  if (transformer.in_channels != model.vae.z_dim || transformer.out_channels != model.vae.z_dim)
    throw Error(where + "in_channels and out_channels must be the autoencoder's z_dim, " +
                std::to_string(model.vae.z_dim) + ", got " + std::to_string(transformer.in_channels) + " and " +
                std::to_string(transformer.out_channels));
  if (transformer.text_dim != model.text_encoder.d_model)
    throw Error(where + "text_dim must be the text encoder's d_model, " + std::to_string(model.text_encoder.d_model) +
                ", got " + std::to_string(transformer.text_dim));
  if (!model.scheduler.flow())
    throw Error(where_of("scheduler") + "want a flow-matching scheduler (prediction_type flow_prediction)");
  if (model.vae.image_channels() != 3)
    throw Error(where_of("vae") + "out_channels must be 3 (RGB), got " + std::to_string(model.vae.image_channels()));
}

std::filesystem::path spiece_model(const Component& tokenizer) {
  std::error_code ignored;
  const bool other_form = !std::filesystem::exists(tokenizer.folder / "spiece.model", ignored) &&
                          std::filesystem::exists(tokenizer.folder / "tokenizer.json", ignored);
  if (other_form)
    throw Error(tokenizer.folder.string() +
                " has only tokenizer.json, which is not supported: put spiece.model of google/umt5-xxl beside it");
  return tokenizer.file("spiece.model");
}

}  // namespace

int64_t WanModel::latent_frames_in(int64_t frames) const {
  const int64_t latent_frames = 1 + (frames - 1) / vae.temporal_stride();
  const int64_t patch = transformer.patch_size[0];
  return std::max(patch, latent_frames / patch * patch);
}

WanModel open_wan_model(const std::filesystem::path& path) {
  std::optional<ModelLayout> found = recognize_wan_model(path);
  const ModelLayout layout = found ? *std::move(found) : ModelLayout{"diffusers", open_model_dir(path), {}};
  layout.require_complete();
  ModelDir folder = layout.model;
  check_classes(folder);
  const SamplerConfig scheduler = read_scheduler_config(folder.component("scheduler").config());
  const Umt5Config text_encoder = Umt5Config::from_json(folder.component("text_encoder").config());
  const WanTransformerConfig transformer = WanTransformerConfig::from_json(folder.component("transformer").config());
  const WanVaeConfig vae = WanVaeConfig::from_json(folder.component("vae").config());
  WanModel model{.folder = std::move(folder),
                 .scheduler = scheduler,
                 .text_encoder = text_encoder,
                 .transformer = transformer,
                 .vae = vae};
  check_fit(model);
  return model;
}

void check_weights(const WanModel& model) {
  constexpr WeightCheck all = WeightCheck::kNumbers;
  check_part<WanTransformer>(read_component(model.folder.component("transformer")), model.transformer, all);
  check_part<WanVae>(read_component(model.folder.component("vae")), model.vae, all);
}

Loaded<Umt5Encoder> load_text_encoder(const WanModel& model, const std::string& dtype, at::Device device, bool stream) {
  return load_part<Umt5Encoder>(read_component(model.folder.component("text_encoder")), model.text_encoder, dtype,
                                device, stream);
}

Loaded<WanTransformer> load_transformer(const WanModel& model, const std::string& dtype, at::Device device,
                                        bool stream) {
  return load_part<WanTransformer>(read_component(model.folder.component("transformer")), model.transformer, dtype,
                                   device, stream);
}

Loaded<WanVae> load_vae(const WanModel& model, const std::string& dtype, at::Device device) {
  return load_part<WanVae>(read_component(model.folder.component("vae")), model.vae, dtype == "auto" ? "fp32" : dtype,
                           device);
}

Tokenizer load_tokenizer(const WanModel& model) {
  const std::filesystem::path file = spiece_model(model.folder.component("tokenizer"));
  Tokenizer tokenizer(file);
  if (tokenizer.vocab_size() > model.text_encoder.vocab_size)
    throw Error(file.string() + " has " + std::to_string(tokenizer.vocab_size()) +
                " pieces, more than the text encoder's vocab_size " + std::to_string(model.text_encoder.vocab_size) +
                "; use the tokenizer that belongs to the text encoder");
  return tokenizer;
}

}  // namespace tessera
