#include "checkpoints/dit/layout.h"

#include "checkpoints/dit/checkpoint.h"
#include "checkpoints/hub_cache.h"
#include "core/error.h"
#include "core/paths.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Stable Diffusion's autoencoder, e.g. sd-vae-ft-mse and -ema.
json stable_diffusion_vae() {
  return {{"_class_name", "AutoencoderKL"},
          {"in_channels", 3},
          {"out_channels", 3},
          {"latent_channels", 4},
          {"block_out_channels", {128, 256, 512, 512}},
          {"layers_per_block", 2},
          {"norm_num_groups", 32},
          {"scaling_factor", 0.18215}};
}

/// The diffusion process that both codes train with, and their spacing of timesteps. The sampler itself is in the
/// index.
json original_scheduler(const DitConfig& config) {
  return {{"_class_name", "DDIMScheduler"},
          {"num_train_timesteps", 1000},
          {"beta_schedule", "linear"},
          {"beta_start", 0.0001},
          {"beta_end", 0.02},
          {"prediction_type", "epsilon"},
          {"timestep_spacing", "linspace"},
          {"respaced", true},
          {"clip_sample", false},
          {"set_alpha_to_one", true},
          {"variance_type", config.learns_variance() ? "learned_range" : "fixed_large"}};
}

json original_index(const DitCheckpoint& checkpoint) {
  const bool mhla = checkpoint.config.attention.kind == AttentionKind::kMhla;
  json index = {{"_class_name", "DiTPipeline"},
                {"generation_defaults",
                 {{"sampler", "ddpm"}, {"steps", 250}, {"cfg_scale", 4.0}, {"cfg_channels", mhla ? 0 : 3}}}};
  if (!checkpoint.class_names.is_null()) index["id2label"] = checkpoint.class_names;
  return index;
}

ModelLayout checkpoint_layout(const fs::path& path, const ModelOptions& options) {
  const DitCheckpoint checkpoint = read_dit_checkpoint(path, options.block_size);
  const bool mhla = checkpoint.config.attention.kind == AttentionKind::kMhla;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  json transformer = checkpoint.config.to_json();
  if (checkpoint.block_positions) transformer["position_order"] = "blocks";
  ModelDir model{.path = path,
                 .class_name = "DiTPipeline",
                 .index = {original_index(checkpoint), path.string()},
                 .components = {}};
  model.components.push_back({.name = "transformer",
                              .library = "diffusers",
                              .class_name = "DiTTransformer2DModel",
                              .folder = folder,
                              .files = {path},
                              .settings = JsonConfig(transformer, path.string())});
  model.components.push_back({.name = "scheduler",
                              .library = "diffusers",
                              .class_name = "DDIMScheduler",
                              .folder = folder,
                              .settings = JsonConfig(original_scheduler(checkpoint.config), path.string())});
  return {.name = mhla ? "dit-mhla" : "dit", .model = std::move(model), .missing = {}, .notes = checkpoint.notes};
}

bool is_dit_model(const fs::path& path) {
  const fs::path index = path / "model_index.json";
  if (!is_file(index)) return is_dit_checkpoint(path);
  const JsonConfig config = JsonConfig::read(index);
  return config.has("_class_name") && config.text("_class_name") == "DiTPipeline";
}

}  // namespace

Component open_autoencoder_kl(const fs::path& given) {
  const fs::path path = resolve_hub_cache(given);
  if (is_file(path)) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    Component part{
        .name = "vae", .library = "diffusers", .class_name = "AutoencoderKL", .folder = folder, .files = {path}};
    part.settings = JsonConfig(stable_diffusion_vae(), path.string() + " (assumed to be Stable Diffusion's)");
    if (!is_file(folder / "config.json")) return part;
    const JsonConfig config = JsonConfig::read(folder / "config.json");
    if (config.text("_class_name", "") == "AutoencoderKL") part.settings = config;
    return part;
  }
  Component part = open_component(is_file(path / "vae" / "config.json") ? path / "vae" : path);
  if (part.class_name != "AutoencoderKL")
    throw Error(part.folder.string() + " holds a " + part.class_name + "; --vae wants an AutoencoderKL");
  part.name = "vae";
  return part;
}

std::optional<ModelLayout> recognize_dit_layout(const fs::path& path, const ModelOptions& options) {
  if (!is_dit_model(path)) return std::nullopt;
  ModelLayout layout =
      is_file(path) ? checkpoint_layout(path, options) : ModelLayout{"diffusers", open_model_dir(path), {}};
  if (!is_file(path) && options.block_size)
    throw Error(path.string() + " has its block size in transformer/config.json: omit --block-size");
  auto& components = layout.model.components;
  if (!options.vae.empty()) {
    std::erase_if(components, [](const Component& part) { return part.name == "vae"; });
    components.push_back(open_autoencoder_kl(options.vae));
  }
  if (!layout.model.find("vae"))
    layout.missing.push_back(
        "it has no autoencoder; pass Stable Diffusion's, such as the folder or file of sd-vae-ft-mse, with --vae PATH");
  return layout;
}

}  // namespace tessera
