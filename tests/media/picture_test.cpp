#include "media/picture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

const std::filesystem::path kSamples = std::filesystem::path(TESSERA_SOURCE_DIR) / "tests/data/pictures";
const std::filesystem::path kPictures = std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "protocols/pictures";

std::string reason(const std::string& bytes) {
  return test::refusal_of([&] { decode_picture(bytes, "broken.jpg"); });
}

TEST(Picture, WhatIsNoPictureIsRefusedByName) {
  EXPECT_ERROR(decode_picture("", "broken.jpg"), "broken.jpg is not a readable picture: the file is empty");
  EXPECT_ERROR(decode_picture("hello, I am text", "broken.jpg"),
               "none of JPEG, PNG, WebP, BMP, PNM, PFM, TIFF, AVIF, HEIF, GIF, PSD, HDR, PIC, TGA");
  EXPECT_ERROR(read_picture("/no/such/file.png"), "cannot read /no/such/file.png");
  EXPECT_ERROR(read_picture("/"), "cannot read /: it is a folder");
  EXPECT_ERROR(read_picture("/dev/null"), "a FIFO, a socket or a device");
}

// NAME.EXT.png beside each sample holds what Pillow makes of it (tests/data/pictures/make*.py).
TEST(Picture, EveryFormatDecodesToPillowsPixels) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSamples)) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() == ".png" || path.extension() == ".py" || entry.is_directory()) continue;
    const std::string refusal = test::refusal_of([&] { read_picture(path); });
    EXPECT_EQ(refusal, "accepted");
    if (refusal == "accepted") {
      EXPECT_TRUE(read_picture(path).equal(read_picture(path.string() + ".png"))) << path;
    }
    ++count;
  }
  EXPECT_EQ(count, 86u);
}

TEST(Picture, TheContentChoosesTheDecoderNotTheName) {
  const std::string gif = test::read_text(kSamples / "first.gif");
  EXPECT_TRUE(decode_picture(gif, "x.jpg").equal(read_picture(kSamples / "first.gif.png")));
}

TEST(Picture, FormatsOfStbThatAreCutShortAreErrors) {
  // Behind these lie another frame of the GIF and the optional footers of the TGAs.
  const std::map<std::string, size_t> ends = {
      {"first.gif", 236}, {"rgb.tga", 369}, {"gray.tga", 135}, {"rgb.psd", 391}};
  for (const auto& [name, end] : ends) {
    const std::string picture = test::read_text(kSamples / name).substr(0, end);
    EXPECT_EQ(reason(picture), "accepted") << name;
    for (const size_t missing : {size_t{1}, end / 2, end - 20})
      EXPECT_NE(reason(picture.substr(0, end - missing)), "accepted") << name << " without " << missing;
  }
}

// A row of 128 bytes is read straight into the picture, and in one piece as large as stb's buffer.
TEST(Picture, ARowAsLongAsABufferThatIsCutShortIsAnError) {
  std::string tga("\0\0\3\0\0\0\0\0\0\0\0\0\x80\0\3\0\x8\0", 18);  // gray, 128x3, 8 bits
  tga += std::string(3 * 128, 'g');
  EXPECT_EQ(reason(tga), "accepted");
  EXPECT_NE(reason(tga.substr(0, tga.size() - 1)).find("cut short"), std::string::npos);
}

TEST(Picture, ATgaFromRightToLeftIsMirrored) {
  std::string tga("\0\0\3\0\0\0\0\0\0\0\0\0\3\0\2\0\x8\x30", 18);  // gray, 3x2, from the top right
  tga += "abcdef";
  const at::Tensor picture = decode_picture(tga, "x.tga");
  EXPECT_TRUE(picture.select(2, 0).equal(at::tensor({'c', 'b', 'a', 'f', 'e', 'd'}, at::kByte).view({2, 3})));
}

// The libraries count bytes in an int: without a check a file of 4 GiB and 100 bytes would be copied into 100 bytes.
TEST(Picture, FilesBeyondTwoGigabytesAreRefused) {
  constexpr size_t kSize = (size_t{1} << 32) + 100;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::string_view start = "8BPS";
  std::copy(start.begin(), start.end(), static_cast<char*>(memory));
  EXPECT_ERROR(decode_picture({static_cast<const char*>(memory), kSize}, "x"), "4294967396 bytes, more than 2 GiB");
  munmap(memory, kSize);
}

