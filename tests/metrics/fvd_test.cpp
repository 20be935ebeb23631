#include "metrics/fvd.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <set>

#include "media/image_io.h"
#include "media/video_writer.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

using test::error_of;
using test::TemporaryFolder;

const std::filesystem::path kMeans = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/torchscript/means.pt";

/// Frame i of a video is a flat gray of 10 i + first.
void write_frames(const std::filesystem::path& folder, int64_t count, int first = 0, int64_t side = 8) {
  std::filesystem::create_directories(folder);
  for (int64_t i = 0; i < count; ++i)
    write_png(folder / (std::to_string(100 + i) + ".png"),
              at::full({side, side, 3}, static_cast<int>(10 * i) + first, at::kByte));
}

/// The grays of a clip's frames, over 10.
std::vector<int64_t> grays(const Clip& clip) {
  std::vector<int64_t> list;
  for (int64_t t = 0; t < clip.pixels.size(2); ++t) list.push_back(clip.pixels[0][0][t][0][0].item<int64_t>() / 10);
  return list;
}

TEST(VideoSet, FilesAndFrameFoldersInTheOrderOfTheirPaths) {
  const TemporaryFolder folder;
  write_frames(folder / "b/x", 3);
  write_frames(folder / "a", 2);
  write_frames(folder / ".thumbnails", 2);
  std::filesystem::create_directories(folder / "c");
  std::ofstream(folder / "c/clip.MP4") << "";
  std::ofstream(folder / "c/poster.png") << "";
  std::ofstream(folder / "notes.txt") << "";
  const std::vector<VideoSource> found = find_videos(folder.path());
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].path, folder / "a");
  EXPECT_EQ(found[1].path, folder / "b/x");
  EXPECT_EQ(found[1].pictures.size(), 3u);
  EXPECT_EQ(found[2].path, folder / "c/clip.MP4");
  EXPECT_TRUE(found[2].pictures.empty()) << "a picture beside a video is no video";
  EXPECT_EQ(find_videos(folder / "c/clip.MP4").size(), 1u);
  EXPECT_THROW(find_videos(folder / "absent"), Error);
  EXPECT_THROW(find_videos(folder / "notes.txt"), Error);
  std::filesystem::create_directories(folder / "empty");
  EXPECT_THROW(find_videos(folder / "empty"), Error);
}

TEST(VideoSet, LinksInCirclesAndFifosDoNotHang) {
  const TemporaryFolder folder;
  write_frames(folder / "a", 3);
  std::filesystem::create_directory_symlink("..", folder / "a/loop");
  ASSERT_EQ(mkfifo((folder / "pipe.mp4").c_str(), 0600), 0);
  std::string heard;
  const std::vector<VideoSource> found = find_videos(folder.path(), [&](const std::string& text) { heard = text; });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, folder / "a");
  EXPECT_EQ(found[0].pictures.size(), 3u);
  EXPECT_NE(heard.find("1 FIFO ("), std::string::npos) << heard;
}

