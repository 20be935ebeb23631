#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/json_config.h"
#include "training/optimizer.h"

namespace tessera {

/// An integer of a config that must be `least` or more. Throws Error naming the file and key.
int64_t at_least(const JsonConfig& json, const std::string& key, int64_t fallback, int64_t least);

/// What every training run has: the keys of the config file that RunConfig::keys() names.
struct RunConfig {
  std::filesystem::path folder;  ///< "run": checkpoints, log and sample sheets
  uint64_t seed = 1;
  double minutes = 0;                                       ///< length in active minutes; or
  int64_t steps = 0;                                        ///< length in steps; exactly one of the two is given
  double learning_rate = 1e-3, warmup = 0.01, decay = 0.4;  ///< see trapezoid()
  double checkpoint_minutes = 3;
  double sheet_minutes = 5;              ///< 0: no sample sheets
  int64_t log_every = 20;                ///< steps
  at::ScalarType dtype = at::kBFloat16;  ///< of activations; weights are float32
  at::Device device = at::kCPU;          ///< of `--device`, not of the file: a checkpoint goes on on any

  /// Throws Error naming the file and key for a missing, mistyped or impossible value.
  static RunConfig from_json(const JsonConfig& json);
  static std::vector<std::string> keys();
};

/// Clock, log and checkpoints of one run. A run killed at any moment resumes from its newest checkpoint: data and noise
/// are functions of (seed, step), and progress counts steps or active time, not the wall clock.
class TrainingRun {
 public:
  /// Makes the folder. Throws Error when it cannot be written.
  explicit TrainingRun(const RunConfig& config);

  /// Loads the checkpoint if there is one, and says so on stderr. The active time starts here.
  bool resume(Optimizer& optimizer);
  /// Writes the checkpoint, atomically.
  void save(const Optimizer& optimizer);

  /// Fraction of the run that is done: by steps, or by active time.
  double progress() const;
  bool done() const { return progress() >= 1.0; }
  /// The learning rate for the next step over the base rate.
  double rate_factor() const;
  int64_t step() const { return step_; }

  /// Counts a finished step and logs the means of `measures` every log_every steps (and into FOLDER/log.jsonl,
  /// with "step_ms", the milliseconds a step took since the last line).
  /// `phase` names what is trained; a new phase starts new means. Steps may have different measures.
  void record(const std::string& phase, int64_t samples, const std::map<std::string, double>& measures);
  /// From now on record() counts and neither prints nor logs: for ranks other than the first.
  void be_silent() { silent_ = true; }
  /// True when the checkpoint interval has passed since the last save().
  bool checkpoint_due() const;
  /// The same for sample sheets, the first of which is due at once; counts the sheet as drawn.
  bool sheet_due();
  bool draws_sheets() const { return config_.sheet_minutes > 0; }
  /// Where save() writes.
  std::filesystem::path checkpoint() const { return file("checkpoint.safetensors"); }
  /// FOLDER/NAME.
  std::filesystem::path file(const std::string& name) const { return config_.folder / name; }

 private:
  void log_line();

  RunConfig config_;
  int64_t step_ = 0;
  double seconds_before_ = 0;  // active time of earlier processes
  Stopwatch since_start_, since_save_, since_log_;
  std::optional<Stopwatch> since_sheet_;  // none: no sheet yet
  double active_seconds() const;

  std::string phase_;
  struct Mean {
    double sum = 0;
    int64_t count = 0;
  };
  std::map<std::string, Mean> means_;
  int64_t samples_ = 0;
  int64_t logged_step_ = 0;  // of the last log line, or where this process began
  bool silent_ = false;
};

}  // namespace tessera
