#pragma once

namespace CLI {
class App;
}

namespace tessera {

/// Registers `tessera train vae|denoiser|evaluate`.
void add_train_command(CLI::App& root);

}  // namespace tessera
