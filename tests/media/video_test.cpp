#include <ATen/ATen.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/cancel.h"
#include "media/video_reader.h"
#include "media/video_writer.h"
#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using test::coded_error_of;
using test::contains;
using test::read_text;
class VideoTest : public test::FolderTest {};

OutputOptions options(int64_t width, int64_t height, FrameRate fps = {16, 1}) {
  OutputOptions made;
  made.width = width;
  made.height = height;
  made.fps = fps;
  return made;
}

using Color = std::array<int, 3>;

at::Tensor flat(int64_t width, int64_t height, const Color& color) {
  return at::tensor({color[0], color[1], color[2]}, at::kByte).expand({height, width, 3}).contiguous();
}

void write_video(const std::filesystem::path& path, const std::vector<at::Tensor>& frames,
                 const OutputOptions& options) {
  VideoWriter writer(path, options);
  for (const at::Tensor& frame : frames) writer.write(frame);
  writer.finish();
}

/// Smooth and moving, so that every frame differs.
std::vector<at::Tensor> waves(int64_t width, int64_t height, int64_t count) {
  const at::Tensor x = at::arange(width, at::kFloat).view({1, 1, width}),
                   y = at::arange(height, at::kFloat).view({1, height, 1});
  const at::Tensor phase = at::arange(3, at::kFloat).view({3, 1, 1});
  std::vector<at::Tensor> frames;
  for (int64_t t = 0; t < count; ++t)
    frames.push_back((x * 0.06 + y * 0.04 + phase + static_cast<double>(t) * 0.2).sin().mul(0.4).add(0.5));
  return frames;
}

double mean_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().mean().item<double>();
}

/// What ffprobe says of the first stream and of the container.
nlohmann::json probe(const std::filesystem::path& path) {
  const std::string command =
      "ffprobe -v error -count_frames -show_streams -show_format -of json '" + path.string() + "'";
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  std::array<char, 4096> part;
  while (const size_t size = fread(part.data(), 1, part.size(), pipe)) text.append(part.data(), size);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return nlohmann::json::parse(text);
}

TEST_F(VideoTest, EveryFlatColorComesBack) {
  const std::vector<Color> colors = {{255, 0, 0},     {0, 255, 0},   {0, 0, 255},   {255, 255, 0},
                                     {0, 255, 255},   {255, 0, 255}, {0, 0, 0},     {255, 255, 255},
                                     {128, 128, 128}, {200, 30, 90}, {255, 128, 0}, {10, 60, 200}};
  for (const char* name : {"x.mp4", "x.webm"}) {
    for (const Color& color : colors) {
      write_video(folder / name, {flat(64, 48, color)}, options(64, 48));
      const at::Tensor back = read_video(folder / name).frames[0];
      const at::Tensor difference = (back.to(at::kInt) - flat(64, 48, color).to(at::kInt)).abs();
      EXPECT_LE(difference.max().item<int>(), 3)
          << name << " " << color[0] << "," << color[1] << "," << color[2] << " came back as " << back[20][30];
    }
  }
}

/// The planes of a one-frame video as stored, by ffmpeg.
std::string stored_yuv420(const std::filesystem::path& video) {
  const std::string raw = video.string() + ".yuv";
  const std::string command =
      "ffmpeg -v error -y -i '" + video.string() + "' -f rawvideo -pix_fmt yuv420p '" + raw + "'";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  return read_text(raw);
}

// 16 + 219 * 0.2126 = 62.6, 128 - 0.2126 / 1.8556 * 224 = 102.3, 128 + 224 / 2 = 240: BT.709, not the 81, 90, 240 of
// BT.601.
TEST_F(VideoTest, RedIsStoredAsBt709LimitedRange) {
  write_video(folder / "x.mp4", {flat(64, 48, {255, 0, 0})}, options(64, 48));
  const std::string yuv = stored_yuv420(folder / "x.mp4");
  ASSERT_EQ(yuv.size(), 64u * 48 * 3 / 2);
  EXPECT_NEAR(static_cast<unsigned char>(yuv[64 * 24 + 32]), 63, 1);
  EXPECT_NEAR(static_cast<unsigned char>(yuv[64 * 48 + 32 * 12 + 16]), 102, 1);
  EXPECT_NEAR(static_cast<unsigned char>(yuv[64 * 48 * 5 / 4 + 32 * 12 + 16]), 240, 1);
}

