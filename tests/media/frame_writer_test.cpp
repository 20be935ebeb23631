#include "media/frame_writer.h"

#include <ATen/ATen.h>

#include "media/image_io.h"
#include "media/jpeg_text.h"
#include "media/picture.h"
#include "media/video_reader.h"
#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using test::coded_error_of;
using test::contains;
class FrameWriterTest : public test::FolderTest {};

OutputOptions options(int64_t width, int64_t height) {
  OutputOptions made;
  made.width = width;
  made.height = height;
  made.text = {{"parameters", "a star"}};
  return made;
}

at::Tensor flat(int64_t width, int64_t height, int value) {
  return at::full({height, width, 3}, value, at::kByte);
}

TEST(OutputKindTest, FollowsTheName) {
  EXPECT_EQ(output_kind("x.png"), OutputKind::kImage);
  EXPECT_EQ(output_kind("dir.mp4/x.PNG"), OutputKind::kImage);
  EXPECT_EQ(output_kind("out/frame_%04d.png"), OutputKind::kFrames);
  EXPECT_EQ(output_kind("%01d.png"), OutputKind::kFrames);
  EXPECT_EQ(output_kind("x.JPG"), OutputKind::kImage);
  EXPECT_EQ(output_kind("f_%03d.jpeg"), OutputKind::kFrames);
  for (const char* name : {"x.mp4", "x.MOV", "x.mkv", "x.webm", "x.gif", "x.webp", "100%.mp4"})
    EXPECT_EQ(output_kind(name), OutputKind::kVideo) << name;
}

TEST(OutputKindTest, RefusesUnknownExtensionsAndBadPatterns) {
  for (const char* name : {"x", "x.tif", "x.mp4.", "out/", ".png"})
    EXPECT_TRUE(contains(coded_error_of([&] { output_kind(name); }),
                         "must end in .png, .jpg, .jpeg, .mp4, .mov, .mkv, .webm, .gif, .webp"))
        << name;
  for (const char* name : {"%d.png", "%4d.png", "%0d.png", "%00d.png", "%010d.png", "x%i.png", "%04d_%04d.png"})
    EXPECT_TRUE(contains(coded_error_of([&] { output_kind(name); }), "2: bad frame pattern")) << name;
}

TEST(OutputKindTest, APercentSignThatIsNoNumberIsItself) {
  for (const char* name : {"100%.png", "50% off sign.png", "%%04d.png", "100%dark.png", "%04x.png", "%.png"})
    EXPECT_EQ(output_kind(name), OutputKind::kImage) << name;
  for (const char* name : {"%04d.mp4", "100%%.mp4", "%d.gif"}) EXPECT_EQ(output_kind(name), OutputKind::kVideo) << name;
  EXPECT_EQ(output_kind("100%%_%04d.png"), OutputKind::kFrames);
  EXPECT_EQ(single_file("a%%b/100%.png"), "a%%b/100%.png");
  EXPECT_EQ(single_file("100%%.png"), "100%.png");
  EXPECT_EQ(single_file("%%04d.png"), "%04d.png");
  EXPECT_EQ(single_file("%%%.mp4"), "%%.mp4");
  EXPECT_EQ(single_file("f_%04d.png"), "f_%04d.png");
  EXPECT_EQ(frame_path("100%%_%02d%%.png", 7), "100%_07%.png");
  for (const std::string name : {"100%", "%04d", "%%", "%d"}) {
    EXPECT_EQ(single_file(literal_name(name) + ".png"), name + ".png");
    EXPECT_EQ(output_kind(literal_name(name) + ".png"), OutputKind::kImage);
  }
}

TEST(FrameRateCheck, FollowsTheFormat) {
  EXPECT_EQ(check_frame_rate("x.mp4", {240, 1}), "");
  EXPECT_EQ(check_frame_rate("x_%04d.png", {240, 1}), "");
  EXPECT_EQ(check_frame_rate("x.gif", {50, 1}), "");
  EXPECT_TRUE(contains(check_frame_rate("x.gif", {51, 1}), "much slower"));
  EXPECT_TRUE(contains(check_frame_rate("x.GIF", {60000, 1001}), "60000/1001 frames per second"));
  EXPECT_TRUE(contains(check_frame_rate("x.gif", {100, 1}), "much slower"));
  EXPECT_TRUE(contains(coded_error_of([&] { check_frame_rate("x.gif", {101, 1}); }), "2: a .gif file cannot hold 101"));
  EXPECT_EQ(check_frame_rate("x.webp", {90, 1}), "");
  EXPECT_TRUE(contains(check_frame_rate("x.webp", {120, 1}), "much slower"));
}

