#include "training/trainer.h"

#include "core/cancel.h"

namespace tessera {

void Trainer::start(const ParamList& params, const OptimizerConfig& config) {
  optimizer_ = std::make_unique<Optimizer>(params, config);
  run_.resume(*optimizer_);
}

void Trainer::train() {
  install_signal_handlers();
  while (!run_.done()) {
    step();
    if (canceled() != 0 || run_.checkpoint_due()) save();
    throw_if_canceled();
    if (run_.sheet_due()) draw_sheet();
  }
  save();
  draw_sheet();
  write_output();
}

}  // namespace tessera