// Across a ramp from blue to red, red is 2x and blue 255 - 2x at pixel x, so V = 128 + (red - Y) / 1.5748 * 224 / 255
// tells where a chroma sample sits: at pixel 2k, on the left one of its two, as the file is tagged.
TEST_F(VideoTest, ChromaSitsAtTheLeft) {
  at::Tensor ramp = at::zeros({64, 128, 3}, at::kByte);
  ramp.select(2, 0).copy_(at::arange(128, at::kInt).mul(2).expand({64, 128}));
  ramp.select(2, 2).copy_(255 - ramp.select(2, 0));
  write_video(folder / "x.mp4", {ramp}, options(128, 64));
  const std::string yuv = stored_yuv420(folder / "x.mp4");
  ASSERT_EQ(yuv.size(), 128u * 64 * 3 / 2);
  const double scale = 224 / 255.0 / 1.5748, slope = (2 - 2 * 0.2126 + 2 * 0.0722) * scale,
               start = -0.0722 * 255 * scale;
  double offset = 0;
  for (size_t k = 8; k < 56; ++k) {
    const int v = static_cast<unsigned char>(yuv[128 * 64 * 5 / 4 + 64 * 16 + k]);
    offset += ((v - 128 - start) / slope - 2.0 * static_cast<double>(k)) / 48;
  }
  EXPECT_NEAR(offset, 0, 0.2);
}

TEST_F(VideoTest, AnMp4IsWhatPlayersWant) {
  OutputOptions wanted = options(128, 96, {24000, 1001});
  wanted.comment = R"({"prompt": "a 🌟 on café"})";
  write_video(folder / "x.mp4", waves(128, 96, 17), wanted);
  const nlohmann::json found = probe(folder / "x.mp4"), stream = found["streams"][0];
  EXPECT_EQ(stream["codec_name"], "h264");
  EXPECT_EQ(stream["profile"], "High");
  EXPECT_EQ(stream["pix_fmt"], "yuv420p");
  EXPECT_EQ(stream["color_range"], "tv");
  for (const char* tag : {"color_space", "color_transfer", "color_primaries"}) EXPECT_EQ(stream[tag], "bt709") << tag;
  EXPECT_EQ(stream["chroma_location"], "left");
  EXPECT_EQ(stream["sample_aspect_ratio"], "1:1");
  EXPECT_EQ(stream["r_frame_rate"], "24000/1001");
  EXPECT_EQ(stream["avg_frame_rate"], "24000/1001");
  EXPECT_EQ(stream["nb_read_frames"], "17");
  EXPECT_NEAR(std::stod(stream["duration"].get<std::string>()), 17 * 1001 / 24000.0, 1e-3);
  EXPECT_EQ(found["format"]["tags"]["comment"], wanted.comment);
  EXPECT_FALSE(found["format"]["tags"].contains("creation_time"));
  const std::string bytes = read_text(folder / "x.mp4");
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
  EXPECT_EQ(test::listing(folder.path()).size(), 1u);
}

TEST_F(VideoTest, FramesRateAndCommentComeBack) {
  const std::vector<at::Tensor> frames = waves(96, 64, 9);
  OutputOptions wanted = options(96, 64, {25, 2});
  wanted.comment = std::string(100000, 'x') + "🌙";
  for (const char* name : {"x.mp4", "x.mov", "x.mkv", "x.webm"}) {
    write_video(folder / name, frames, wanted);
    const Video video = read_video(folder / name);
    ASSERT_EQ(video.frames.sizes(), (at::IntArrayRef{9, 64, 96, 3})) << name;
    EXPECT_EQ(video.fps, (FrameRate{25, 2})) << name;
    EXPECT_EQ(video.tags.at("comment"), wanted.comment) << name;
    EXPECT_EQ(video.pixel_format, "yuv420p") << name;
    for (int64_t t = 0; t < 9; ++t)
      EXPECT_LT(mean_difference(video.frames[t], frames[size_t(t)].permute({1, 2, 0}) * 255), 2.0)
          << name << " frame " << t;
  }
  EXPECT_EQ(read_video(folder / "x.mp4", 3).frames.size(0), 3);
}