TEST_F(FrameWriterTest, NamesWithAPercentSign) {
  for (const std::string extension : {".png", ".mp4", ".gif"}) {
    const auto writer = open_frame_writer(folder / ("50%% off" + extension), options(16, 16));
    writer->write(flat(16, 16, 9));
    writer->finish();
    EXPECT_TRUE(std::filesystem::exists(folder / ("50% off" + extension))) << extension;
  }
  OutputOptions fast = options(16, 16);
  fast.fps = {120, 1};
  EXPECT_TRUE(contains(coded_error_of([&] { open_frame_writer(folder / "x.gif", fast); }), "2: a .gif file cannot"));
}

TEST(FramePath, PutsTheNumberIn) {
  EXPECT_EQ(frame_path("out/frame_%04d.png", 7), "out/frame_0007.png");
  EXPECT_EQ(frame_path("%02d-x.png", 123), "123-x.png");
}

TEST_F(FrameWriterTest, AnImageAppearsWhenItIsFinished) {
  const auto writer = open_frame_writer(folder / "x.png", options(5, 4));
  writer->write(flat(5, 4, 9));
  EXPECT_EQ(test::listing(folder.path()).size(), 0u);
  EXPECT_TRUE(contains(coded_error_of([&] { writer->write(flat(5, 4, 9)); }), "holds one image"));
  writer->finish();
  EXPECT_TRUE(read_picture(folder / "x.png").equal(flat(5, 4, 9)));
  EXPECT_EQ(read_png_text(test::read_text(folder / "x.png"), "x.png").at("parameters"), "a star");
  EXPECT_THROW(open_frame_writer(folder / "y.png", options(5, 4))->write(flat(4, 5, 0)), c10::Error);
}

TEST_F(FrameWriterTest, ASequenceMakesItsFolderAndNumbersItsFrames) {
  const auto writer = open_frame_writer(folder / "new" / "f_%03d.png", options(5, 4));
  for (int i = 0; i < 3; ++i) writer->write(flat(5, 4, i));
  writer->finish();
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(read_picture(folder / "new" / ("f_00" + std::to_string(i) + ".png")).equal(flat(5, 4, i)));
  EXPECT_TRUE(contains(coded_error_of([&] { open_frame_writer(folder / "a" / "b" / "%04d.png", options(5, 4)); }),
                       "does not exist"));
}

TEST_F(FrameWriterTest, JpegsCarryTheirTextAndAreCloseToThePixels) {
  const at::Tensor pixels = at::arange(0, 255, 3, at::kByte).view({1, 85, 1}).expand({40, 85, 3}).contiguous();
  for (const std::string name : {"x.jpg", "f_%02d.JPEG"}) {
    const auto writer = open_frame_writer(folder / name, options(85, 40));
    writer->write(pixels);
    writer->finish();
    const auto path = name == "x.jpg" ? folder / name : frame_path(folder / name, 0);
    const at::Tensor there = read_picture(path);
    ASSERT_EQ(there.sizes(), pixels.sizes());
    EXPECT_LE((there.to(at::kInt) - pixels.to(at::kInt)).abs().max().item<int>(), 4) << name;
    const std::string bytes = test::read_text(path);
    EXPECT_EQ(bytes.substr(0, 3), "\xFF\xD8\xFF") << name;
    EXPECT_EQ(read_jpeg_text(bytes, name).at("parameters"), "a star");
  }
  EXPECT_TRUE(contains(coded_error_of([&] { open_frame_writer(folder / "x.jpg", options(65501, 1)); }),
                       "2: a JPEG of 65501x1 has a side of more than 65,500"));
}

TEST_F(FrameWriterTest, ASequenceWithoutFramesLeavesNoFolder) {
  open_frame_writer(folder / "new" / "%03d.png", options(5, 4));
  EXPECT_EQ(test::listing(folder.path()).size(), 0u);
}

TEST_F(FrameWriterTest, AVideoGoesToTheVideoWriter) {
  const auto writer = open_frame_writer(folder / "x.mp4", options(16, 16));
  writer->write(flat(16, 16, 128));
  writer->finish();
  EXPECT_EQ(writer->note(), "");
  EXPECT_EQ(read_video(folder / "x.mp4").frames.size(0), 1);
}

TEST_F(FrameWriterTest, APngThatIsTooLargeFailsBeforeTheFirstFrame) {
  for (const char* name : {"x.png", "new/%04d.png"})
    EXPECT_TRUE(contains(coded_error_of([&] { open_frame_writer(folder / name, options(1 << 20, 1 << 20)); }),
                         "2: a PNG of 1048576x1048576 has more than a gigabyte of pixels"))
        << name;
  EXPECT_EQ(test::listing(folder.path()).size(), 0u);
}

TEST_F(FrameWriterTest, UnwritableNamesFailBeforeTheFirstFrame) {
  for (const char* name : {"no/x.png", "no/x.mp4", "no/no/%04d.png"})
    EXPECT_TRUE(contains(coded_error_of([&] { open_frame_writer(folder / name, options(16, 16)); }), "2: cannot write"))
        << name;
}

}  // namespace
}  // namespace tessera
