#include "media/picture.h"

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
               "none of JPEG, PNG, WebP, BMP, PPM, PGM, TIFF, GIF, PSD, HDR, PIC, TGA");
  EXPECT_ERROR(read_picture("/no/such/file.png"), "cannot read /no/such/file.png");
  EXPECT_ERROR(read_picture("/"), "cannot read /");
}

// NAME.EXT.png beside each sample holds what Pillow makes of it (tests/data/pictures/make.py).
TEST(Picture, EveryFormatDecodesToPillowsPixels) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSamples)) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() == ".png" || path.extension() == ".py") continue;
    const std::string refusal = test::refusal_of([&] { read_picture(path); });
    EXPECT_EQ(refusal, "accepted");
    if (refusal == "accepted") {
      EXPECT_TRUE(read_picture(path).equal(read_picture(path.string() + ".png"))) << path;
    }
    ++count;
  }
  EXPECT_EQ(count, 25u);
}

TEST(Picture, TheContentChoosesTheDecoderNotTheName) {
  const std::string gif = test::read_text(kSamples / "first.gif");
  EXPECT_TRUE(decode_picture(gif, "x.jpg").equal(read_picture(kSamples / "first.gif.png")));
}

TEST(Picture, FormatsOfStbThatAreCutShortAreErrors) {
  // Behind these lie another frame of the GIF and the optional footers of the TGAs.
  const std::map<std::string, size_t> ends = {
      {"first.gif", 237}, {"rgb.tga", 369}, {"gray.tga", 135}, {"rgb.psd", 391}};
  for (const auto& [name, end] : ends) {
    const std::string picture = test::read_text(kSamples / name).substr(0, end);
    EXPECT_EQ(reason(picture), "accepted") << name;
    for (const size_t missing : {size_t{1}, end / 2, end - 20})
      EXPECT_NE(reason(picture.substr(0, end - missing)), "accepted") << name << " without " << missing;
  }
}

// The libraries count bytes in an int: without a check a file of 4 GiB and 100 bytes would be copied into 100 bytes.
TEST(Picture, FilesBeyondTwoGigabytesAreRefused) {
  constexpr size_t kSize = (size_t{1} << 32) + 100;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  for (const std::string_view start : {"BM", "GIF89a"}) {
    std::copy(start.begin(), start.end(), static_cast<char*>(memory));
    EXPECT_ERROR(decode_picture({static_cast<const char*>(memory), kSize}, "x"), "4294967396 bytes, more than 2 GiB");
  }
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

TEST(Picture, ATrueSizeThatIsTooLargeIsRefusedBeforeMemoryIsTaken) {
  std::string png = test::read_text(kPictures / "rgb.png");
  for (const size_t at : {size_t{16}, size_t{20}}) png.replace(at, 4, "\x7f\xff\xff\xff");
  EXPECT_NE(reason(png), "accepted");
}

TEST(Picture, DamagedBytesGiveAPictureOrAnErrorNeverMore) {
  std::mt19937 random(7);
  std::vector<std::filesystem::path> paths;
  for (const auto& folder : {kPictures, kSamples})
    for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
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
