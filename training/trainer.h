#pragma once

#include <memory>

#include "training/batch_parts.h"
#include "training/optimizer.h"
#include "training/run.h"

namespace tessera {

/// A training from the newest checkpoint (or from the start) to the end: what the autoencoder's and the denoiser's
/// share.
class Trainer {
 public:
  virtual ~Trainer() = default;

  /// Steps until the run is done, with checkpoints and sample sheets on the way, then writes the output directory.
  /// On a signal: writes a checkpoint and throws an Error that says so, with the signal's exit code.
  void train();
  /// One optimizer step; returns the loss before it.
  virtual double step() = 0;
  /// Writes the checkpoint.
  void save() { run_.save(*optimizer_); }
  int64_t steps_done() const { return run_.step(); }
  int64_t parameters() const { return optimizer_->parameters(); }  ///< numbers that are trained
  /// Whether this process writes checkpoints, sheets and the result: of several ranks the first does.
  virtual bool leads() const { return true; }

 protected:
  explicit Trainer(const RunConfig& config) : run_(config) {}
  /// Optimizes `params` from here on, from the run's checkpoint when there is one.
  void start(const ParamList& params, const OptimizerConfig& config);

  /// Gradients of the mean loss of a batch, and the means, see backward_in_parts().
  std::vector<double> backward(int64_t samples, at::Device device, const MeansOfSamples& means);

  /// A stop that is requested meanwhile may be thrown as throw_if_canceled does.
  virtual void draw_sheet() = 0;
  virtual void write_output() = 0;

  TrainingRun run_;
  std::unique_ptr<Optimizer> optimizer_;

 private:
  void step_or_stop();  // a step throws a stop before it changes anything
  void draw_sheet_or_stop();
  [[noreturn]] void stop(int exit_code);
};

}  // namespace tessera
