// tessera fid on videos: what a damaged file contributes, and by which matrix its pixels were read.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "media/image_io.h"
#include "tests/support/files.h"
#include "tests/support/process.h"
#include "weights/npz.h"

namespace tessera {
namespace {

using test::contains;
using test::ProcessResult;

const std::filesystem::path kData = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data";

class FidOfVideos : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* set : {"good", "mixed"}) {
      std::filesystem::create_directories(folder / set);
      for (const char* name : {"b_frames.mp4", "untagged_32.mp4", "tagged_709.mp4"})
        std::filesystem::copy(kData / "videos" / name, folder / set / name);
    }
    at::manual_seed(2);
    std::filesystem::create_directories(folder / "real");
    for (int i = 0; i < 8; ++i)
      write_png(folder / "real" / (std::to_string(i) + ".png"), at::randint(256, {20, 20, 3}, at::kByte));
  }
  ProcessResult fid(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"fid", "--extractor", (kData / "torchscript/means.pt").string(), "--device", "cpu"});
    return test::tessera(arguments);
  }
  std::string path(const std::string& name) { return (folder / name).string(); }

  test::TemporaryFolder folder;
};

TEST_F(FidOfVideos, AFileThatFailsMidwayContributesNothing) {
  const std::string avi = test::read_text(kData / "videos/counted.avi");
  test::write_bytes(folder / "mixed/a_cut.avi", avi.substr(0, avi.size() * 6 / 10));
  std::filesystem::copy(kData / "videos/size_changes.mp4", folder / "mixed/size_changes.mp4");
  const ProcessResult refused = fid({path("mixed"), path("real")});
  EXPECT_EQ(refused.exit_code, 2);
  for (const char* words :
       {"2 of 5 files cannot be read", "a_cut.avi: it is cut off", "size_changes.mp4: its frame size"})
    EXPECT_TRUE(contains(refused.err, words)) << refused.err;
  const ProcessResult skipped = fid({path("mixed"), path("real"), "--skip-unreadable", "--json"}),
                      good = fid({path("good"), path("real"), "--json"});
  ASSERT_EQ(skipped.exit_code + good.exit_code, 0) << skipped.err << good.err;
  const auto of_skipped = nlohmann::json::parse(skipped.out), of_good = nlohmann::json::parse(good.out);
  EXPECT_EQ(of_skipped.at("generated").at("images"), 16);
  EXPECT_EQ(of_skipped.at("generated").at("videos"), 3);
  EXPECT_EQ(of_skipped.at("generated").at("unreadable").size(), 2u);
  EXPECT_EQ(of_skipped.at("fid"), of_good.at("fid"));
}

TEST_F(FidOfVideos, AnArrayWhoseChecksumFailsAtItsEndContributesNothing) {
  at::manual_seed(3);
  write_npz(folder / "good.npz", {{"arr_0", at::randint(256, {40, 12, 12, 3}, at::kByte)}});
  std::string bytes = test::read_text(folder / "good.npz");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  test::write_bytes(folder / "bad.npz", bytes);
  EXPECT_EQ(fid({path("good.npz"), path("real"), "--skip-unreadable"}).exit_code, 0);
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--skip-unreadable"}}) {
    std::vector<std::string> arguments{path("bad.npz"), path("real")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = fid(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.out;
    EXPECT_TRUE(contains(result.err, more.empty() ? "1 of 1 files cannot be read" : "none of 1 files can be read"))
        << result.err;
    EXPECT_TRUE(contains(result.err, "bad.npz")) << result.err;
  }
}

TEST_F(FidOfVideos, TheMatrixIsSaidAndKept) {
  const ProcessResult text = fid({path("good"), path("real")});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_TRUE(contains(text.out,
                       "16 images; 2 videos as BT.601 limited range (untagged, so assumed), 1 as BT.709 "
                       "limited range (tagged)\n"))
      << text.out;
  EXPECT_TRUE(contains(text.out, "real, 8 images\n")) << text.out;
  const ProcessResult json = fid({path("good"), path("real"), "--json", "--matrix", "bt2020"});
  const auto said = nlohmann::json::parse(json.out);
  const auto read_as = said.at("generated").at("video_colors").at("read_as");
  ASSERT_EQ(read_as.size(), 1u);
  EXPECT_EQ(read_as.at(0),
            nlohmann::json({{"matrix", "bt2020"}, {"range", "limited"}, {"source", "chosen"}, {"videos", 3}}));
  EXPECT_TRUE(said.at("reference").at("video_colors").is_null());
  ASSERT_EQ(fid({path("good"), "--save-stats", path("kept.npz")}).exit_code, 0);
  const auto made = nlohmann::json::parse(*NpzFile(folder / "kept.npz").text("tessera"));
  EXPECT_EQ(made.at("matrix"), "auto");
  EXPECT_EQ(made.at("videos").get<std::string>().find("2 videos as BT.601"), 0u);
  const ProcessResult other = fid({path("good"), path("kept.npz"), "--matrix", "bt601"});
  EXPECT_TRUE(contains(other.err, "was made of videos with --matrix auto, this run uses bt601")) << other.err;
}

}  // namespace
}  // namespace tessera
