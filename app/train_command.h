#pragma once

#include <memory>
#include <string>

#include "training/run.h"

namespace CLI {
class App;
}

namespace tessera {

/// Registers `tessera train vae|denoiser|preview|evaluate` and what add_finetune_commands does.
void add_train_command(CLI::App& root);

/// Registers `scenes`, `prepare`, `lora`, `full` and `linearize` below `tessera train`.
void add_finetune_commands(CLI::App& train);

/// Where a training computes: --device, of which process of the machine.
struct TrainDevice {
  std::string name = "cpu";

  /// Opens it: before the first tensor is made.
  at::Device open(int local_rank = 0) const;
};
std::shared_ptr<TrainDevice> add_train_device_option(CLI::App& command);

}  // namespace tessera
