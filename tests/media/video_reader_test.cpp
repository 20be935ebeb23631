#include "media/video_reader.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <array>

#include "media/video_writer.h"
#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using test::coded_error_of;
using test::contains;
using test::read_text;
using test::write_bytes;
class VideoReaderTest : public test::FolderTest {};

const std::filesystem::path kVideos = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/videos";

/// The first frame and what is said of it.
struct First {
  at::Tensor frame;
  VideoFacts facts;
};

First first_of(const std::filesystem::path& path, const std::string& matrix = "auto") {
  First first;
  first.facts = each_frame(
      path, [&](const at::Tensor& frame) { return first.frame = frame, false; }, matrix);
  return first;
}

std::array<int, 3> center(const at::Tensor& frame) {
  const at::Tensor pixel = frame[frame.size(0) / 2][frame.size(1) / 2];
  return {pixel[0].item<int>(), pixel[1].item<int>(), pixel[2].item<int>()};
}

std::vector<at::Tensor> frames_of(const std::filesystem::path& path) {
  std::vector<at::Tensor> frames;
  each_frame(path, [&](const at::Tensor& frame) { return frames.push_back(frame), true; });
  return frames;
}

void write_video(const std::filesystem::path& path, const std::vector<at::Tensor>& frames) {
  OutputOptions options;
  options.height = frames[0].size(0);
  options.width = frames[0].size(1);
  options.fps = {10, 1};
  VideoWriter writer(path, options);
  for (const at::Tensor& frame : frames) writer.write(frame);
  writer.finish();
}

/// Noise, so that every packet has some length.
std::vector<at::Tensor> noise(int64_t count) {
  at::manual_seed(1);
  std::vector<at::Tensor> frames;
  for (int64_t i = 0; i < count; ++i) frames.push_back(at::randint(256, {48, 64, 3}, at::kByte));
  return frames;
}

// All hold Y 145, U 54, V 34 but full_range.avi, whose 150, 43, 21 is the same green in full range. Expected by the
// standards' formulas, e.g. BT.709: G = 1.164 (145 - 16) - 0.213 (54 - 128) - 0.533 (34 - 128) = 216.
TEST_F(VideoReaderTest, MatrixAndRangeAreTheFilesOrBt601Limited) {
  struct Case {
    const char *file, *matrix;
    std::array<int, 3> color;
    const char *read_as, *source;
    bool full_range;
  };
  const std::vector<Case> cases = {
      {"untagged_720.mp4", "auto", {0, 255, 0}, "bt601", "assumed", false},
      {"untagged_32.mp4", "auto", {0, 255, 0}, "bt601", "assumed", false},
      {"tagged_601.mp4", "auto", {0, 255, 0}, "bt601", "tagged", false},
      {"tagged_709.mp4", "auto", {0, 216, 0}, "bt709", "tagged", false},
      {"tagged_full.mp4", "auto", {13, 238, 14}, "bt601", "tagged", true},
      {"full_range.avi", "auto", {0, 255, 0}, "bt601", "tagged", true},
      {"untagged_720.mp4", "bt709", {0, 216, 0}, "bt709", "chosen", false},
      {"untagged_32.mp4", "bt2020", {0, 225, 0}, "bt2020", "chosen", false},
      {"tagged_709.mp4", "bt601", {0, 255, 0}, "bt601", "chosen", false},
      {"hdr.mp4", "auto", {0, 225, 0}, "bt2020", "tagged", false},
  };
  for (const Case& wanted : cases) {
    const First found = first_of(kVideos / wanted.file, wanted.matrix);
    const std::string what = std::string(wanted.file) + " by " + wanted.matrix;
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(center(found.frame)[i], wanted.color[i], 3) << what << " channel " << i;
    EXPECT_EQ(found.facts.matrix, wanted.read_as) << what;
    EXPECT_EQ(found.facts.source, wanted.source) << what;
    EXPECT_EQ(found.facts.full_range, wanted.full_range) << what;
    EXPECT_EQ(found.facts.hdr, std::string(wanted.file) == "hdr.mp4") << what;
  }
  write_video(folder / "x.gif", {at::full({8, 8, 3}, 200, at::kByte)});
  EXPECT_EQ(first_of(folder / "x.gif").facts.matrix, "rgb");
  EXPECT_EQ(color_matrix_names(), (std::vector<std::string>{"auto", "bt601", "bt709", "bt2020"}));
}

