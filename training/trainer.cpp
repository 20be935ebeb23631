#include "training/trainer.h"

#include "core/cancel.h"
#include "core/text.h"

namespace tessera {

void Trainer::start(const ParamList& params, const OptimizerConfig& config) {
  optimizer_ = std::make_unique<Optimizer>(params, config);
  run_.resume(*optimizer_);
}

std::vector<double> Trainer::backward(int64_t samples, at::Device device, const MeansOfSamples& means) {
  optimizer_->zero_gradients();
  return backward_in_parts(*optimizer_, samples, parts_of_batch(samples, device), means);
}

void Trainer::train() {
  install_signal_handlers();
  while (!run_.done()) {
    step_or_stop();
    if (canceled() != 0) stop(128 + canceled());
    if (!leads()) continue;
    if (run_.checkpoint_due()) save();
    if (run_.sheet_due()) draw_sheet_or_stop();
  }
  if (!leads()) return;
  save();
  if (run_.draws_sheets()) draw_sheet();
  write_output();
}

void Trainer::step_or_stop() {
  try {
    step();
  } catch (const Error& error) {
    if (!error.is_cancellation()) throw;
    stop(static_cast<int>(error.code()));
  }
}

void Trainer::draw_sheet_or_stop() {
  try {
    draw_sheet();
  } catch (const Error& error) {
    if (!error.is_cancellation()) throw;
    stop(static_cast<int>(error.code()));
  }
}

void Trainer::stop(int exit_code) {
  const auto code = static_cast<ExitCode>(exit_code);
  if (!leads()) throw Error("stopped after " + counted(steps_done(), "step") + "; rank 0 keeps them", code);
  save();
  throw Error("stopped after " + counted(steps_done(), "step") + ", all of them kept in " + run_.checkpoint().string() +
                  "; the same command continues from there",
              code);
}

}  // namespace tessera
