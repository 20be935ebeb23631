#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "claims/table.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

/// bench/claims --short, without its script: every task and every row, tiny. About a minute.
TEST(ShortForm, EveryRowOfEveryTaskIsTrainedMeasuredAndTabulated) {
  const std::filesystem::path source = TESSERA_SOURCE_DIR;
  const test::TemporaryFolder folder;
  nlohmann::json json = read_json_object(source / "bench/claims_short.json");
  json["work"] = (folder / "work").string();
  json["features"] = (source / "weights/bundled/classifier").string();
  for (nlohmann::json& task : json["tasks"])
    if (task["config"].contains("vae")) task["config"]["vae"] = (source / "weights/bundled/vae").string();
  std::ofstream(folder / "settings.json") << json.dump();
  const ClaimSettings settings = ClaimSettings::read(folder / "settings.json");
  for (const ClaimTask& task : settings.tasks)
    for (const ClaimRow& row : task.rows) {
      SCOPED_TRACE(task.name + ", " + row.name);
      const ClaimRun run = make_run(settings, task, row, 1);
      EXPECT_GT(run.parameters, 0);
      EXPECT_GT(run.flops, 0);
      EXPECT_GT(run.step_ms, 0);
      EXPECT_GT(run.tokens, run.head_width);
      for (const Measure& measure : measures_of_trainer(task.trainer))
        EXPECT_TRUE(std::isfinite(run.measures.at(measure.name))) << measure.name;
      EXPECT_EQ(make_run(settings, task, row, 1).to_json(), run.to_json()) << "a finished run is not made again";
    }
  const auto summary = summarize(settings);
  EXPECT_EQ(summary.at("missing"), 0);
  const std::string page = claims_page(summary, read_json_object(source / "bench/published.json"), "bench/claims");
  for (const ClaimTask& task : settings.tasks) EXPECT_TRUE(test::contains(page, "## " + task.name)) << page;
}

}  // namespace
}  // namespace tessera
