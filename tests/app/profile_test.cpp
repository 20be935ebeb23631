#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::ProcessResult;
using test::TemporaryFolder;

ProcessResult generate(const std::vector<std::string>& more) {
  std::vector<std::string> all = {"generate",
                                  "a red star",
                                  "--model",
                                  test::fixture_folder() / "wan_pipeline" / "pipeline",
                                  "--max-sequence-length",
                                  "64",
                                  "--dtype",
                                  "fp32",
                                  "--size",
                                  "32x48",
                                  "--frames",
                                  "1",
                                  "--seed",
                                  "3",
                                  "--steps",
                                  "3"};
  all.insert(all.end(), more.begin(), more.end());
  return test::tessera(all);
}

TEST(Profile, TellsWhereTheTimeWentAndChangesNothing) {
  const TemporaryFolder folder;
  ASSERT_EQ(generate({"-q", "-o", folder / "plain.png"}).exit_code, 0);
  const ProcessResult result = generate({"--profile", folder / "trace.json", "-o", folder / "x.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(test::read_text(folder / "plain.png"), test::read_text(folder / "x.png"));
  EXPECT_EQ(result.out, (folder / "x.png").string() + "\n");
  const auto trace = nlohmann::json::parse(test::read_text(folder / "trace.json"));
  std::map<std::string, int64_t> calls;
  for (const auto& event : trace.at("traceEvents")) {
    EXPECT_GE(event.at("dur").get<double>(), 0);
    ++calls[event.at("name").get<std::string>()];
  }
  const auto config =
      read_json_object(test::fixture_folder() / "wan_pipeline" / "pipeline" / "transformer" / "config.json");
  const int64_t layers = config.at("num_layers").get<int64_t>();
  EXPECT_EQ(calls["text encoding"], 1);
  EXPECT_EQ(calls["self-attention softmax"], 3 * layers);
  EXPECT_EQ(calls["cross-attention"], 3 * layers);
  EXPECT_EQ(calls["feed-forward"], 3 * layers);
  EXPECT_EQ(calls["transformer, outside of blocks"], 3);
  EXPECT_EQ(calls["sampler"], 3);
  EXPECT_EQ(calls["guidance"], 2 * 3);  // before and after each call
  EXPECT_EQ(calls["decode"], 1);
  EXPECT_GE(calls["write"], 1);
  for (const auto& [name, count] : calls) EXPECT_NE(result.err.find("  " + name), std::string::npos) << name;
  EXPECT_NE(result.err.find("  total"), std::string::npos) << result.err;
}

TEST(Profile, AFileThatCannotBeWrittenIsRefusedAtTheStart) {
  const TemporaryFolder folder;
  const ProcessResult result = generate({"-q", "--profile", folder / "none" / "trace.json", "-o", folder / "x.png"});
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
}

}  // namespace
}  // namespace tessera