// A file that did not say BT.709 would come back by BT.601: green would be (0, 255, 0) no more.
TEST_F(VideoReaderTest, WhatIsWrittenIsTaggedAndComesBackAtAnyHeight) {
  const at::Tensor green = at::tensor({0, 255, 0}, at::kByte);
  for (const char* name : {"x.mp4", "x.mov", "x.mkv", "x.webm"}) {
    for (const int64_t height : {32, 720}) {
      write_video(folder / name, {green.expand({height, 48, 3}).contiguous()});
      const First found = first_of(folder / name);
      EXPECT_EQ(found.facts.matrix + " " + found.facts.source, "bt709 tagged") << name;
      EXPECT_FALSE(found.facts.full_range || found.facts.hdr || found.facts.turned) << name;
      const auto color = center(found.frame);
      EXPECT_TRUE(color[0] <= 3 && color[1] >= 252 && color[2] <= 3)
          << name << " " << height << ": " << color[0] << "," << color[1] << "," << color[2];
    }
  }
}

/// Overwrites {a, b, c, d} of the display matrix in an MP4's track header.
void set_matrix(const std::filesystem::path& path, const std::array<int32_t, 4>& values) {
  std::string bytes = read_text(path);
  const size_t matrix = bytes.find("tkhd") + 4 + 40;
  const size_t places[] = {0, 4, 12, 16};
  for (size_t i = 0; i < 4; ++i) {
    const auto value = static_cast<uint32_t>(values[i]) << 16;
    for (size_t k = 0; k < 4; ++k) bytes[matrix + places[i] + k] = static_cast<char>(value >> (24 - 8 * k));
  }
  write_bytes(path, bytes);
}

// A pixel stored at (x, y) is shown at (a x + c y, b x + d y).
TEST_F(VideoReaderTest, TurnedAndMirroredVideosAreUpright) {
  at::Tensor stored = at::zeros({32, 48, 3}, at::kByte);
  stored.slice(0, 0, 16).slice(1, 0, 24).fill_(250);  // top left
  stored.slice(0, 16).slice(1, 0, 24).fill_(120);     // bottom left
  write_video(folder / "x.mp4", {stored, stored});
  const at::Tensor plain = first_of(folder / "x.mp4").frame;
  EXPECT_FALSE(first_of(folder / "x.mp4").facts.turned);
  const std::vector<std::pair<std::array<int32_t, 4>, at::Tensor>> cases = {
      {{0, 1, -1, 0}, at::rot90(plain, -1)},             // a quarter to the right, as phones do
      {{0, -1, 1, 0}, at::rot90(plain, 1)},              // a quarter to the left
      {{-1, 0, 0, -1}, at::rot90(plain, 2)},             // upside down
      {{-1, 0, 0, 1}, plain.flip(1)},                    // mirrored
      {{1, 0, 0, -1}, plain.flip(0)},                    // bottom up
      {{0, 1, 1, 0}, plain.transpose(0, 1)},             // rows are columns
      {{0, -1, -1, 0}, plain.transpose(0, 1).rot90(2)},  // the same about the other diagonal
  };
  for (const auto& [matrix, wanted] : cases) {
    set_matrix(folder / "x.mp4", matrix);
    const First found = first_of(folder / "x.mp4");
    EXPECT_TRUE(found.frame.equal(wanted)) << matrix[0] << matrix[1] << matrix[2] << matrix[3];
    EXPECT_TRUE(found.facts.turned && found.frame.is_contiguous());
    EXPECT_TRUE(read_video(folder / "x.mp4").frames[1].equal(wanted));
  }
  set_matrix(folder / "x.mp4", {1, 1, -1, 1});  // 45 degrees
  const First found = first_of(folder / "x.mp4");
  EXPECT_TRUE(found.frame.equal(plain));
  EXPECT_TRUE(found.facts.other_angle && !found.facts.turned);
}

// Stored dark left and bright right; ffmpeg shows the bright half at the top.
TEST_F(VideoReaderTest, H264MaySayItselfThatItIsTurned) {
  const First found = first_of(kVideos / "turned_by_sei.mp4");
  ASSERT_EQ(found.frame.sizes(), (at::IntArrayRef{48, 32, 3}));
  EXPECT_NEAR(found.frame[4][16][0].item<int>(), 214, 3);
  EXPECT_NEAR(found.frame[44][16][0].item<int>(), 40, 3);
  EXPECT_EQ(count_video_frames(kVideos / "turned_by_sei.mp4"), 2) << "it holds for the second frame too";
}

