#include "training/run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "core/atomic_file.h"
#include "core/dtype.h"
#include "core/printable.h"
#include "weights/safetensors.h"

namespace tessera {

int64_t at_least(const JsonConfig& json, const std::string& key, int64_t fallback, int64_t least) {
  const int64_t value = json.integer(key, fallback);
  if (value < least) json.fail(key, "must be at least " + std::to_string(least));
  return value;
}

std::vector<std::string> RunConfig::keys() {
  return {"run",          "seed",  "minutes", "steps",     "learning_rate",
          "warmup",       "decay", "dtype",   "log_every", "checkpoint_minutes",
          "sheet_minutes"};
}

RunConfig RunConfig::from_json(const JsonConfig& json) {
  RunConfig config;
  config.folder = json.text("run");
  config.seed = static_cast<uint64_t>(at_least(json, "seed", 1, 0));
  config.minutes = json.number("minutes", 0);
  config.steps = json.integer("steps", 0);
  if ((config.minutes > 0) == (config.steps > 0)) json.fail("minutes", "or steps must be positive, and only one given");
  config.learning_rate = json.number("learning_rate", config.learning_rate);
  config.warmup = json.number("warmup", config.warmup);
  config.decay = json.number("decay", config.decay);
  if (!(config.learning_rate > 0)) json.fail("learning_rate", "must be positive");
  if (!(config.warmup >= 0 && config.warmup < 1)) json.fail("warmup", "must be in [0, 1)");
  if (!(config.decay >= 0 && config.decay <= 1)) json.fail("decay", "must be in [0, 1]");
  config.checkpoint_minutes = json.number("checkpoint_minutes", config.checkpoint_minutes);
  config.sheet_minutes = json.number("sheet_minutes", config.sheet_minutes);
  config.log_every = at_least(json, "log_every", config.log_every, 1);
  const std::optional<at::ScalarType> dtype = find_dtype(json.text("dtype", "bf16"));
  if (dtype != at::kBFloat16 && dtype != at::kFloat) json.fail("dtype", "must be bf16 or fp32");
  config.dtype = *dtype;
  return config;
}

TrainingRun::TrainingRun(const RunConfig& config) : config_(config) {
  std::error_code problem;
  std::filesystem::create_directories(config_.folder, problem);
  if (problem) throw Error(config_.folder.string() + ": cannot create the run's folder: " + problem.message());
  check_writable(file("log.jsonl"));
}

double TrainingRun::active_seconds() const {
  return seconds_before_ + since_start_.seconds();
}

double TrainingRun::progress() const {
  if (config_.steps > 0) return static_cast<double>(step_) / static_cast<double>(config_.steps);
  return active_seconds() / (60.0 * config_.minutes);
}

double TrainingRun::rate_factor() const {
  return trapezoid(progress(), config_.warmup, config_.decay, 0.01);
}

bool TrainingRun::resume(Optimizer& optimizer) {
  const auto path = checkpoint();
  since_start_ = since_save_ = since_log_ = Stopwatch();
  if (!std::filesystem::exists(path)) return false;
  const TensorFile saved = read_safetensors(path);
  step_ = logged_step_ = saved.at("run/steps").item<int64_t>();
  seconds_before_ = saved.at("run/seconds").item<double>();
  optimizer.load(saved.tensors(), step_, path.string());
  std::fprintf(stderr, "continuing from %s at step %lld, after %.1f active minutes\n",
               printable_line(path.string()).c_str(), static_cast<long long>(step_), seconds_before_ / 60);
  return true;
}

void TrainingRun::save(const Optimizer& optimizer) {
  auto tensors = optimizer.state();
  tensors["run/steps"] = at::scalar_tensor(step_, at::kLong);
  tensors["run/seconds"] = at::scalar_tensor(active_seconds(), at::kDouble);
  write_safetensors(checkpoint(), tensors);
  since_save_ = Stopwatch();
}

bool TrainingRun::checkpoint_due() const {
  return since_save_.seconds() >= 60 * config_.checkpoint_minutes;
}

bool TrainingRun::sheet_due() {
  if (!draws_sheets()) return false;
  if (since_sheet_ && since_sheet_->seconds() < 60 * config_.sheet_minutes) return false;
  since_sheet_ = Stopwatch();
  return true;
}

void TrainingRun::record(const std::string& phase, int64_t samples, const std::map<std::string, double>& measures) {
  ++step_;
  if (phase != phase_) {
    phase_ = phase;
    means_.clear();
    samples_ = 0;
  }
  for (const auto& [name, value] : measures) {
    means_[name].sum += value;
    ++means_[name].count;
  }
  samples_ += samples;
  if (step_ % config_.log_every == 0 && !silent_) log_line();
}

void TrainingRun::log_line() {
  const double rate = static_cast<double>(samples_) / std::max(since_log_.seconds(), 1e-9);
  const double minutes = active_seconds() / 60, part = std::min(progress(), 1.0);
  const double left = minutes / std::max(part, 1e-9) - minutes;
  const double step_ms = 1000 * since_log_.seconds() / static_cast<double>(step_ - logged_step_);
  nlohmann::json entry = {
      {"step", step_}, {"phase", phase_}, {"minutes", minutes}, {"rate", rate}, {"step_ms", step_ms}};
  std::string values;
  for (const auto& [name, total] : means_) {
    const double mean = total.sum / static_cast<double>(total.count);
    entry[name] = mean;
    values += c10::str("  ", name, " ", std::isfinite(mean) ? std::round(mean * 1e4) / 1e4 : mean);
  }
  std::fprintf(stderr, "%s %lld%s  %.1f/s  %.1f%%  %.1f min, %.1f left\n", phase_.c_str(),
               static_cast<long long>(step_), values.c_str(), rate, 100 * part, minutes, left);
  std::ofstream(file("log.jsonl"), std::ios::app) << entry.dump() << '\n';
  since_log_ = Stopwatch();
  logged_step_ = step_;
  means_.clear();
  samples_ = 0;
}

}  // namespace tessera
