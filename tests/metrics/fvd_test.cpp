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

TEST(VideoSet, FramesWithoutPaddingAreInTheirOrder) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "v");
  for (int i = 1; i <= 12; ++i)
    write_png(folder / "v" / (std::to_string(i) + ".png"), at::full({8, 8, 3}, 10 * i, at::kByte));
  const VideoSource video = find_videos(folder.path())[0];
  EXPECT_EQ(grays(read_clip(video, 12, {12, 1, false, 0}, 0)),
            (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
}

TEST(VideoSet, LinkedFramesGoByTheNamesOfTheLinks) {
  const TemporaryFolder folder, elsewhere;
  write_frames(elsewhere.path(), 3);  // 100.png to 102.png
  std::filesystem::create_directories(folder / "v");
  for (int i = 0; i < 3; ++i)
    std::filesystem::create_symlink(elsewhere / (std::to_string(102 - i) + ".png"),
                                    folder / "v" / (std::to_string(9 + i) + ".png"));
  EXPECT_EQ(grays(read_clip(find_videos(folder.path())[0], 3, {3, 1, false, 0}, 0)), (std::vector<int64_t>{2, 1, 0}));
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
  const auto clip = [&](const ClipRule& rule, int64_t index) { return read_clip(video, 20, rule, index); };
  EXPECT_EQ(count_frames(video), 20);
  EXPECT_EQ(grays(clip({4, 1, false, 0}, 0)), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(grays(clip({3, 5, false, 0}, 0)), (std::vector<int64_t>{0, 5, 10}));
  EXPECT_EQ(clip({4, 1, false, 0}, 0).pixels.sizes(), (at::IntArrayRef{1, 3, 4, 8, 8}));
  std::set<int64_t> begins;
  for (int64_t index = 0; index < 200; ++index) begins.insert(grays(clip({4, 4, true, 7}, index))[0]);
  // 20 - 16 + 4 - 1 is the last place: 0 to 7, whose last frame is 7 + 12 = 19.
  EXPECT_EQ(begins, (std::set<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(grays(clip({4, 4, true, 7}, 3)), grays(clip({4, 4, true, 7}, 3)));
  EXPECT_THROW(clip({21, 1, false, 0}, 0), c10::Error);
  EXPECT_TRUE(clip({20, 1, true, 1}, 5).pixels.defined());
}

/// Frame i is a flat gray of 10 i + 5.
void write_mp4(const std::filesystem::path& path, int count) {
  OutputOptions options;
  options.width = options.height = 32;
  options.fps = {8, 1};
  VideoWriter writer(path, options);
  for (int i = 0; i < count; ++i) writer.write(at::full({32, 32, 3}, 10 * i + 5, at::kByte));
  writer.finish();
}

TEST(VideoSet, VideoFilesGiveTheSameClipsAsTheirFrames) {
  const TemporaryFolder folder;
  write_mp4(folder / "v.mp4", 12);
  const VideoSource video = find_videos(folder / "v.mp4")[0];
  EXPECT_EQ(count_frames(video), 12);
  const Clip clip = read_clip(video, 12, {3, 3, false, 0}, 0);
  EXPECT_EQ(grays(clip), (std::vector<int64_t>{0, 3, 6}));
  EXPECT_EQ(clip.facts->matrix, "bt709");
  EXPECT_ERROR(read_clip(video, 14, {14, 1, false, 0}, 0), "ends at frame 12");
}

std::vector<CountedVideo> counted(const std::filesystem::path& folder, const VideoSetOptions& options) {
  const CheckedVideos checked = check_videos(find_videos(folder), options, {});
  EXPECT_EQ(checked.problem, "");
  return checked.videos;
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
  const VideoFeatures features = measure_videos(counted(folder.path(), options), *network, options, [&] { ++done; });
  EXPECT_EQ(done, 2);
  EXPECT_EQ(features.clips, 2);
  // Frames 0 and 2: grays 0 and 20, mean 10, largest 20; with 4 more in the other video. Covariance over N: 4.
  EXPECT_TRUE(at::allclose(features.gaussian.mean, at::tensor({12., 12., 12., 22., 22., 22.}, at::kDouble)));
  EXPECT_TRUE(at::allclose(features.gaussian.covariance, at::full({6, 6}, 4., at::kDouble)));
  EXPECT_EQ(features.store->count(), 2);
}

TEST(VideoCheck, ShortVideosAreListedAndRefusedUnlessSkipped) {
  const TemporaryFolder folder;
  for (int i = 0; i < 12; ++i) write_frames(folder / ("short" + std::to_string(100 + i)), 3);
  write_frames(folder / "long", 4);
  VideoSetOptions options;
  options.rule = {2, 2, false, 0};
  const std::vector<VideoSource> all = find_videos(folder.path());
  const std::string message = check_videos(all, options, {}).problem;
  EXPECT_NE(message.find("12 videos have fewer than the 4 frames"), std::string::npos) << message;
  EXPECT_NE(message.find("short100 (3)"), std::string::npos) << message;
  EXPECT_NE(message.find("and 2 more"), std::string::npos) << message;
  options.skip_short = true;
  const CheckedVideos skipped = check_videos(all, options, {});
  EXPECT_EQ(skipped.problem, "");
  EXPECT_EQ(skipped.short_videos.size(), 12u);
  ASSERT_EQ(skipped.videos.size(), 1u);
  EXPECT_EQ(skipped.videos[0].source.path, folder / "long");
  EXPECT_EQ(skipped.videos[0].frames, 4);
  options.most_clips = 1;
  EXPECT_EQ(check_videos(all, options, {}).short_videos.size(), 0u) << "the first long one is enough";
  options.rule = {5, 1, false, 0};
  EXPECT_NE(check_videos(all, options, {}).problem.find("no video"), std::string::npos);
}

/// A set of good videos, named 0_... to 5_..., between bad ones of every kind; with `good_only`, of those alone.
void write_mixed_set(const std::filesystem::path& folder, bool good_only) {
  const std::filesystem::path videos = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/videos";
  std::filesystem::create_directories(folder);
  for (const int i : {0, 2, 4}) write_mp4(folder / (std::to_string(i) + "_good.mp4"), 8 + i);
  for (const int i : {1, 3, 5}) write_frames(folder / (std::to_string(i) + "_frames"), 8 + i, i);
  if (good_only) return;
  test::write_bytes(folder / "0_empty.mp4", "");
  std::filesystem::copy(videos / "audio.mp4", folder / "1_audio.mp4");
  std::filesystem::copy(videos / "size_changes.mp4", folder / "2_changes.mp4");
  const std::string avi = test::read_text(videos / "counted.avi");
  test::write_bytes(folder / "3_cut.avi", avi.substr(0, avi.size() - 300));  // beyond its first 3 frames
  for (int i = 100; i < 108; ++i) test::write_bytes(folder / "3_damaged" / (std::to_string(i) + ".png"), "no picture");
  write_frames(folder / "4_sizes", 3, 7);
  write_png(folder / "4_sizes/101.png", at::zeros({8, 9, 3}, at::kByte));
}

TEST(VideoCheck, AllBadVideosAreNamedAtOnceAndWithTheShortOnes) {
  const TemporaryFolder folder;
  write_mixed_set(folder.path(), false);
  write_frames(folder / "6_short", 2);
  VideoSetOptions options;
  options.rule = {3, 1, false, 0};
  int looked_at = 0;
  const CheckedVideos checked = check_videos(find_videos(folder.path()), options, [&] { ++looked_at; });
  EXPECT_EQ(looked_at, 13);
  EXPECT_EQ(checked.videos.size(), 6u);
  EXPECT_EQ(checked.unreadable.size(), 6u);
  for (const char* words :
       {"6 of 13 videos cannot be read; --skip-unreadable", "0_empty.mp4: the file is empty",
        "1_audio.mp4: it has no video", "2_changes.mp4: its frame size changes", "3_cut.avi: it is cut off",
        "3_damaged/100.png", "8x8 and 9x8", "1 video has fewer than the 3 frames of a clip: ", "6_short (2)"})
    EXPECT_NE(checked.problem.find(words), std::string::npos) << words << " in " << checked.problem;
}

TEST(VideoCheck, SkippedVideosLeaveNoTrace) {
  const TemporaryFolder mixed, good;
  write_mixed_set(mixed.path(), false);
  write_mixed_set(good.path(), true);
  const auto network = open_video_extractor(kMeans.string(), 3, at::kCPU);
  VideoSetOptions options;
  options.rule = {3, 1, true, 5};  // random offsets, which depend on a video's place among the good ones
  options.skip_unreadable = true;
  for (const int64_t most : {0, 4}) {
    options.most_clips = most;
    const VideoFeatures of_mixed = measure_videos(counted(mixed.path(), options), *network, options, {});
    const VideoFeatures of_good = measure_videos(counted(good.path(), options), *network, options, {});
    EXPECT_EQ(of_mixed.clips, most == 0 ? 6 : 4);
    EXPECT_TRUE(of_mixed.gaussian.mean.equal(of_good.gaussian.mean));
    EXPECT_TRUE(of_mixed.gaussian.covariance.equal(of_good.gaussian.covariance));
    EXPECT_EQ(of_mixed.tally.words(),
              (most == 0 ? "3 videos as " : "2 videos as ") + std::string("BT.709 limited range (tagged)"));
  }
  for (const char* name : {"0_good.mp4", "1_frames", "2_good.mp4", "3_frames", "4_good.mp4", "5_frames"})
    std::filesystem::remove_all(mixed / name);
  EXPECT_NE(check_videos(find_videos(mixed.path()), options, {}).problem.find("none of 6 videos can be read"),
            std::string::npos);
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
