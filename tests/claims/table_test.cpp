#include "claims/table.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "training/export.h"

namespace tessera {
namespace {

using test::contains;
using test::error_of;

TEST(Spread, ByHand) {
  const Spread three = spread_of({1, 2, 3});
  EXPECT_DOUBLE_EQ(three.mean, 2);
  EXPECT_DOUBLE_EQ(three.deviation, 1);  // (1 + 0 + 1) / 2
  EXPECT_EQ(three.count, 3);
  EXPECT_EQ(spread_of({5}).deviation, 0);
  EXPECT_THROW(spread_of({}), c10::Error);
}

TEST(Compare, NeedsTwiceTheStandardError) {
  // Two means of three values with deviation 1: standard error sqrt(1/3 + 1/3) = 0.816, twice that 1.633.
  const Spread low{1, 1, 3}, high{3, 1, 3}, near{2.6, 1, 3};
  EXPECT_EQ(compare(high, low, Direction::kHigher), Verdict::kHolds);
  EXPECT_EQ(compare(high, low, Direction::kLower), Verdict::kContradicted);
  EXPECT_EQ(compare(low, high, Direction::kLower), Verdict::kHolds);
  EXPECT_EQ(compare(near, low, Direction::kHigher), Verdict::kUndecided);
  EXPECT_EQ(compare({9, 0, 1}, low, Direction::kHigher), Verdict::kUndecided) << "one seed has no spread";
  EXPECT_EQ(compare({std::nan(""), 0, 3}, low, Direction::kHigher), Verdict::kUndecided);
}

nlohmann::json language_settings(const std::filesystem::path& work) {
  return {
      {"work", work.string()},
      {"seeds", {1, 2}},
      {"tasks",
       {{{"name", "Language: bytes"},
         {"trainer", "language"},
         {"config", {{"steps", 3}, {"model", nlohmann::json::object()}}},
         {"rows",
          {{{"name", "softmax"}, {"attention", {{"kind", "softmax"}}}},
           {{"name", "MHLA + gate"}, {"attention", {{"kind", "mhla"}}}}}},
         {"comparisons",
          {{{"better", "MHLA + gate"}, {"than", "softmax"}, {"measure", "bits_per_byte"}, {"source", "A paper."}}}}}}}};
}

ClaimSettings read(const std::filesystem::path& folder, const nlohmann::json& json) {
  std::ofstream(folder / "settings.json") << json.dump();
  return ClaimSettings::read(folder / "settings.json");
}

/// The record of a run that was not really made.
void pretend(const ClaimSettings& settings, size_t row, int64_t seed, double bits) {
  const ClaimTask& task = settings.tasks[0];
  const auto folder = run_folder(settings, task, task.rows[row], seed);
  const std::string name = folder.filename();  // SEED-ID
  ClaimRun run{.id = name.substr(name.find('-') + 1), .task = task.name, .row = task.rows[row].name, .seed = seed};
  run.parameters = 1234;
  run.tokens = 1024;
  run.head_width = 32;
  run.flops = 2.5e9;
  run.step_ms = 10.0 * static_cast<double>(seed);
  run.measures = {{"bits_per_byte", bits}};
  make_folder(folder);
  write_json(folder / "run.json", run.to_json());
}

TEST(ClaimsTable, SummarizesWhatIsFinished) {
  const test::TemporaryFolder folder;
  const ClaimSettings settings = read(folder.path(), language_settings(folder / "work"));
  pretend(settings, 0, 1, 2.0);
  pretend(settings, 0, 2, 2.2);
  pretend(settings, 1, 1, 1.5);
  auto summary = summarize(settings);
  EXPECT_EQ(summary["missing"], 1);
  EXPECT_EQ(summary["runs"].size(), 3u);
  const auto& rows = summary["tasks"][0]["rows"];
  EXPECT_NEAR(rows[0]["bits_per_byte"]["mean"].get<double>(), 2.1, 1e-12);
  EXPECT_NEAR(rows[0]["bits_per_byte"]["deviation"].get<double>(), 0.2 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ(rows[0]["step_ms"], 10.0);
  EXPECT_EQ(summary["tasks"][0]["comparisons"][0]["verdict"], "undecided");

  pretend(settings, 1, 2, 1.6);
  summary = summarize(settings);
  EXPECT_EQ(summary["missing"], 0);
  EXPECT_EQ(summary["tasks"][0]["comparisons"][0]["verdict"], "holds");
  const nlohmann::json published = nlohmann::json::parse(
      R"({"tables": [{"title": "Published.", "columns": ["model", "softmax"], "rows": [["S", "68.40"]]}]})");
  const std::string page = claims_page(summary, published, "bench/claims");
  EXPECT_TRUE(contains(page, "## Language: bytes\n\n3 steps a run.\n"));
  EXPECT_TRUE(
      contains(page, "| attention | bits per byte ↓ | seeds | parameters | GFLOP a step | least ms a step | tokens |"));
  EXPECT_TRUE(contains(page, "| softmax | 2.1 ± 0.14 | 2 | 1234 | 2.5 | 10 | 1024 | 32 |")) << page;
  EXPECT_TRUE(contains(page, "| MHLA + gate | 1.55 ± 0.071 | 2 |")) << page;
  EXPECT_TRUE(contains(page, "- A paper. **Here too**: MHLA + gate 1.55 ± 0.071, softmax 2.1 ± 0.14."));
  EXPECT_TRUE(contains(page, "\nPublished.\n\n| model | softmax |\n|---|---:|\n| S | 68.40 |\n"));
  EXPECT_FALSE(contains(page, "not been made yet"));
}

TEST(ClaimsTable, TheCommittedPageSaysWhatItsJsonSays) {
  const std::filesystem::path source = TESSERA_SOURCE_DIR, page = source / "docs/claims.md";
  EXPECT_EQ(std::filesystem::exists(page), std::filesystem::exists(source / "docs/claims.json"));
  if (!std::filesystem::exists(page)) return;
  const nlohmann::ordered_json summary(read_json_object(source / "docs/claims.json"));
  EXPECT_EQ(test::read_text(page),
            claims_page(summary, read_json_object(source / "bench/published.json"), "bench/claims"));
}

TEST(ClaimsTable, OtherSettingsAreOtherRuns) {
  const test::TemporaryFolder folder;
  nlohmann::json json = language_settings(folder / "work");
  const ClaimSettings before = read(folder.path(), json);
  pretend(before, 0, 1, 2.0);
  EXPECT_TRUE(find_run(before, before.tasks[0], before.tasks[0].rows[0], 1));
  EXPECT_FALSE(find_run(before, before.tasks[0], before.tasks[0].rows[0], 2));
  json["tasks"][0]["config"]["steps"] = 4;
  const ClaimSettings after = read(folder.path(), json);
  EXPECT_FALSE(find_run(after, after.tasks[0], after.tasks[0].rows[0], 1));
}

/// Results that are kept go on elsewhere, where no folder of a run is.
TEST(ClaimsTable, RecordedRunsCountLikeThoseWithAFolder) {
  const test::TemporaryFolder folder;
  const ClaimSettings here = read(folder.path(), language_settings(folder / "work"));
  pretend(here, 0, 1, 2.0);
  const nlohmann::json kept = summarize(here);
  nlohmann::json json = language_settings(folder / "elsewhere");
  ClaimSettings there = read(folder.path(), json);
  EXPECT_FALSE(find_run(there, there.tasks[0], there.tasks[0].rows[0], 1));
  there.take_records(kept);
  EXPECT_EQ(find_run(there, there.tasks[0], there.tasks[0].rows[0], 1)->measures.at("bits_per_byte"), 2.0);
  EXPECT_EQ(nlohmann::json(summarize(there)["runs"]), kept["runs"]);
  json["tasks"][0]["config"]["steps"] = 4;
  ClaimSettings other = read(folder.path(), json);
  other.take_records(kept);
  EXPECT_FALSE(find_run(other, other.tasks[0], other.tasks[0].rows[0], 1));
}

TEST(ClaimSettings, PathNames) {
  EXPECT_EQ(path_name("MHLA + convolution, gate"), "mhla-convolution-gate");
  EXPECT_EQ(path_name("Language: bytes."), "language-bytes");
}

TEST(ClaimSettings, TheCommittedOnesAreSound) {
  for (const char* name : {"claims.json", "claims_short.json"}) {
    const ClaimSettings settings = ClaimSettings::read(std::filesystem::path(TESSERA_SOURCE_DIR) / "bench" / name);
    EXPECT_EQ(settings.tasks.size(), 4u) << name;
    for (const ClaimTask& task : settings.tasks) {
      EXPECT_GE(task.rows.size(), 6u) << task.name;
      EXPECT_FALSE(task.comparisons.empty()) << task.name;
    }
  }
  read_json_object(std::filesystem::path(TESSERA_SOURCE_DIR) / "bench" / "published.json");
}

TEST(ClaimSettings, ErrorsNameTheEntry) {
  const test::TemporaryFolder folder;
  const auto error_with = [&](const std::string& pointer, const nlohmann::json& value) {
    nlohmann::json json = language_settings(folder / "work");
    json[nlohmann::json::json_pointer(pointer)] = value;
    return error_of([&] { read(folder.path(), json); });
  };
  EXPECT_TRUE(contains(error_with("/seeds", nlohmann::json::array()), "seeds"));
  EXPECT_TRUE(contains(error_with("/tasks/0/trainer", "vae"), "tasks[0]: \"trainer\" must be denoiser"));
  EXPECT_TRUE(contains(error_with("/tasks/0/trainer", "denoiser"), "measure"));
  EXPECT_TRUE(contains(error_with("/tasks/0/config/seed", 3), "\"seed\" must be absent"));
  EXPECT_TRUE(contains(error_with("/tasks/0/rows/1/name", "Softmax"), "rows[1]: \"name\" is not unique"));
  EXPECT_TRUE(contains(error_with("/tasks/0/comparisons/0/than", "lineer"), "must be the name of a row"));
  EXPECT_TRUE(contains(error_with("/tasks/0/checks", nlohmann::json::object()), "belongs to a denoiser"));
}

}  // namespace
}  // namespace tessera
