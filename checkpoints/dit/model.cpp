#include "checkpoints/dit/model.h"

#include <ATen/ATen.h>

#include "checkpoints/dit/checkpoint.h"
#include "core/error.h"
#include "core/text.h"

namespace tessera {
namespace {

/// Refuses components of other classes by name. Transformer2DModel is what diffusers called DiT's network before it had
/// a class of its own.
void check_class(const ModelDir& folder, const std::string& name, const std::vector<std::string>& classes) {
  const std::string found = folder.component(name).class_name;
  for (const std::string& supported : classes)
    if (found == supported) return;
  throw Error(folder.index.where() + ": " + name + ": class " + found + " is not supported; want " + classes.front());
}

void check_fit(const DitModel& model) {
  const std::string vae = model.folder.component("vae").config().where();
  if (model.vae.latent_channels != model.transformer.in_channels)
    throw Error(vae + ": latents have " + counted(model.vae.latent_channels, "channel") + ", but " +
                model.folder.path.string() + " makes latents of " + std::to_string(model.transformer.in_channels) +
                "; pass the autoencoder that belongs to the model with --vae PATH");
  if (model.vae.out_channels != 3)
    throw Error(vae + ": out_channels must be 3 (RGB), got " + std::to_string(model.vae.out_channels));
  if (model.scheduler.flow())
    throw Error(model.folder.component("scheduler").config().where() +
                ": want a diffusion scheduler (prediction_type epsilon, sample or v_prediction)");
}

ClassNames read_class_names(const ModelDir& folder, int64_t classes) {
  if (!folder.index.has("id2label"))
    return classes == ClassNames::imagenet().size() ? ClassNames::imagenet() : ClassNames({});
  const JsonConfig labels = folder.index.object("id2label");
  std::vector<std::string> lines(static_cast<size_t>(classes));
  for (const auto& [key, name] : labels.json().items()) {
    if (!name.is_string()) labels.fail(key, "must be a string");
    const bool number = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!number || std::stoll(key) >= classes)
      labels.fail(key, "must be the number of a class, 0 to " + std::to_string(classes - 1));
    lines[static_cast<size_t>(std::stoll(key))] = name.get<std::string>();
  }
  return ClassNames(std::move(lines));
}

}  // namespace

DitModel open_dit_model(const std::filesystem::path& path, const ModelOptions& options) {
  auto layout = recognize_dit_layout(path, options);
  if (!layout) throw Error(path.string() + " is not a class-conditional model (DiT)");
  layout->require_complete();
  ModelDir& folder = layout->model;
  check_class(folder, "transformer", {"DiTTransformer2DModel", "Transformer2DModel"});
  check_class(folder, "vae", {"AutoencoderKL"});
  const SamplerConfig scheduler = read_scheduler_config(folder.component("scheduler").config());
  const DitConfig transformer = DitConfig::from_json(folder.component("transformer").config());
  const AutoencoderKlConfig vae = AutoencoderKlConfig::from_json(folder.component("vae").config());
  ClassNames classes = read_class_names(folder, transformer.num_embeds_ada_norm);
  DitModel model{.folder = std::move(folder),
                 .layout = layout->name,
                 .scheduler = scheduler,
                 .transformer = transformer,
                 .vae = vae,
                 .classes = std::move(classes),
                 .notes = layout->notes};
  check_fit(model);
  return model;
}

TensorFile read_dit_transformer(const Component& part) {
  Component renamed = part;
  renamed.class_name = "DiTTransformer2DModel";
  const TensorFile file = read_component(renamed);
  if (!part.settings || part.settings->text("position_order", "raster") != "blocks") return file;
  std::map<std::string, at::Tensor> tensors = file.tensors();
  at::Tensor& positions = tensors.at("pos_embed.pos_embed");
  positions = positions.index_select(1, block_order(DitConfig::from_json(*part.settings)).argsort());
  return {std::move(tensors), file.where(), file.metadata()};
}

void check_weights(const DitModel& model) {
  constexpr WeightCheck all = WeightCheck::kNumbers;
  check_part<Dit>(read_dit_transformer(model.folder.component("transformer")), model.transformer, all);
  check_part<AutoencoderKl>(read_component(model.folder.component("vae")), model.vae, all);
}

Loaded<Dit> load_transformer(const DitModel& model, const std::string& dtype, at::Device device, bool stream) {
  return load_denoiser<Dit>(read_dit_transformer(model.folder.component("transformer")), model.transformer, dtype,
                            device, stream);
}

Loaded<AutoencoderKl> load_vae(const DitModel& model, const std::string& dtype, at::Device device) {
  return load_part<AutoencoderKl>(read_component(model.folder.component("vae")), model.vae,
                                  autoencoder_dtype(dtype, device), device);
}

}  // namespace tessera
