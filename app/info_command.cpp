#include <algorithm>
#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "checkpoints/bundled_model.h"
#include "checkpoints/file_info.h"
#include "checkpoints/lora_info.h"
#include "checkpoints/model_info.h"
#include "core/error.h"
#include "core/paths.h"
#include "core/printable.h"
#include "media/file_types.h"
#include "pipelines/families/families.h"
#include "pipelines/file_recipe.h"
#include "weights/safetensors.h"
#include "weights/shown.h"

namespace tessera {
namespace {

struct InfoOptions {
  std::string model;
  ModelOptions layout;
  bool json = false;
  bool tensors = false;
};

/// Whether `path` is named as an output, or holds latents that generate or batch saved.
bool may_hold_recipe(const std::filesystem::path& path) {
  if (is_picture_file(path) || is_video_file(path)) return true;
  if (path.extension() != ".safetensors" || !is_file(path)) return false;
  try {
    return read_safetensors(path).metadata().count("tessera") > 0;
  } catch (const Error&) {
    return false;  // told with what else is wrong with the file
  }
}

nlohmann::ordered_json to_json(const FileRecipe& recipe, const std::string& path) {
  nlohmann::ordered_json out = {{"file", path}};
  if (!recipe.version.empty()) out["version"] = recipe.version;
  if (!recipe.model_fingerprint.empty()) out["model_fingerprint"] = recipe.model_fingerprint;
  out["job"] = recipe_json(recipe.job);
  if (!recipe.notes.empty()) out["notes"] = recipe.notes;
  return out;
}

std::string to_text(const FileRecipe& recipe, const std::string& path) {
  constexpr size_t kNameWidth = 21;
  std::string out = path + (recipe.version.empty() ? "" : ": made by tessera " + plain(recipe.version)) + "\n\n";
  const nlohmann::ordered_json job = recipe_json(recipe.job);
  for (const auto& [key, value] : job.items()) {
    if (value == "" || value == false) continue;
    std::string name = key;
    name.resize(std::max(kNameWidth, name.size() + 1), ' ');
    out += "  " + name + value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  for (const std::string& note : recipe.notes) out += "\n  note: " + plain(note) + "\n";
  return out + "\nMake it again with: tessera generate --from-file " + path + " -o FILE\n";
}

void show(const InfoOptions& options) {
  const std::string path = options.model.empty() ? find_bundled_model().string() : options.model;
  if (!options.tensors && may_hold_recipe(path)) {
    const FileRecipe recipe = read_file_recipe(path);
    std::cout << (options.json ? json_text(to_json(recipe, path), 2) + "\n" : printable_text(to_text(recipe, path)));
    return;
  }
  if (const auto lora = options.tensors ? std::nullopt : read_lora_info(path)) {
    std::cout << (options.json ? json_text(to_json(*lora), 2) + "\n" : printable_text(to_text(*lora)));
    return;
  }
  const auto model = read_model_info(path, families(), options.layout);
  if (!model) {
    const FileInfo file = read_file_info(path);
    std::cout << (options.json ? json_text(to_json(file), 2) + "\n" : printable_text(to_text(file, options.tensors)));
    return;
  }
  if (options.tensors && !model->file)
    throw Error("--tensors: " + path + " is a folder; name the file whose tensors to list");
  std::cout << (options.json ? json_text(to_json(*model), 2) + "\n" : printable_text(to_text(*model, options.tensors)));
}

}  // namespace

void add_info_command(CLI::App& root) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command = root.add_subcommand(
      "info", "Show what a model or a weights file contains, or the recipe in the metadata of an output");
  command
      ->add_option(
          "MODEL", options->model,
          "Model folder or checkpoint in any layout; any .safetensors, .gguf, .pt, .pth, .bin or .npz; or an image, "
          "video or saved latents with a recipe; default: the bundled model")
      ->group("What to show");
  command
      ->add_option("--vae", options->layout.vae,
                   "Autoencoder (folder or file) for a DiT checkpoint, which does not include one")
      ->type_name("PATH")
      ->group("What to show");
  command->add_option("--block-size,--block_size", options->layout.block_size, find_job_option("block-size").help)
      ->type_name("N")
      ->group("What to show");
  command->add_flag("--tensors", options->tensors, "List every tensor in a file")->group("Output");
  command->add_flag("--json", options->json, "Print JSON")->group("Output");
  put_help_last(*command, "Output");
  command->footer(
      "Only the headers of weights are read, however large they are.\n\n"
      "Examples\n"
      "  tessera info Wan2.1-T2V-1.3B\n"
      "  tessera info DiT-XL-2-256x256.pt --tensors\n"
      "  tessera info heart.png");
  command->callback([options] { show(*options); });
}

}  // namespace tessera
