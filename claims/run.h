#pragma once

#include <map>
#include <optional>
#include <string>

#include "claims/settings.h"

namespace tessera {

/// One finished run: a row of a task with one seed.
struct ClaimRun {
  std::string id;  ///< a hash of all that decides the result: a run made with other settings is not taken for this one
  std::string task, row;
  int64_t seed = 0;
  int64_t parameters = 0;  ///< that are trained
  int64_t tokens = 0;      ///< that an attention sees at once
  int64_t head_width = 0;
  double flops = 0;                          ///< of a training step, see count_flops
  double step_ms = 0;                        ///< least mean of the steps between two log lines
  std::map<std::string, double> measures{};  ///< "adherence", "bits_per_byte", ...

  nlohmann::ordered_json to_json() const;
  static ClaimRun from_json(const JsonConfig& json);
};

/// The folder of a run: WORK/TASK/ROW/SEED-ID.
std::filesystem::path run_folder(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row,
                                 int64_t seed);

/// The finished run's record, its folder's or one in `settings.recorded`; or nothing.
std::optional<ClaimRun> find_run(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row,
                                 int64_t seed);

/// Trains and measures one run and writes its record, FOLDER/run.json. Continues from a checkpoint; a run whose record
/// is there is not made again. Throws what the trainers throw, also on a signal.
ClaimRun make_run(const ClaimSettings& settings, const ClaimTask& task, const ClaimRow& row, int64_t seed);

}  // namespace tessera
