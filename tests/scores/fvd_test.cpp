#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "media/image_io.h"
#include "media/video_writer.h"
#include "tests/support/fixture.h"
#include "tests/support/json_keys.h"
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

TEST_F(FvdCommand, FeaturesAndPicklesAreSets) {
  const std::string generated = write_set("gen"), real = write_set("real");
  const std::string first = (folder / "gen.npz").string(), second = (folder / "real.npz").string();
  const ProcessResult direct =
      fvd({generated, real, "--json", "--kvd", "-q", "--dump-features", first, "--dump-reference-features", second});
  ASSERT_EQ(direct.exit_code, 0) << direct.err;
  EXPECT_EQ(test::keys_absent_from_docs(direct.out), std::set<std::string>());
  const ProcessResult again = fvd({first, second, "--json", "--kvd", "-q"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  const auto said = nlohmann::json::parse(direct.out), repeated = nlohmann::json::parse(again.out);
  EXPECT_NEAR(repeated.at("score").get<double>(), said.at("score").get<double>(), 1e-9 * expected);
  EXPECT_EQ(repeated.at("kvd"), said.at("kvd"));
  EXPECT_EQ(repeated.at("reference").at("offset"), "random");
  EXPECT_EQ(repeated.at("reference").at("clips"), said.at("reference").at("clips"));
  EXPECT_EQ(NpzFile(first).header("names").shape[0], fixture["gen"].size(0));
  const ProcessResult other = fvd({first, second, "--stride", "2", "--frames", "4"});
  EXPECT_EQ(other.exit_code, 2) << other.out;
  // StyleGAN's sums of another network: read, and refused by their number of features.
  const std::string sums = std::string(TESSERA_SOURCE_DIR) + "/tests/data/pickles/stylegan.pkl";
  const ProcessResult narrow = fvd({first, sums});
  EXPECT_EQ(narrow.exit_code, 2);
  EXPECT_TRUE(contains(narrow.err, "holds statistics of 2 features")) << narrow.err;
  write_npz(folder / "pictures.npz", {{"arr_0", at::zeros({2, 4, 4, 3}, at::kByte)}});
  const ProcessResult pictures = fvd({first, (folder / "pictures.npz").string()});
  EXPECT_EQ(pictures.exit_code, 2);
  EXPECT_TRUE(contains(pictures.err, "want videos, statistics or features")) << pictures.err;
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

/// Copies videos of tests/data/videos into `folder`.
void copy_videos(const std::filesystem::path& folder, const std::vector<std::string>& names) {
  const std::filesystem::path videos = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/videos";
  std::filesystem::create_directories(folder);
  for (const std::string& name : names) std::filesystem::copy(videos / name, folder / name);
}

TEST_F(FvdCommand, BadVideosAreNamedAtOnceInBothSetsAndSkippedWhole) {
  const std::vector<std::string> good = {"b_frames.mp4", "counted.webm", "counted.avi"};
  copy_videos(folder / "good", good);
  copy_videos(folder / "mixed", good);
  copy_videos(folder / "mixed", {"audio.mp4", "size_changes.mp4"});
  copy_videos(folder / "other", {"negative_times.mkv", "b_frames.mp4"});
  test::write_bytes(folder / "mixed/a_zero.mp4", "");
  const std::string avi = test::read_text(folder / "good/counted.avi");
  test::write_bytes(folder / "other/cut.avi", avi.substr(0, avi.size() / 2));
  const std::string mixed = (folder / "mixed").string(), other = (folder / "other").string();
  const ProcessResult refused = fvd({mixed, other, "--frames", "3"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.out, "");
  for (const char* words : {"3 of 6 videos cannot be read; --skip-unreadable", "audio.mp4: it has no video stream",
                            "size_changes.mp4: its frame size changes", "a_zero.mp4: the file is empty",
                            "1 of 3 videos cannot be read", "cut.avi: it is cut off"})
    EXPECT_TRUE(contains(refused.err, words)) << words << " in " << refused.err;
  const auto skipped = [&](const std::string& set, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {set, other, "--frames", "3", "--skip-unreadable"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = fvd(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  };
  const auto said = nlohmann::json::parse(skipped(mixed, {"--json"}).out);
  EXPECT_EQ(said.at("generated").at("clips"), 3);
  EXPECT_EQ(said.at("generated").at("unreadable").size(), 3u);
  EXPECT_EQ(said.at("reference").at("unreadable").at(0).at("path"), (folder / "other/cut.avi").string());
  EXPECT_EQ(said.at("score"), nlohmann::json::parse(skipped((folder / "good").string(), {"--json"}).out).at("score"));
  const ProcessResult text = skipped(mixed);
  EXPECT_TRUE(contains(text.out, "3 clips, offset first, 3 videos unreadable; ")) << text.out;
  EXPECT_TRUE(contains(text.err, "left out: cannot read the video ")) << text.err;
}

TEST_F(FvdCommand, TheMatrixIsChosenSaidAndKept) {
  copy_videos(folder / "untagged", {"untagged_32.mp4"});
  copy_videos(folder / "tagged", {"tagged_601.mp4", "hdr.mp4"});
  const std::string untagged = (folder / "untagged").string(), tagged = (folder / "tagged").string();
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--frames", "2"});
    const ProcessResult result = fvd(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  };
  const ProcessResult text = run({untagged, tagged});
  EXPECT_TRUE(contains(text.out, "; 1 video as BT.601 limited range (untagged, so assumed)\n")) << text.out;
  EXPECT_TRUE(contains(text.err, "1 video (" + tagged + "/hdr.mp4) in HDR or BT.2020 color")) << text.err;
  const auto json = nlohmann::json::parse(run({untagged, tagged, "--json", "--matrix", "bt709"}).out);
  const auto colors = json.at("generated").at("video_colors");
  EXPECT_EQ(colors.at("read_as").at(0).at("matrix"), "bt709");
  EXPECT_EQ(colors.at("read_as").at(0).at("source"), "chosen");
  EXPECT_EQ(colors.at("read_as").at(0).at("range"), "limited");
  EXPECT_EQ(json.at("reference").at("video_colors").at("hdr"), 1);

  const std::string statistics = (folder / "kept.npz").string();
  run({untagged, "--save-stats", statistics, "--matrix", "bt709"});
  const auto made = nlohmann::json::parse(*NpzFile(statistics).text("tessera"));
  EXPECT_EQ(made.at("matrix"), "bt709");
  EXPECT_EQ(made.at("videos"), "1 video as BT.709 limited range (by --matrix)");
  const ProcessResult other = run({tagged, statistics});
  EXPECT_TRUE(contains(other.err, "was made of videos with --matrix bt709, this run uses auto")) << other.err;
  EXPECT_TRUE(contains(other.out, "kept.npz, 1 clip, offset random (statistics: mu, sigma); 1 video as BT.709"))
      << other.out;
  const ProcessResult unknown = fvd({untagged, tagged, "--matrix", "bt1886"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(contains(unknown.err, "--matrix")) << unknown.err;
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