// Frame n has luma 20 + 8 n. The numbers of frames are those of `ffprobe -count_frames` and PyAV.
TEST_F(VideoReaderTest, FramesComeInTheOrderInWhichTheyAreShown) {
  const auto upwards = [](int first, int count) {
    std::vector<int> all;
    for (int i = 0; i < count; ++i) all.push_back(first + i);
    return all;
  };
  const std::vector<std::pair<std::string, std::vector<int>>> cases = {
      {"b_frames.mp4", upwards(0, 12)},       {"edit_list.mp4", upwards(4, 8)},
      {"negative_times.mkv", upwards(0, 12)}, {"variable_rate.mkv", {0, 1, 2, 8, 9, 10, 11}},
      {"counted.webm", upwards(0, 12)},       {"counted.avi", upwards(0, 25)},
  };
  for (const auto& [name, wanted] : cases) {
    std::vector<int> found;
    for (const at::Tensor& frame : frames_of(kVideos / name))
      found.push_back(static_cast<int>(std::lround((center(frame)[1] * 219 / 255.0 + 16 - 20) / 8)));
    EXPECT_EQ(found, wanted) << name;
    EXPECT_EQ(count_video_frames(kVideos / name), static_cast<int64_t>(wanted.size())) << name;
  }
}

TEST_F(VideoReaderTest, ACountEndsWhenItIsTold) {
  int asked = 0;
  EXPECT_EQ(count_video_frames(kVideos / "counted.avi", [&] { return ++asked <= 5; }), 5);
}

// FFmpeg reads what is left of each without a word.
TEST_F(VideoReaderTest, CutOffFilesAreRefusedWhateverTheirContainer) {
  const std::vector<at::Tensor> frames = noise(6);
  std::vector<std::filesystem::path> files{kVideos / "counted.avi"};
  for (const char* name : {"x.mp4", "x.mov", "x.mkv", "x.webm", "x.gif"}) {
    write_video(folder / name, frames);
    files.push_back(folder / name);
  }
  for (const std::filesystem::path& file : files) {
    const std::string bytes = read_text(file);
    EXPECT_GT(count_video_frames(file), 0) << file;
    const std::filesystem::path cut = folder / ("cut" + file.extension().string());
    for (const size_t left : {bytes.size() * 6 / 10, bytes.size() - 1}) {
      write_bytes(cut, bytes.substr(0, left));
      const std::string wanted = "2: cannot read the video " + cut.string() + ": it is cut off: by its structure";
      for (const std::string& found :
           {coded_error_of([&] { frames_of(cut); }), coded_error_of([&] { count_video_frames(cut); }),
            coded_error_of([&] { read_video(cut); })})
        EXPECT_TRUE(contains(found, wanted)) << left << " of " << bytes.size() << ": " << found;
    }
    write_bytes(cut, bytes + "what follows is no part of it");
    EXPECT_EQ(count_video_frames(cut), count_video_frames(file)) << file;
  }
}

// A download with a hole: decoders make up what is missing, and the reader of Matroska stops at the hole.
TEST_F(VideoReaderTest, DamageInTheMiddleIsRefused) {
  const std::vector<at::Tensor> frames = noise(30);
  for (const char* name : {"x.mp4", "x.mkv", "x.webm"}) {
    write_video(folder / name, frames);
    std::string bytes = read_text(folder / name);
    const size_t middle = bytes.size() / 2;
    for (size_t i = 0; i < 4000; ++i) bytes[middle + i] = static_cast<char>(i * 37 + 11);
    write_bytes(folder / name, bytes);
    EXPECT_TRUE(contains(coded_error_of([&] { count_video_frames(folder / name); }), "2: cannot read the video "))
        << name;
  }
}

TEST_F(VideoReaderTest, WhatIsNoVideoSaysWhy) {
  write_bytes(folder / "zero.mp4", "");
  const std::string whole = read_text(kVideos / "b_frames.mp4");
  write_bytes(folder / "nomoov.mp4", whole.substr(0, whole.find("moov") - 4));
  ASSERT_EQ(mkfifo((folder / "fifo.mp4").c_str(), 0600), 0);
  const std::vector<std::pair<std::filesystem::path, std::string>> cases = {
      {folder / "zero.mp4", "the file is empty"},
      {folder / "nomoov.mp4", "moov atom not found"},
      {folder / "fifo.mp4", "it is not a regular file"},
      {folder.path(), "it is a folder"},
      {folder / "absent.mp4", "No such file"},
      {kVideos / "audio.mp4", "it has no video stream; check"},
      {kVideos / "audio_with_cover.mp4", "it has no video stream, only a cover picture"},
      {kVideos / "size_changes.mp4", "its frame size changes from 32x32 to 48x32 at frame 3"},
  };
  for (const auto& [file, words] : cases) {
    for (const std::string& found : {coded_error_of([&, path = file] { frames_of(path); }),
                                     coded_error_of([&, path = file] { count_video_frames(path); })})
      EXPECT_TRUE(contains(found, "2: cannot read the video " + file.string()) && contains(found, words))
          << file << ": " << found;
  }
}

}  // namespace
}  // namespace tessera