TEST(Picture, JpegAndPngThatAreCutShortAreErrors) {
  for (const char* name : {"rgb_420.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "grey16.png", "lossy.webp"}) {
    const std::string whole = test::read_text(kPictures / name);
    ASSERT_GT(whole.size(), 100u) << name;
    EXPECT_EQ(reason(whole), "accepted") << name;
    EXPECT_NE(reason(whole.substr(0, whole.size() / 2)), "accepted") << name;
    EXPECT_NE(reason(whole.substr(0, 20)), "accepted") << name;
  }
}

TEST(Picture, TheChecksumOfAPngsPixelsDoesNotCount) {
  const std::string whole = test::read_text(kPictures / "rgb.png");
  std::string damaged = whole;
  const size_t pixels = whole.find("IDAT");
  const auto byte = [&](size_t at) { return static_cast<size_t>(static_cast<unsigned char>(whole[at])); };
  const size_t length = byte(pixels - 4) << 24 | byte(pixels - 3) << 16 | byte(pixels - 2) << 8 | byte(pixels - 1);
  damaged[pixels + 4 + length] ^= 1;
  EXPECT_TRUE(decode_picture(damaged, "x.png").equal(decode_picture(whole, "x.png")));
  damaged[29] ^= 1;  // of the header: its numbers cannot be trusted
  EXPECT_NE(reason(damaged), "accepted");
}

TEST(Picture, FormatsWithoutALibraryAndThoseOfLibrariesThatAreCutShortAreErrors) {
  for (const char* name : {"raw.tif", "tiled_lzw.tif", "planar_deflate.tif", "group4.tif", "ycbcr_420.tif", "rgb.avif",
                           "rgb.bmp", "run_length_4.bmp", "os2.bmp", "bits.pbm", "bits_text.pbm", "levels_1000.ppm",
                           "levels_100_text.ppm", "float.pfm"}) {
    const std::string whole = test::read_text(kSamples / name);
    ASSERT_GT(whole.size(), 60u) << name;
    EXPECT_EQ(reason(whole), "accepted") << name;
    EXPECT_NE(reason(whole.substr(0, whole.size() * 2 / 3)), "accepted") << name;
    EXPECT_NE(reason(whole.substr(0, 20)), "accepted") << name;
  }
}

// The four corners of a picture whose rows and columns are exchanged, and one that Pillow has no mode for.
TEST(Picture, TiffsThatPillowRefusesAreReadOrRefusedInOneLine) {
  const at::Tensor plain = read_picture(kSamples / "tiled.tif");
  EXPECT_TRUE(read_picture(kSamples / "turned_5.tif").equal(plain.transpose(0, 1)));
  std::string tiff = test::read_text(kSamples / "gray_float.tif");
  const size_t bits = tiff.find(std::string("\x02\x01\x03\0\x01\0\0\0\x20\0", 10));  // BitsPerSample, 32
  ASSERT_NE(bits, std::string::npos);
  tiff[bits + 8] = 64;
  EXPECT_ERROR(decode_picture(tiff, "x.tif"), "x.tif is not a readable TIFF", "64 bits", "sample format 3");
}

TEST(Picture, LibrariesPrintNothing) {
  const std::string whole = test::read_text(kSamples / "tiff_lzw.tif");
  testing::internal::CaptureStderr();
  for (size_t at = 8; at < whole.size(); at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xFF);
    reason(damaged);
    reason(whole.substr(0, at));
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Picture, HeicIsRead) {
  const at::Tensor there = read_picture(kSamples / "lossy/gradient.heic").to(at::kInt);
  ASSERT_EQ(there.sizes(), at::IntArrayRef({48, 64, 3}));
  const at::Tensor x = at::arange(64, at::kInt).mul(4).view({1, 64}).expand({48, 64});
  const at::Tensor y = at::arange(48, at::kInt).mul(5).view({48, 1}).expand({48, 64});
  const at::Tensor right = at::stack({x, y, at::full({48, 64}, 128, at::kInt)}, 2);
  EXPECT_LT((there - right).abs().to(at::kFloat).mean().item<double>(), 3);
  const std::string whole = test::read_text(kSamples / "lossy/gradient.heic");
  EXPECT_NE(reason(whole.substr(0, whole.size() / 2)), "accepted");
}

TEST(Picture, ATiffsSizeIsCheckedBeforeMemoryIsTaken) {
  const std::string whole = test::read_text(kSamples / "gray_float.tif");
  const size_t width = whole.find(std::string("\0\1\4\0", 4)), height = whole.find(std::string("\1\1\4\0", 4));
  std::string damaged = whole;
  damaged.replace(width + 8, 4, "\xf0\xff\xff\x7f");
  EXPECT_ERROR(decode_picture(damaged, "x.tif"), "its size is 2147483632x18");
  damaged = whole;
  damaged.replace(height + 8, 4, "\xf0\xff\xff\x7f");
  EXPECT_NE(reason(damaged), "accepted");
}

TEST(Picture, ATrueSizeThatIsTooLargeIsRefusedBeforeMemoryIsTaken) {
  std::string png = test::read_text(kPictures / "rgb.png");
  for (const size_t at : {size_t{16}, size_t{20}}) png.replace(at, 4, "\x7f\xff\xff\xff");
  EXPECT_NE(reason(png), "accepted");
}

TEST(Picture, DamagedBytesGiveAPictureOrAnErrorNeverMore) {
  std::mt19937 random(7);
  std::vector<std::filesystem::path> paths;
  for (const auto& folder : {kPictures, kSamples})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (entry.is_regular_file()) paths.push_back(entry.path());
  for (const auto& path : paths) {
    if (path.filename() == "large.jpg" || path.extension() == ".py") continue;
    const std::string whole = test::read_text(path);
    for (int attempt = 0; attempt < 40; ++attempt) {
      std::string damaged = whole.substr(0, attempt % 4 ? whole.size() : random() % (whole.size() + 1));
      for (int i = 0; i < 4 && !damaged.empty(); ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
      try {
        decode_picture(damaged, path);
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace tessera
