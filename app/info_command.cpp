#include <iostream>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/help.h"
#include "pipelines/bundled_model.h"
#include "pipelines/model_info.h"

namespace tessera {
namespace {

struct InfoOptions {
  std::string model;
  bool json = false;
};

}  // namespace

void add_info_command(CLI::App& root) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command = root.add_subcommand("info", "Show a model's parts, sizes, attention and defaults");
  command->add_option("MODEL", options->model, "Model directory in diffusers' layout; without it the bundled model")
      ->group("What to show");
  command->add_flag("--json", options->json, "Print JSON")->group("Output");
  put_help_last(*command, "Output");
  command->callback([options] {
    const ModelInfo info = read_model_info(options->model.empty() ? find_bundled_model().string() : options->model);
    std::cout << (options->json ? to_json(info).dump(2) + "\n" : to_text(info));
  });
}

}  // namespace tessera
