#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera::test {

/// What the stand-in saw of a run: see Count in device/queue.h.
struct StandInRun {
  ProcessResult result;
  std::vector<nlohmann::json> processes;  ///< a report each, in the order in which they ended

  const nlohmann::json& report() const { return processes.at(0); }
  int64_t of(const std::string& count) const { return report().at(count).get<int64_t>(); }
};

/// Runs the built program to its end where it finds stand-in devices; `environment` holds NAME=VALUE additions.
inline StandInRun on_stand_in(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
  const TemporaryFolder folder;
  const std::filesystem::path report = folder / "report.jsonl";
  environment.insert(environment.begin(), {std::string("LD_LIBRARY_PATH=") + TESSERA_STAND_IN,
                                           "STAND_IN_REPORT=" + report.string(), "OMP_NUM_THREADS=1"});
  StandInRun run;
  run.result = tessera(std::move(arguments), environment);
  std::istringstream lines(read_text(report));
  for (std::string line; std::getline(lines, line);) run.processes.push_back(nlohmann::json::parse(line));
  return run;
}

/// The same, and it must succeed.
inline StandInRun done_on_stand_in(const std::vector<std::string>& arguments,
                                   const std::vector<std::string>& environment = {}) {
  StandInRun run = on_stand_in(arguments, environment);
  EXPECT_EQ(run.result.exit_code, 0) << run.result.err;
  EXPECT_FALSE(run.processes.empty());
  if (run.processes.empty()) run.processes.emplace_back();
  return run;
}

}  // namespace tessera::test
