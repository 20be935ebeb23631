#pragma once

namespace CLI {
class App;
}

namespace tessera {

/// Registers `tessera train vae|denoiser|preview|evaluate` and what add_finetune_commands does.
void add_train_command(CLI::App& root);

/// Registers `scenes`, `prepare`, `lora`, `full` and `linearize` below `tessera train`.
void add_finetune_commands(CLI::App& train);

}  // namespace tessera