TEST_F(VideoTest, OddSidesArePaddedByTheirLastRowAndColumn) {
  at::Tensor frame = flat(97, 65, {40, 40, 40});
  frame.slice(1, 80).copy_(flat(17, 65, {220, 220, 220}));
  write_video(folder / "x.mp4", {frame, frame, frame}, options(97, 65));
  const at::Tensor back = read_video(folder / "x.mp4").frames[1];
  ASSERT_EQ(back.sizes(), (at::IntArrayRef{66, 98, 3}));
  EXPECT_LT(mean_difference(back.slice(0, 0, 65).slice(1, 0, 97), frame), 1.5);
  EXPECT_LT(mean_difference(back.select(1, 97), back.select(1, 96)), 2.0);
  EXPECT_NEAR(back[65][97][0].item<int>(), 220, 4);
  EXPECT_NEAR(back[65][0][0].item<int>(), 40, 4);
}

TEST_F(VideoTest, TinyAndSingleFrameVideosWork) {
  for (const auto& [width, height] : {std::pair{1, 1}, {2, 2}, {7, 3}, {16, 16}}) {
    write_video(folder / "x.mp4", {flat(width, height, {90, 90, 90})}, options(width, height));
    const Video video = read_video(folder / "x.mp4");
    EXPECT_EQ(video.frames.size(0), 1) << width << "x" << height;
    EXPECT_NEAR(video.frames[0][0][0][0].item<int>(), 90, 3) << width << "x" << height;
  }
  EXPECT_NEAR(std::stod(probe(folder / "x.mp4")["format"]["duration"].get<std::string>()), 1 / 16.0, 1e-3);
}

// Fresh memory is filled with another byte for the second file: an encoder that reads what was never set shows itself.
// At 80 columns x264's AVX-512 code did.
TEST_F(VideoTest, TheSameFramesGiveTheSameBytes) {
  const std::vector<at::Tensor> frames = waves(80, 48, 12);
  OutputOptions wanted = options(80, 48);
  wanted.comment = "{}";
  for (const std::string extension : {".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp"}) {
    mallopt(M_PERTURB, 85);
    write_video(folder / ("a" + extension), frames, wanted);
    mallopt(M_PERTURB, 170);
    write_video(folder / ("b" + extension), frames, wanted);
    mallopt(M_PERTURB, 0);
    EXPECT_TRUE(read_text(folder / ("a" + extension)) == read_text(folder / ("b" + extension))) << extension;
  }
  // x264 writes its settings into the stream: a thread count taken from the machine would show here.
  const std::string mp4 = read_text(folder / "a.mp4");
  EXPECT_TRUE(contains(mp4, " threads=1 lookahead_threads=1 "));
  EXPECT_FALSE(contains(mp4, "Lavf"));
}

TEST_F(VideoTest, LosslessOnRequestIsExact) {
  const at::Tensor frame = waves(33, 21, 1)[0].mul(255).round().to(at::kByte).permute({1, 2, 0}).contiguous();
  OutputOptions wanted = options(33, 21);
  wanted.encoder = "ffv1";
  write_video(folder / "x.mkv", {frame, frame}, wanted);
  const Video video = read_video(folder / "x.mkv");
  EXPECT_EQ(video.codec, "ffv1");
  EXPECT_TRUE(video.frames[1].equal(frame));
}

