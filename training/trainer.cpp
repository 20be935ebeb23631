#include "training/trainer.h"

#include "core/cancel.h"
#include "core/text.h"

namespace tessera {

void Trainer::start(const ParamList& params, const OptimizerConfig& config) {
  optimizer_ = std::make_unique<Optimizer>(params, config);
  run_.resume(*optimizer_);
}

void Trainer::train() {
  install_signal_handlers();
  while (!run_.done()) {
    step();
    if (canceled() != 0) stop();
    if (run_.checkpoint_due()) save();
    if (run_.sheet_due()) draw_sheet();
  }
  save();
  if (run_.draws_sheets()) draw_sheet();
  write_output();
}

void Trainer::stop() {
  save();
  throw Error("stopped after " + counted(steps_done(), "step") + ", all of them kept in " + run_.checkpoint().string() +
                  "; the same command continues from there",
              static_cast<ExitCode>(128 + canceled()));
}

}  // namespace tessera
