#include "checkpoints/dit/layout.h"

#include "checkpoints/dit/checkpoint.h"
#include "core/error.h"
#include "core/paths.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Stable Diffusion's autoencoder, sd-vae-ft-mse and -ema.
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

/// The diffusion both codes train with, and the way they visit its timesteps. The sampler itself is in the index.
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

ModelLayout checkpoint_layout(const fs::path& path, const DitOptions& options) {
  const DitCheckpoint checkpoint = read_dit_checkpoint(path, options.block_size);
  const bool mhla = checkpoint.config.attention.kind == AttentionKind::kMhla;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  json transformer = checkpoint.config.to_json();
  if (checkpoint.block_positions) transformer["position_order"] = "blocks";
  ModelDir model{path, "DiTPipeline", {original_index(checkpoint), path.string()}, {}};
  model.components.push_back(
      {"transformer", "diffusers", "DiTTransformer2DModel", folder, {path}, JsonConfig(transformer, path.string())});
  model.components.push_back({"scheduler",
                              "diffusers",
                              "DDIMScheduler",
                              folder,
                              {},
                              JsonConfig(original_scheduler(checkpoint.config), path.string())});
  ModelLayout layout{mhla ? "dit-mhla" : "dit", std::move(model), {}};
  layout.notes = checkpoint.notes;
  return layout;
}

}  // namespace

bool is_dit_model(const fs::path& path) {
  const fs::path index = path / "model_index.json";
  if (!is_file(index)) return is_dit_checkpoint(path);
  const JsonConfig config = JsonConfig::read(index);
  return config.has("_class_name") && config.text("_class_name") == "DiTPipeline";
}

Component open_autoencoder_kl(const fs::path& path) {
  if (is_file(path)) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    Component part{"vae", "diffusers", "AutoencoderKL", folder, {path}, {}};
    part.settings = JsonConfig(stable_diffusion_vae(), path.string() + " (of Stable Diffusion's sizes)");
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

std::optional<ModelLayout> recognize_dit_layout(const fs::path& path, const DitOptions& options) {
  if (!is_dit_model(path)) return std::nullopt;
  ModelLayout layout =
      is_file(path) ? checkpoint_layout(path, options) : ModelLayout{"diffusers", open_model_dir(path), {}};
  if (!is_file(path) && options.block_size)
    throw Error(path.string() + " says its blocks in transformer/config.json: leave --block-size out");
  auto& components = layout.model.components;
  if (!options.vae.empty()) {
    std::erase_if(components, [](const Component& part) { return part.name == "vae"; });
    components.push_back(open_autoencoder_kl(options.vae));
  }
  if (!layout.model.find("vae"))
    layout.missing.push_back(
        "it comes without an autoencoder; give Stable Diffusion's, such as the folder or file of sd-vae-ft-mse, with "
        "--vae PATH");
  return layout;
}

}  // namespace tessera