TEST_F(VideoTest, AGifKeepsItsColorsAndLoops) {
  at::Tensor frame = flat(33, 21, {255, 0, 0});
  frame.slice(1, 20).copy_(flat(13, 21, {17, 34, 200}));
  const at::Tensor other = frame.flip(1).contiguous();
  write_video(folder / "x.gif", {frame, other, frame}, options(33, 21, {10, 1}));
  const Video video = read_video(folder / "x.gif");
  ASSERT_EQ(video.frames.sizes(), (at::IntArrayRef{3, 21, 33, 3}));
  EXPECT_TRUE(video.frames[0].equal(frame));
  EXPECT_TRUE(video.frames[1].equal(other));
  EXPECT_EQ(video.fps, (FrameRate{10, 1}));
  EXPECT_TRUE(contains(read_text(folder / "x.gif"), std::string("NETSCAPE2.0\3\1\0\0\0", 16)));
}

TEST_F(VideoTest, AWebpHoldsEveryFrame) {
  write_video(folder / "x.webp", waves(40, 24, 5), options(40, 24));
  const std::string bytes = read_text(folder / "x.webp");
  EXPECT_EQ(bytes.substr(0, 4) + bytes.substr(8, 4), "RIFFWEBP");
  size_t count = 0;
  for (size_t at = bytes.find("ANMF"); at != std::string::npos; at = bytes.find("ANMF", at + 1)) ++count;
  EXPECT_EQ(count, 5u);
  const size_t loop = bytes.find("ANIM");
  EXPECT_EQ(bytes.substr(loop + 12, 2), std::string(2, '\0'));  // for ever
}

TEST_F(VideoTest, MissingEncodersAreNamed) {
  OutputOptions wanted = options(32, 32);
  wanted.encoder = "libx999";
  EXPECT_TRUE(contains(coded_error_of([&] { VideoWriter(folder / "x.mp4", wanted); }),
                       "2: encoder \"libx999\" is not one for mp4 files; use one of libx264, libopenh264"));
  EXPECT_TRUE(
      contains(coded_error_of([&] { VideoWriter(folder / "x.avi", options(32, 32)); }), "use one of .mp4, .mov, .mkv"));
  EXPECT_EQ(test::listing(folder.path()).size(), 0u);
}

// x264 takes 16384 pixels a side, WebP one less; libwebp's encoder says so only at the first frame.
TEST_F(VideoTest, ASizeBeyondTheEncodersIsRefusedWhenTheFileIsOpened) {
  for (const auto& [name, most] :
       {std::pair{"x.mp4", 16384}, {"x.mov", 16384}, {"x.webm", 16384}, {"x.webp", 16383}, {"x.gif", 65535}}) {
    const auto opened = [path = folder / name](const OutputOptions& given) {
      return coded_error_of([&] { VideoWriter(path, given); });
    };
    EXPECT_EQ(opened(options(most, 2)), "none") << name;
    EXPECT_EQ(opened(options(2, most)), "none") << name;
    const std::string more = std::to_string(most + 1);
    for (const auto& [size, wanted] :
         {std::pair{more + "x2", options(most + 1, 2)}, {"2x" + more, options(2, most + 1)}})
      EXPECT_TRUE(
          contains(opened(wanted), std::string("2: cannot write ") + (folder / name).string() + " at " + size + ": "))
          << name << " " << size;
  }
  EXPECT_TRUE(contains(coded_error_of([&] { VideoWriter(folder / "x.webp", options(16384, 64)); }),
                       "libwebp_anim takes at most 16383 pixels a side; choose a smaller size or another extension"));
  OutputOptions lossless = options(20000, 20000);
  lossless.encoder = "ffv1";
  EXPECT_TRUE(contains(coded_error_of([&] { VideoWriter(folder / "x.mkv", lossless); }),
                       "2: cannot write " + (folder / "x.mkv").string() + " at 20000x20000: FFmpeg takes no frame"));
  EXPECT_EQ(test::listing(folder.path()).size(), 0u);
}

TEST_F(VideoTest, TheLargestSideIsEncoded) {
  write_video(folder / "x.mp4", {flat(16384, 16, {90, 90, 90})}, options(16384, 16));
  EXPECT_EQ(read_video(folder / "x.mp4").frames.size(2), 16384);
  write_video(folder / "x.webp", {flat(16383, 2, {90, 90, 90})}, options(16383, 2));
}

