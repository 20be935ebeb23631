#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "checkpoints/bundled_model.h"
#include "checkpoints/file_info.h"
#include "checkpoints/model_info.h"
#include "core/error.h"
#include "pipelines/families/families.h"

namespace tessera {
namespace {

struct InfoOptions {
  std::string model;
  ModelOptions layout;
  bool json = false;
  bool tensors = false;
};

void show(const InfoOptions& options) {
  const std::string path = options.model.empty() ? find_bundled_model().string() : options.model;
  const auto model = read_model_info(path, families(), options.layout);
  if (!model) {
    const FileInfo file = read_file_info(path);
    std::cout << (options.json ? to_json(file).dump(2) + "\n" : to_text(file, options.tensors));
    return;
  }
  if (options.tensors && !model->file)
    throw Error("--tensors: " + path + " is a folder; name the file whose tensors to list");
  std::cout << (options.json ? to_json(*model).dump(2) + "\n" : to_text(*model, options.tensors));
}

}  // namespace

void add_info_command(CLI::App& root) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command =
      root.add_subcommand("info", "Show what a model or a file of weights contains, and what is missing");
  command
      ->add_option("MODEL", options->model,
                   "Folder or checkpoint of a model in any layout, or any .safetensors, .pt, .pth, .bin or .npz; "
                   "default: the bundled model")
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
      "Only headers are read, however large the weights are.\n\n"
      "Examples\n"
      "  tessera info Wan2.1-T2V-1.3B\n"
      "  tessera info DiT-XL-2-256x256.pt --tensors");
  command->callback([options] { show(*options); });
}

}  // namespace tessera
