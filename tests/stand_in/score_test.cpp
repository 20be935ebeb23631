// The commands that measure, on the stand-in device: the same numbers as on the CPU, without TF32.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "media/image_io.h"
#include "tests/stand_in/support.h"
#include "tests/support/inception_weights.h"
#include "weights/safetensors.h"

namespace tessera::test {
namespace {

const std::string kSource = TESSERA_SOURCE_DIR;
const std::string kMeans = kSource + "/tests/data/torchscript/means.pt";

class StandInScores : public testing::Test {
 protected:
  std::string pictures(const std::string& name, int64_t seed) const {
    const auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
    std::filesystem::create_directories(folder / name);
    for (int i = 0; i < 6; ++i)
      write_png(folder / name / (std::to_string(i) + ".png"), at::randint(256, {20, 20, 3}, generator, at::kByte));
    return (folder / name).string();
  }

  /// The number under `key` on the CPU and on the device; both runs print JSON.
  void expect_same(std::vector<std::string> arguments, const std::string& key, double tolerance) const {
    const auto on = [&](const std::string& device) {
      std::vector<std::string> all = arguments;
      all.insert(all.end(), {"--device", device, "--json"});
      return all;
    };
    const ProcessResult cpu = tessera(on("cpu"));
    ASSERT_EQ(cpu.exit_code, 0) << cpu.err;
    const StandInRun gpu = done_on_stand_in(on("cuda"));
    const double want = nlohmann::json::parse(cpu.out).at(key), got = nlohmann::json::parse(gpu.result.out).at(key);
    EXPECT_NEAR(got, want, tolerance * std::abs(want));
    EXPECT_GT(gpu.of("launches"), 0);
    EXPECT_EQ(gpu.of("tf32_products"), 0) << "compared numbers are exact";
    EXPECT_EQ(gpu.of("tuned_convolutions"), 0) << "and the same in every run";
  }

  TemporaryFolder folder;
};

TEST_F(StandInScores, FidByAProgram) {
  expect_same({"fid", pictures("a", 1), pictures("b", 2), "--extractor", kMeans, "-q"}, "fid", 1e-4);
}

TEST_F(StandInScores, FidByInception) {
  write_safetensors(folder / "inception.safetensors", formula_weights(12345));
  expect_same({"fid", pictures("a", 1), pictures("b", 2), "--weights", (folder / "inception.safetensors").string(),
               "--dims", "64", "--dtype", "fp32", "-q"},
              "fid", 1e-3);
}

TEST_F(StandInScores, FvdOfFrameFolders) {
  const Fixture fixture("fvd");
  const auto clips = [&](const std::string& name) {
    const at::Tensor all = fixture[name].permute({0, 1, 3, 4, 2}).contiguous();  // [N, T, H, W, 3]
    for (int64_t i = 0; i < all.size(0); ++i) {
      const std::filesystem::path video = folder / name / std::to_string(1000 + i);
      std::filesystem::create_directories(video);
      for (int64_t t = 0; t < all.size(1); ++t) write_png(video / (std::to_string(100 + t) + ".png"), all[i][t]);
    }
    return (folder / name).string();
  };
  expect_same({"fvd", clips("gen"), clips("real"), "--extractor", (fixture.folder / "i3d_tiny.pt").string(), "--frames",
               std::to_string(fixture.config.at("num_frames").get<int64_t>())},
              "score", 1e-4);
}

TEST_F(StandInScores, Classify) {
  const Fixture fixture("mhla_classifier");
  write_png(folder / "x.png", at::randint(256, {40, 40, 3}, at::make_generator<at::CPUGeneratorImpl>(5), at::kByte));
  const auto classes = [&](const std::string& device) {
    return std::vector<std::string>{"classify",  (folder / "x.png").string(),
                                    "--weights", (fixture.folder / "weights.safetensors").string(),
                                    "--heads",   std::to_string(fixture.config.at("num_heads").get<int64_t>()),
                                    "--json",    "--dtype",
                                    "fp32",      "--device",
                                    device};
  };
  const ProcessResult cpu = tessera(classes("cpu"));
  ASSERT_EQ(cpu.exit_code, 0) << cpu.err;
  const StandInRun gpu = done_on_stand_in(classes("cuda"));
  const auto best = [](const ProcessResult& result) { return nlohmann::json::parse(result.out).at("classes").at(0); };
  EXPECT_EQ(best(gpu.result).at("class"), best(cpu).at("class"));
  EXPECT_NEAR(best(gpu.result).at("probability").get<double>(), best(cpu).at("probability").get<double>(), 1e-5);
  EXPECT_EQ(gpu.of("tf32_products"), 0);
}

TEST_F(StandInScores, LiveScoresBesideRendering) {
  const std::string statistics = (folder / "real.npz").string();
  ASSERT_EQ(tessera({"fid", pictures("real", 3), "--extractor", kMeans, "--save-stats", statistics, "-q"}).exit_code,
            0);
  const std::string model = (fixture_folder() / "wan_pipeline" / "pipeline").string();
  const StandInRun run = done_on_stand_in({"generate",
                                           "a cat",
                                           "--model",
                                           model,
                                           "--size",
                                           "32x32",
                                           "--steps",
                                           "1",
                                           "--max-sequence-length",
                                           "16",
                                           "--dtype",
                                           "bf16",
                                           "--count",
                                           "2",
                                           "-q",
                                           "-o",
                                           (folder / "x.png").string(),
                                           "--json",
                                           "--device",
                                           "cuda",
                                           "--fid-reference",
                                           statistics,
                                           "--fid-extractor",
                                           kMeans});
  EXPECT_NE(run.result.out.find("{\"fid\""), std::string::npos) << run.result.out;
  EXPECT_EQ(run.of("tf32_products"), 0) << "one network of the process is compared";
}

}  // namespace
}  // namespace tessera::test
