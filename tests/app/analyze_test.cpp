// tessera analyze, on the built program.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

using test::ProcessResult;
using test::TemporaryFolder;

const std::string kModel = (test::fixture_folder() / "wan_pipeline" / "pipeline").string();

ProcessResult analyze(const TemporaryFolder& folder, std::vector<std::string> arguments) {
  std::vector<std::string> all = {"analyze", "a star", "--seed", "1", "-o", folder / "report"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return test::tessera(all);
}

TEST(Analyze, TheBundledModelsLayersAndMaps) {
  const TemporaryFolder folder;
  const ProcessResult result = analyze(folder, {"--steps", "3", "--frames", "1", "--calls", "1,3", "--token", "0,2,5"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out.substr(0, result.out.find('\n')), (folder / "report/index.html").string());
  const auto report = nlohmann::json::parse(test::read_text(folder / "report/analysis.json"));
  const auto tokens = report.at("tokens").get<std::vector<int64_t>>();
  const int64_t N = tokens[0] * tokens[1] * tokens[2];
  const auto& layers = report.at("layers");
  ASSERT_FALSE(layers.empty());
  ASSERT_EQ(layers.size() % 2, 0u);
  EXPECT_EQ(layers.front().at("call"), 1);
  EXPECT_EQ(layers.back().at("call"), 3);
  for (const auto& layer : layers) {
    EXPECT_EQ(layer.at("attention"), "mhla");
    EXPECT_TRUE(layer.at("smallest_normalizer").is_null());  // its config has the normalizer "none"
    for (const auto& head : layer.at("heads")) {
      EXPECT_GE(head.at("rank").get<int64_t>(), 1);
      EXPECT_LE(head.at("rank").get<int64_t>(), N);
      EXPECT_GT(head.at("entropy").get<double>(), 0);
      EXPECT_LE(head.at("entropy").get<double>(), 1 + 1e-6);
    }
  }
  for (const auto& map : report.at("maps"))
    EXPECT_GT(read_picture(folder / "report" / map.at("file").get<std::string>()).size(0), 0);
  const std::string page = test::read_text(folder / "report/index.html");
  for (const char* part : {"<svg", "Rank of the attention matrix", "mixing_layer0.png", "token_call3_layer0.png"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
}

TEST(Analyze, SoftmaxHasNoNormalizerAndFullRows) {
  const TemporaryFolder folder;
  const ProcessResult result = analyze(
      folder, {"--model", kModel, "--max-sequence-length", "64", "--size", "32x48", "--steps", "2", "--calls", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = nlohmann::json::parse(test::read_text(folder / "report/analysis.json"));
  for (const auto& layer : report.at("layers"))
    if (layer.at("attention") == "softmax") {
      EXPECT_TRUE(layer.at("smallest_normalizer").is_null());
    }
}

TEST(Analyze, RefusesWhatItCannotLookAt) {
  const TemporaryFolder folder;
  const auto refused = [&](std::vector<std::string> arguments, const std::string& words) {
    const ProcessResult result = analyze(folder, std::move(arguments));
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "report"));
  };
  refused({"--steps", "3", "--calls", "4"}, "want numbers from 1 to 3");
  refused({"--steps", "1", "--frames", "1", "--token", "0,99,0"}, "--token 0, 99, 0 is outside of the grid");
  refused({"--prompt", "a heart"}, "the prompt is given twice");
}

}  // namespace
}  // namespace tessera
