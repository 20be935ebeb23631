#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "media/image_io.h"
#include "media/video_writer.h"
#include "tests/support/fixture.h"
#include "tests/support/process.h"
#include "weights/npz.h"

namespace tessera {
namespace {

using test::contains;
using test::ProcessResult;
using test::TemporaryFolder;

/// The fixture's clips as folders of PNG frames, and the command on them.
class FvdCommand : public testing::Test {
 protected:
  test::Fixture fixture{"fvd"};
  TemporaryFolder folder;
  const std::string network = (fixture.folder / "i3d_tiny.pt").string();
  const std::string frames = std::to_string(fixture.config.at("num_frames").get<int64_t>());
  const double expected = fixture.config.at("fvd");

  std::string write_set(const std::string& name) {
    const at::Tensor clips = fixture[name].permute({0, 1, 3, 4, 2}).contiguous();  // [N, T, H, W, 3]
    for (int64_t i = 0; i < clips.size(0); ++i) {
      const std::filesystem::path video = folder / name / std::to_string(1000 + i);
      std::filesystem::create_directories(video);
      for (int64_t t = 0; t < clips.size(1); ++t) write_png(video / (std::to_string(100 + t) + ".png"), clips[i][t]);
    }
    return (folder / name).string();
  }
  ProcessResult fvd(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"fvd", "--extractor", network, "--device", "cpu"});
    if (std::find(arguments.begin(), arguments.end(), "--frames") == arguments.end())
      arguments.insert(arguments.end(), {"--frames", frames});
    return test::tessera(arguments);
  }
};

TEST_F(FvdCommand, ScoreOfTheReferenceThroughFilesAndStatistics) {
  const std::string generated = write_set("gen"), real = write_set("real"), statistics = (folder / "real.npz").string();
  const ProcessResult direct = fvd({generated, real, "--json", "--kvd"});
  ASSERT_EQ(direct.exit_code, 0) << direct.err;
  const auto said = nlohmann::json::parse(direct.out);
  EXPECT_NEAR(said.at("score").get<double>(), expected, 1e-4 * expected);
  EXPECT_EQ(said.at("metric"), "frechet_distance");
  EXPECT_FALSE(said.at("is_fvd").get<bool>());
  EXPECT_EQ(said.at("generated").at("clips"), fixture["gen"].size(0));
  EXPECT_EQ(said.at("reference").at("offset"), "random");
  EXPECT_EQ(said.at("kvd").at("subset_size"), std::min(fixture["gen"].size(0), fixture["real"].size(0)));
  EXPECT_TRUE(contains(direct.err, "published FVD takes 2048")) << direct.err;

  const ProcessResult saved = fvd({real, "--save-stats", statistics, "-q"});
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_EQ(saved.err, "") << "-q leaves nothing but errors";
  EXPECT_EQ(saved.out, statistics + "\n");
  const NpzFile file(statistics);
  EXPECT_LT((file.read("sigma") - fixture["real_cov"]).abs().max().item<double>(), 1e-6);
  const ProcessResult kept = fvd({generated, statistics, "-q"});
  ASSERT_EQ(kept.exit_code, 0) << kept.err;
  EXPECT_TRUE(contains(kept.out, "not FVD")) << kept.out;
  EXPECT_TRUE(contains(kept.out, "StyleGAN-V protocol: clips of " + frames + " frames, stride 1, covariance over N"))
      << kept.out;

  const ProcessResult other = fvd({generated, statistics, "--stride", "2", "--frames", "4"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_TRUE(contains(other.err, "was made with frames")) << other.err;

  // As another tool would have written them: mu and sigma alone.
  write_npz(folder / "bare.npz", {{"mu", fixture["real_mean"]}, {"sigma", fixture["real_cov"]}});
  const ProcessResult bare = fvd({generated, (folder / "bare.npz").string(), "--json"});
  ASSERT_EQ(bare.exit_code, 0) << bare.err;
  EXPECT_NEAR(nlohmann::json::parse(bare.out).at("score").get<double>(), expected, 1e-4 * expected);
  EXPECT_TRUE(contains(bare.err, "does not say how it was made")) << bare.err;
}

TEST_F(FvdCommand, VideoFilesSeedsAndShortOnes) {
  const auto write_video = [&](const std::string& name, int64_t count) {
    OutputOptions options;
    options.width = options.height = 32;
    options.fps = {8, 1};
    VideoWriter writer(folder / name, options);
    for (int64_t t = 0; t < count; ++t)
      writer.write(
          (at::arange(3 * 32 * 32, at::kFloat).view({3, 32, 32}) * 0.01 * static_cast<double>(t + count)).sin() * 0.5 +
          0.5);
    writer.finish();
  };
  std::filesystem::create_directories(folder / "videos");
  for (int64_t i = 0; i < 4; ++i) write_video("videos/" + std::to_string(i) + ".mp4", 14 + i);
  const std::string videos = (folder / "videos").string();
  const auto score = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {videos, videos, "--json"});
    const ProcessResult result = fvd(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out).at("score").get<double>();
  };
  EXPECT_LT(score({"--reference-offset", "first"}), 1e-9) << "the same clips";
  const double once = score({"--seed", "1"});
  EXPECT_GT(once, 1e-9);
  EXPECT_EQ(once, score({"--seed", "1"}));
  EXPECT_NE(once, score({"--seed", "2"}));

  write_video("videos/short.mp4", 5);
  const ProcessResult refused = fvd({videos, videos});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(contains(refused.err, "short.mp4 (5)")) << refused.err;
  EXPECT_TRUE(contains(refused.err, "--skip-short")) << refused.err;
  const ProcessResult skipped = fvd({videos, videos, "--skip-short", "--json", "--reference-offset", "first"});
  ASSERT_EQ(skipped.exit_code, 0) << skipped.err;
  EXPECT_EQ(nlohmann::json::parse(skipped.out).at("generated").at("short_videos").at(0).at("frames"), 5);
  EXPECT_TRUE(contains(skipped.err, "left out")) << skipped.err;
}

TEST_F(FvdCommand, ClearErrors) {
  const std::string real = write_set("real");
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& part) {
    const ProcessResult result = fvd(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_TRUE(contains(result.err, part)) << result.err;
  };
  refused({real}, "--save-stats");
  refused({real, (folder / "absent").string()}, "absent");
  refused({real, real, "--save-stats", "x.txt"}, ".npz");
  refused({real, real, "--frames", "0"}, "--frames");
  refused({real, real, "--generated-offset", "last"}, "--generated-offset");
  write_npz(folder / "wide.npz", {{"mu", at::zeros({7}, at::kDouble)}, {"sigma", at::eye(7, at::kDouble)}});
  refused({real, (folder / "wide.npz").string()}, "statistics of 7 features");
  refused({real, (folder / "wide.npz").string(), "--kvd"}, "--kvd");
  const ProcessResult missing = test::tessera({"fvd", real, real, "--frames", frames},
                                              {"TESSERA_CACHE=" + folder.path().string(), "TORCH_HOME=/nowhere"});
  EXPECT_EQ(missing.exit_code, 2);
  for (const char* part : {"i3d_torchscript.pt", "bec6519f66ea", "StyleGAN-V", "/weights", "--extractor"})
    EXPECT_TRUE(contains(missing.err, part)) << missing.err;
}

}  // namespace
}  // namespace tessera