TEST(VideoSet, ClipsBeginWhereTheRuleSays) {
  const TemporaryFolder folder;
  write_frames(folder / "v", 20);
  const VideoSource video = find_videos(folder.path())[0];
  EXPECT_EQ(grays(read_clip(video, {4, 1, false, 0}, 0)), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(grays(read_clip(video, {3, 5, false, 0}, 0)), (std::vector<int64_t>{0, 5, 10}));
  EXPECT_EQ(read_clip(video, {4, 1, false, 0}, 0).pixels.sizes(), (at::IntArrayRef{1, 3, 4, 8, 8}));
  std::set<int64_t> begins;
  for (int64_t index = 0; index < 200; ++index) begins.insert(grays(read_clip(video, {4, 4, true, 7}, index))[0]);
  // 20 - 16 + 4 - 1 is the last place: 0 to 7, whose last frame is 7 + 12 = 19.
  EXPECT_EQ(begins, (std::set<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(grays(read_clip(video, {4, 4, true, 7}, 3)), grays(read_clip(video, {4, 4, true, 7}, 3)));
  EXPECT_FALSE(read_clip(video, {21, 1, false, 0}, 0).pixels.defined());
  EXPECT_EQ(read_clip(video, {11, 2, false, 0}, 0).there, 20);
  EXPECT_TRUE(read_clip(video, {20, 1, true, 1}, 5).pixels.defined());
}

TEST(VideoSet, VideoFilesGiveTheSameClipsAsTheirFrames) {
  const TemporaryFolder folder;
  OutputOptions options;
  options.width = options.height = 32;
  options.fps = {8, 1};
  VideoWriter writer(folder / "v.mp4", options);
  for (int i = 0; i < 12; ++i) writer.write(at::full({32, 32, 3}, 10 * i + 5, at::kByte));
  writer.finish();
  const VideoSource video = find_videos(folder / "v.mp4")[0];
  EXPECT_EQ(count_frames(video), 12);
  EXPECT_EQ(grays(read_clip(video, {3, 3, false, 0}, 0)), (std::vector<int64_t>{0, 3, 6}));
  EXPECT_FALSE(read_clip(video, {13, 1, false, 0}, 0).pixels.defined());
}

TEST(Fvd, MeasuresOneClipOfEachVideo) {
  const TemporaryFolder folder;
  write_frames(folder / "a", 4, 0);
  write_frames(folder / "b", 6, 4, 6);
  const auto network = open_video_extractor(kMeans.string(), 2, at::kCPU);
  EXPECT_FALSE(network->info().is_standard);
  VideoSetOptions options;
  options.rule = {2, 2, false, 0};
  options.keep_features = true;
  int done = 0;
  const VideoFeatures features = measure_videos(find_videos(folder.path()), *network, options, [&] { ++done; });
  EXPECT_EQ(done, 2);
  EXPECT_EQ(features.clips, 2);
  // Frames 0 and 2: grays 0 and 20, mean 10, largest 20; with 4 more in the other video. Covariance over N: 4.
  EXPECT_TRUE(at::allclose(features.gaussian.mean, at::tensor({12., 12., 12., 22., 22., 22.}, at::kDouble)));
  EXPECT_TRUE(at::allclose(features.gaussian.covariance, at::full({6, 6}, 4., at::kDouble)));
  EXPECT_EQ(features.store->count(), 2);
}

TEST(Fvd, ShortVideosAreListedAndRefusedUnlessSkipped) {
  const TemporaryFolder folder;
  for (int i = 0; i < 12; ++i) write_frames(folder / ("short" + std::to_string(100 + i)), 3);
  write_frames(folder / "long", 4);
  VideoSetOptions options;
  options.rule = {2, 2, false, 0};
  const std::vector<VideoSource> all = find_videos(folder.path());
  std::vector<VideoSource> videos = all;
  const std::string message = error_of([&] { drop_short_videos(videos, options); });
  EXPECT_NE(message.find("12 videos have fewer than the 4 frames"), std::string::npos) << message;
  EXPECT_NE(message.find("short100 (3)"), std::string::npos) << message;
  EXPECT_NE(message.find("and 2 more"), std::string::npos) << message;
  options.skip_short = true;
  videos = all;
  EXPECT_EQ(drop_short_videos(videos, options).size(), 12u);
  ASSERT_EQ(videos.size(), 1u);
  EXPECT_EQ(videos[0].path, folder / "long");
  options.most_clips = 1;
  videos = all;
  EXPECT_EQ(drop_short_videos(videos, options).size(), 0u) << "the first long one is enough";
  options.rule = {5, 1, false, 0};
  videos = all;
  EXPECT_NE(error_of([&] { drop_short_videos(videos, options); }).find("no video"), std::string::npos);
}

TEST(Fvd, FramesOfOneVideoMustHaveOneSize) {
  const TemporaryFolder folder;
  write_frames(folder / "v", 2, 0, 8);
  write_png(folder / "v/200.png", at::zeros({8, 9, 3}, at::kByte));
  const VideoSource video = find_videos(folder.path())[0];
  EXPECT_NE(error_of([&] { read_clip(video, {3, 1, false, 0}, 0); }).find("8x8 and 9x8"), std::string::npos);
}

TEST(Fvd, ACachedFileRunsOnlyWhenItIsThePublishedOne) {
  const TemporaryFolder folder;
  setenv("TESSERA_CACHE", folder.path().c_str(), 1);
  std::filesystem::create_directories(folder / "weights");
  std::filesystem::copy(kMeans, folder / "weights/i3d_torchscript.pt");
  const std::string message = error_of([&] { open_video_extractor("", 16, at::kCPU); });
  EXPECT_NE(message.find("is not the published I3D"), std::string::npos) << message;
  unsetenv("TESSERA_CACHE");
}

}  // namespace
}  // namespace tessera