TEST_F(VideoTest, UnwritablePathsFailWithoutLeavingAnything) {
  EXPECT_TRUE(
      contains(coded_error_of([&] { VideoWriter(folder / "no" / "x.mp4", options(32, 32)); }), "does not exist"));
  EXPECT_TRUE(contains(coded_error_of([&] { VideoWriter(folder / "x.mp4", options(32, 32)); }), "none"));
  EXPECT_EQ(test::listing(folder.path()).size(), 0u);
  std::filesystem::create_directory(folder / "x.mp4");
  EXPECT_TRUE(contains(coded_error_of([&] { VideoWriter(folder / "x.mp4", options(32, 32)); }), "it is a folder"));
}

// Noise does not compress: 40 frames are far more than the limit, which stands for a full disk: its error comes from
// the same calls. The children of these tests are forked, so their frames are made before.
TEST_F(VideoTest, ALimitReachedWhileWritingLeavesNoFile) {
  std::vector<at::Tensor> noise;
  for (int i = 0; i < 40; ++i) noise.push_back(at::randint(256, {128, 128, 3}, at::kByte));
  const auto write_too_much = [&](const char* name) {
    install_signal_handlers();
    const rlimit limit = {60000, 60000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = coded_error_of([&] { write_video(folder / name, noise, options(128, 128)); });
    std::fprintf(stderr, "%s; %zu left\n", error.c_str(), test::listing(folder.path()).size());
    _exit(0);
  };
  for (const char* name : {"x.mp4", "x.mkv", "x.gif", "x.webm", "x.webp"})
    EXPECT_EXIT(write_too_much(name), testing::ExitedWithCode(0), "1: cannot write .*larger than allowed.*; 0 left")
        << name;
}

TEST_F(VideoTest, AKillWhileWritingLeavesNoFileOfThatName) {
  const std::vector<at::Tensor> frames(60, flat(64, 64, {1, 2, 3}));
  const auto killed = [&] {
    VideoWriter writer(folder / "x.mp4", options(64, 64));
    for (const at::Tensor& frame : frames) writer.write(frame);
    raise(SIGKILL);
  };
  EXPECT_EXIT(killed(), testing::KilledBySignal(SIGKILL), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "x.mp4"));
}

TEST_F(VideoTest, UnreadableVideosAreErrorsNamingTheFile) {
  EXPECT_TRUE(contains(coded_error_of([&] { read_video(folder / "x.mp4"); }), "x.mp4: No such file"));
  std::ofstream(folder / "x.mp4") << "not a video, only words of some length, again and again";
  EXPECT_TRUE(contains(coded_error_of([&] { read_video(folder / "x.mp4"); }),
                       "2: cannot read the video " + folder.path().string()));
  write_video(folder / "y.mp4", waves(64, 64, 20), options(64, 64));
  std::filesystem::resize_file(folder / "y.mp4", 600);
  EXPECT_TRUE(contains(coded_error_of([&] { read_video(folder / "y.mp4"); }), "2: cannot read the video "));
}

TEST_F(VideoTest, FramesOneByOneAreThoseOfTheWhole) {
  write_video(folder / "a.mp4", waves(48, 32, 7), options(48, 32));
  const at::Tensor whole = read_video(folder / "a.mp4").frames;
  std::vector<at::Tensor> frames;
  each_frame(folder / "a.mp4", [&](const at::Tensor& frame) { return frames.push_back(frame), true; });
  EXPECT_TRUE(at::stack(frames).equal(whole));
  int64_t seen = 0;
  each_frame(folder / "a.mp4", [&](const at::Tensor&) { return ++seen < 3; });
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(count_video_frames(folder / "a.mp4"), 7);
  write_video(folder / "a.gif", waves(48, 32, 5), options(48, 32));
  EXPECT_EQ(count_video_frames(folder / "a.gif"), 5);
  EXPECT_THROW(count_video_frames(folder / "absent.mp4"), Error);
}

}  // namespace
}  // namespace tessera
