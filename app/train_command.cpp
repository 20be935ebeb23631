#include "app/train_command.h"

#include <CLI/CLI.hpp>

#include "training/denoiser_trainer.h"
#include "training/vae_trainer.h"

namespace tessera {

void add_train_command(CLI::App& root) {
  CLI::App* train = root.add_subcommand("train", "Train the parts of a small model of your own, and measure it");
  train->require_subcommand(1);

  auto config = std::make_shared<std::string>();
  CLI::App* vae =
      train->add_subcommand("vae", "Train the video autoencoder; goes on from its checkpoint when there is one");
  vae->add_option("--config", *config, "JSON file; see training/configs/vae.json")->required();
  vae->callback([config] {
    keep_freed_memory();
    VaeTrainer(VaeTrainConfig::read(*config)).train();
  });

  CLI::App* denoiser = train->add_subcommand(
      "denoiser", "Train the denoiser and its text encoder; goes on from its checkpoint when there is one");
  denoiser->add_option("--config", *config, "JSON file; see training/configs/denoiser.json")->required();
  denoiser->callback([config] {
    keep_freed_memory();
    DenoiserTrainer(DenoiserTrainConfig::read(*config)).train();
  });
}

}  // namespace tessera
