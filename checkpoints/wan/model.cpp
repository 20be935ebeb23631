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
  check_class(folder.index.where(), folder.class_name, {"WanPipeline", "WanImageToVideoPipeline"});
  for (const auto& [name, classes] : supported_classes())
    check_class(folder.index.where() + ": " + name, folder.component(name).class_name, classes);
  if (const Component* low = folder.find("transformer_2"))
    check_class(folder.index.where() + ": transformer_2", low->class_name, {"WanTransformer3DModel"});
  if (const Component* image = folder.find("image_encoder"))
    check_class(folder.index.where() + ": image_encoder", image->class_name, {"CLIPVisionModel"});
}

/// The channels of noise, or of noise, a mask of a latent frame's frames, and latents of pictures.
void check_channels(const WanModel& model, const WanTransformerConfig& transformer, const std::string& where) {
  const int64_t z = model.vae.z_dim, with_image = 2 * z + model.vae.temporal_stride();
  const std::string got =
      ", got " + std::to_string(transformer.in_channels) + " and " + std::to_string(transformer.out_channels);
  if (transformer.out_channels != z || (transformer.in_channels != z && transformer.in_channels != with_image))
    throw Error(where + "in_channels and out_channels must be the autoencoder's z_dim, " + std::to_string(z) +
                " (in_channels of an image-to-video model " + std::to_string(with_image) + ")" + got);
}

/// Both experts are told the same, so they differ in nothing but their weights.
void check_experts(const WanModel& model, const std::string& where) {
  const JsonConfig& index = model.folder.index;
  if (!model.transformer_2) {
    if (model.boundary_ratio > 0)
      index.fail("boundary_ratio", "is for models with two denoisers, and transformer_2 is not listed");
    return;
  }
  if (!(model.boundary_ratio > 0 && model.boundary_ratio < 1))
    index.fail("boundary_ratio", "must be between 0 and 1 where transformer_2 is listed");
  const WanTransformerConfig &high = model.transformer, &low = *model.transformer_2;
  if (high.in_channels != low.in_channels || high.patch_size != low.patch_size || high.text_dim != low.text_dim ||
      high.image_dim != low.image_dim || high.image_positions != low.image_positions)
    throw Error(where +
                "in_channels, patch_size, text_dim, image_dim and pos_embed_seq_len must be those of transformer");
}

void check_image_encoder(const WanModel& model, const std::string& where) {
  const int64_t wanted = model.transformer.image_dim;
  if (wanted == 0) return;
  if (!model.image_encoder)
    throw Error(model.folder.index.where() +
                ": no image_encoder is listed, which this image-to-video model needs: want the folder image_encoder of "
                "its release");
  if (model.image_encoder->hidden_size != wanted)
    throw Error(where + "image_dim must be the image encoder's hidden_size, " +
                std::to_string(model.image_encoder->hidden_size) + ", got " + std::to_string(wanted));
  const int64_t states = model.image_encoder->tokens();
  if (model.needs_last_image() && model.transformer.image_positions != 2 * states)
    throw Error(where + "pos_embed_seq_len must be twice the image encoder's " + std::to_string(states) +
                " states, got " + std::to_string(model.transformer.image_positions));
}

