#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include "core/json_config.h"
#include "training/optimizer.h"

namespace tessera {

/// What every training run has: the keys of the config file that RunConfig::keys() names.
struct RunConfig {
  std::filesystem::path folder;  ///< "run": checkpoints, log and sample sheets
  uint64_t seed = 1;
  double minutes = 0;                                       ///< length in active minutes; or
  int64_t steps = 0;                                        ///< length in steps; exactly one of the two is given
  double learning_rate = 1e-3, warmup = 0.01, decay = 0.4;  ///< see trapezoid()
  double checkpoint_minutes = 3, sheet_minutes = 5;
  int64_t log_every = 20;                ///< steps
  at::ScalarType dtype = at::kBFloat16;  ///< of activations; weights are float32

  /// Throws Error naming the file and key for a missing, mistyped or impossible value.
  static RunConfig from_json(const JsonConfig& json);
  static std::vector<std::string> keys();
};

/// Clock, log and checkpoints of one run. A run killed at any moment goes on from its newest checkpoint: items of data
/// and noise are functions of (seed, step), and progress counts steps or active time, not the wall clock.
class TrainingRun {
 public:
  /// Makes the folder. Throws Error when it cannot be written.
  explicit TrainingRun(const RunConfig& config);

  /// Loads FOLDER/checkpoint.safetensors when there is one; says so on stderr. The active time starts here.
  bool resume(Optimizer& optimizer);
  /// Writes the checkpoint, atomically.
  void save(const Optimizer& optimizer);

  /// Part of the run that is done, in [0, 1]: by steps, or by active time.
  double progress() const;
  bool done() const { return progress() >= 1.0; }
  /// The learning rate for the next step as a part of the base rate.
  double rate_factor() const;
  int64_t step() const { return step_; }

  /// Counts a finished step and logs the means of `measures` every log_every steps (and into FOLDER/log.jsonl).
  /// `phase` names what is trained; means start anew when it changes. Steps may have different measures.
  void record(const std::string& phase, int64_t samples, const std::map<std::string, double>& measures);
  /// True when the checkpoint interval has passed since the last save(); sheets alike, and marks the sheet as drawn.
  bool checkpoint_due() const;
  bool sheet_due();
  /// FOLDER/NAME.
  std::filesystem::path file(const std::string& name) const { return config_.folder / name; }

 private:
  using Clock = std::chrono::steady_clock;
  void log_line();

  RunConfig config_;
  int64_t step_ = 0;
  double seconds_before_ = 0;  // active time of earlier processes
  Clock::time_point start_ = Clock::now(), last_save_ = start_, last_sheet_{}, last_log_ = start_;
  double active_seconds() const;

  std::string phase_;
  struct Mean {
    double sum = 0;
    int64_t count = 0;
  };
  std::map<std::string, Mean> means_;
  int64_t samples_ = 0;
};

/// Makes malloc keep freed blocks instead of giving them back to the kernel: page faults cost a sixth of a training
/// step. Call once, before the first tensor.
void keep_freed_memory();

}  // namespace tessera
