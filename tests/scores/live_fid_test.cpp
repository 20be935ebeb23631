#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "media/image_io.h"
#include "tests/support/fixture.h"
#include "tests/support/inception_weights.h"
#include "tests/support/process.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::ProcessResult;

const std::string kModel = (test::fixture_folder() / "wan_pipeline" / "pipeline").string();
const std::string kNetwork = std::string(TESSERA_SOURCE_DIR) + "/tests/data/torchscript/means.pt";

/// Rendering with `--fid-reference`, with a small network in Inception's place.
class LiveFidCommand : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder / "real");
    at::manual_seed(1);
    for (int i = 0; i < 12; ++i)
      write_png(folder / "real" / (std::to_string(i) + ".png"), at::randint(256, {20, 20, 3}, at::kByte));
    const ProcessResult made =
        test::tessera({"fid", (folder / "real").string(), "--extractor", kNetwork, "--save-stats", reference, "-q"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    std::ofstream(folder / "prompts.txt") << "a cat\na dog\na bird\na fish\na cow\n";
  }
  ProcessResult batch(const std::string& out, std::vector<std::string> more, bool quiet = true) {
    more.insert(more.begin(), {"batch", (folder / "prompts.txt").string(), "-o", (folder / out).string()});
    return run(std::move(more), /*scored=*/true, quiet);
  }
  ProcessResult run(std::vector<std::string> arguments, bool scored = true, bool quiet = true) {
    arguments.insert(arguments.end(), {"--model", kModel, "--size", "32x32", "--steps", "2", "--max-sequence-length",
                                       "16", "--dtype", "fp32", "--seed", "5", "--json"});
    if (quiet) arguments.emplace_back("-q");
    if (scored) arguments.insert(arguments.end(), {"--fid-reference", reference, "--fid-extractor", kNetwork});
    return test::tessera(arguments);
  }
  /// The JSON object of the score: the last line.
  static json fid_of(const ProcessResult& result) {
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const size_t begin = result.out.rfind("{\"fid\"");
    EXPECT_NE(begin, std::string::npos) << result.out;
    return json::parse(result.out.substr(begin)).at("fid");
  }
  double offline(const std::string& path) {
    const ProcessResult result =
        test::tessera({"fid", (folder / path).string(), reference, "--extractor", kNetwork, "--json", "-q"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const json said = json::parse(result.out);
    return said.at("fid").get<double>();
  }

  test::TemporaryFolder folder;
  const std::string reference = (folder / "real.npz").string();
};

TEST_F(LiveFidCommand, BatchOfPicturesEqualsTheScoreOfItsFilesHoweverItWasRun) {
  const json fid = fid_of(batch("out", {"--frames", "1"}));
  const double score = fid.at("score");
  EXPECT_EQ(fid.at("pictures"), 5);
  EXPECT_FALSE(fid.at("is_fid").get<bool>());
  EXPECT_EQ(fid.at("protocol"), "pytorch-fid");
  EXPECT_NEAR(score, offline("out"), 1e-6 * score);

  const fs::path one = *std::find_if(fs::directory_iterator(folder / "out"), fs::directory_iterator(),
                                     [](const auto& entry) { return entry.path().extension() == ".png"; });
  fs::remove(one);
  EXPECT_EQ(fid_of(batch("out", {"--frames", "1", "--resume"})).at("score"), score) << "one is rendered again";
  fs::remove(folder / "out/features" / (one.filename().string() + ".safetensors"));
  const ProcessResult reread = batch("out", {"--frames", "1", "--resume"}, /*quiet=*/false);
  EXPECT_NEAR(fid_of(reread).at("score").get<double>(), score, 1e-6 * score);
  EXPECT_NE(reread.err.find("1 output was rendered without --fid-reference"), std::string::npos) << reread.err;
  EXPECT_EQ(fid_of(batch("many", {"--frames", "1", "--workers", "2"})).at("score"), score);
}

TEST_F(LiveFidCommand, VideosAreScoredBeforeTheirCodec) {
  const json fid = fid_of(batch("out", {"--frames", "5"}));
  EXPECT_EQ(fid.at("pictures"), 25);
  const json frames = fid_of(batch("frames", {"--frames", "5", "--format", "frames"}));
  EXPECT_EQ(fid.at("score"), frames.at("score"));
  EXPECT_NEAR(frames.at("score").get<double>(), offline("frames"), 1e-6 * fid.at("score").get<double>());
}

TEST_F(LiveFidCommand, GenerateScoresItsOutputs) {
  fs::create_directories(folder / "pictures");
  const ProcessResult result =
      run({"generate", "a cat", "--frames", "1", "--count", "3", "-o", (folder / "pictures/x.png").string()});
  const json fid = fid_of(result);
  EXPECT_EQ(fid.at("pictures"), 3);
  EXPECT_NEAR(fid.at("score").get<double>(), offline("pictures"), 1e-6 * fid.at("score").get<double>());
  const ProcessResult single = run({"generate", "a cat", "--frames", "1", "-o", (folder / "one.png").string()});
  EXPECT_EQ(single.exit_code, 1);
  EXPECT_NE(single.err.find("at least 2"), std::string::npos) << single.err;
  EXPECT_TRUE(fs::exists(folder / "one.png")) << "the picture is kept";
}

TEST_F(LiveFidCommand, TheFidNetworkItself) {
  const std::string weights = (folder / "inception.safetensors").string(), real = (folder / "inception.npz").string();
  write_safetensors(weights, test::formula_weights(7));
  const ProcessResult made = test::tessera({"fid", (folder / "real").string(), "--weights", weights, "--dims", "64",
                                            "--save-stats", real, "--dtype", "fp32", "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  fs::create_directories(folder / "pictures");
  const json fid = fid_of(run({"generate", "a cat", "--frames", "1", "--count", "3", "-o",
                               (folder / "pictures/x.png").string(), "--fid-reference", real, "--fid-weights", weights},
                              false));
  const ProcessResult files = test::tessera(
      {"fid", (folder / "pictures").string(), real, "--weights", weights, "--dims", "64", "--json", "-q"});
  ASSERT_EQ(files.exit_code, 0) << files.err;
  const double offline_score = json::parse(files.out).at("fid");
  EXPECT_NEAR(fid.at("score").get<double>(), offline_score, 1e-6 * offline_score);
  EXPECT_EQ(fid.at("extractor").at("dims"), 64);
}

TEST_F(LiveFidCommand, WhatIsMissingShowsBeforeTheRendering) {
  const auto refused = [&](std::vector<std::string> more, const std::string& part) {
    more.insert(more.begin(),
                {"generate", "a cat", "--frames", "1", "--count", "2", "-o", (folder / "x.png").string()});
    const ProcessResult result = run(more, false);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  };
  refused({"--fid-reference", (folder / "absent.npz").string()}, "absent.npz");
  refused({"--fid-reference", reference, "--fid-extractor", (folder / "absent.pt").string()}, "absent.pt");
  refused({"--fid-reference", reference, "--fid-extractor", kNetwork, "--fid-protocol", "clean"},
          "was made with protocol pytorch-fid");
  refused({"--fid-reference", reference, "--fid-protocol", "cleen"}, "clean");
  refused({"--fid-extractor", kNetwork}, "--fid-reference");
  refused({"--fid-reference", reference, "--fid-extractor", kNetwork, "--fid-weights", kNetwork}, "--fid-weights");
}

}  // namespace
}  // namespace tessera
