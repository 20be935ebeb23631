#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/json_config.h"

namespace tessera {

enum class Direction { kHigher, kLower };  // which is better

/// Something measured of a trained model.
struct Measure {
  std::string name;   ///< in records: "bits_per_byte"
  std::string title;  ///< in tables: "bits per byte"
  Direction better;
};

/// What is measured of the models of a trainer (denoiser, classifier, language), the main measure first.
const std::vector<Measure>& measures_of_trainer(const std::string& trainer);

/// One row of a task's table: a name and the `attention` object that makes it.
struct ClaimRow {
  std::string name;
  nlohmann::json attention;
};

/// A paper's statement that one row of a task does better than another by a measure.
struct Comparison {
  std::string better, than;  ///< names of rows
  std::string measure;       ///< "distance", "accuracy", ...
  std::string source;        ///< the statement, with the paper's figures
};

/// What is measured of a trained denoiser.
struct DenoiserChecks {
  int64_t prompts = 64;      ///< generated, read back by the rules, and compared with as many rendered scenes
  int64_t batch = 8;         ///< of them at a time
  int64_t loss_scenes = 64;  ///< of the validation loss
  int64_t steps = 25;        ///< of the sampler
  double guidance = 3.0, shift = 2.5;
};

/// A task: what trains, on what, and with which attentions. All rows share everything but `attention`.
struct ClaimTask {
  std::string name;
  std::string trainer;    ///< denoiser, classifier or language
  nlohmann::json config;  ///< of that trainer, without run, output, seed and attention
  DenoiserChecks checks;
  std::vector<ClaimRow> rows;
  std::vector<Comparison> comparisons;

  bool denoises() const { return trainer == "denoiser"; }
};

/// bench/claims.json: {"work": FOLDER, "seeds": [1, 2, 3], "features": FOLDER, "tasks": [{"name": ..., "trainer": ...,
/// "config": {...}, "checks": {...}, "rows": [{"name": ..., "attention": {...}}],
/// "comparisons": [{"better": ROW, "than": ROW, "measure": ..., "source": ...}]}]}. `features` is the folder
/// of a classifier (tessera train classifier) in whose features pictures are compared.
struct ClaimSettings {
  std::filesystem::path work;  ///< holds all runs and their records
  std::vector<int64_t> seeds;
  std::filesystem::path features;  ///< empty without a denoiser among the tasks
  std::vector<ClaimTask> tasks;
  std::map<std::string, nlohmann::json> recorded;  ///< finished runs of earlier results, by their id; see ClaimRun

  /// Takes the runs of results that were written before, on this machine or another.
  void take_records(const nlohmann::json& results);
  /// Throws Error naming the file, the entry and the key.
  static ClaimSettings read(const std::filesystem::path& path);
};

/// A name as part of a path: "MHLA + LePE, gate" -> "mhla-lepe-gate".
std::string path_name(const std::string& name);

}  // namespace tessera