void check_fit(const WanModel& model) {
  const auto& transformer = model.transformer;
  const auto where_of = [&](const std::string& part) { return model.folder.component(part).config().where() + ": "; };
  const std::string where = where_of("transformer");
  check_channels(model, transformer, where);
  if (model.transformer_2) check_channels(model, *model.transformer_2, where_of("transformer_2"));
  check_experts(model, model.transformer_2 ? where_of("transformer_2") : where);
  check_image_encoder(model, where);
  if (model.expand_timesteps && (model.needs_image() || transformer.patch_size[0] != 1))
    model.folder.index.fail("expand_timesteps",
                            "is for models whose in_channels are z_dim and whose patches are of a frame");
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

const char* part_name(WanExpert expert) {
  return expert == WanExpert::kHighNoise ? "transformer" : "transformer_2";
}

WanExpert WanModel::expert_at(double timestep) const {
  const bool low = transformer_2 && timestep < boundary_ratio * static_cast<double>(scheduler.train_steps);
  return low ? WanExpert::kLowNoise : WanExpert::kHighNoise;
}

int64_t WanModel::latent_frames_in(int64_t frames) const {
  const int64_t latent_frames = 1 + (frames - 1) / vae.temporal_stride();
  const int64_t patch = transformer.patch_size[0];
  return std::max(patch, latent_frames / patch * patch);
}

WanModel open_wan_model(const std::filesystem::path& path) {
  std::optional<ModelLayout> found = recognize_wan_model(path);
  const ModelLayout layout = found ? *std::move(found) : ModelLayout{"diffusers", open_model_dir(path), {}};
  layout.require_complete();
  const ModelDir folder = layout.model;
  check_classes(folder);
  const auto config_of = [&](const char* name) { return folder.component(name).config(); };
  std::optional<WanTransformerConfig> transformer_2;
  if (folder.find("transformer_2")) transformer_2 = WanTransformerConfig::from_json(config_of("transformer_2"));
  std::optional<ClipVisionConfig> image_encoder;
  if (folder.find("image_encoder")) image_encoder = ClipVisionConfig::from_json(config_of("image_encoder"));
  const JsonConfig index = folder.index;
  WanModel model{.folder = folder,
                 .scheduler = read_scheduler_config(config_of("scheduler")),
                 .text_encoder = Umt5Config::from_json(config_of("text_encoder")),
                 .transformer = WanTransformerConfig::from_json(config_of("transformer")),
                 .transformer_2 = transformer_2,
                 .boundary_ratio = index.number("boundary_ratio", 0.0),
                 .expand_timesteps = index.boolean("expand_timesteps", false),
                 .image_encoder = image_encoder,
                 .vae = WanVaeConfig::from_json(config_of("vae"))};
  check_fit(model);
  return model;
}

void check_weights(const WanModel& model) {
  constexpr WeightCheck all = WeightCheck::kNumbers;
  check_part<WanTransformer>(read_component(model.folder.component("transformer")), model.transformer, all);
  if (model.transformer_2)
    check_part<WanTransformer>(read_component(model.folder.component("transformer_2")), *model.transformer_2, all);
  check_part<WanVae>(read_component(model.folder.component("vae")), model.vae, all);
  if (model.image_encoder)
    check_part<ClipVision>(read_component(model.folder.component("image_encoder")), *model.image_encoder, all);
}

Loaded<Umt5Encoder> load_text_encoder(const WanModel& model, const std::string& dtype, at::Device device, bool stream) {
  return load_part<Umt5Encoder>(read_component(model.folder.component("text_encoder")), model.text_encoder,
                                text_encoder_dtype(dtype, has_fast_bfloat16(device)), device, stream);
}

Loaded<WanTransformer> load_transformer(const WanModel& model, const std::string& dtype, at::Device device, bool stream,
                                        WanExpert expert) {
  const WanTransformerConfig& config = expert == WanExpert::kLowNoise ? *model.transformer_2 : model.transformer;
  return load_denoiser<WanTransformer>(read_component(model.folder.component(part_name(expert))), config, dtype, device,
                                       stream);
}

Loaded<ClipVision> load_image_encoder(const WanModel& model, const std::string& dtype, at::Device device) {
  return load_part<ClipVision>(read_component(model.folder.component("image_encoder")), *model.image_encoder, dtype,
                               device);
}

Loaded<WanVae> load_vae(const WanModel& model, const std::string& dtype, at::Device device) {
  return load_part<WanVae>(read_component(model.folder.component("vae")), model.vae, autoencoder_dtype(dtype, device),
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
