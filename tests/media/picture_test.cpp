#include "media/picture.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tessera {
namespace {

const std::filesystem::path kPictures = std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "protocols/pictures";

std::string reason(const std::string& bytes) {
  return test::refusal_of([&] { decode_picture(bytes, "broken.jpg"); });
}

TEST(Picture, WhatIsNoPictureIsRefusedByName) {
  EXPECT_NE(reason("").find("broken.jpg is no readable picture: the file is empty"), std::string::npos);
  EXPECT_NE(reason("hello, I am text").find("none of JPEG, PNG, WebP"), std::string::npos);
  EXPECT_THROW(read_picture("/no/such/file.png"), Error);
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
  for (const auto& entry : std::filesystem::directory_iterator(kPictures)) {
    if (entry.path().filename() == "large.jpg") continue;
    const std::string whole = test::read_text(entry.path());
    for (int attempt = 0; attempt < 40; ++attempt) {
      std::string damaged = whole.substr(0, attempt % 4 ? whole.size() : random() % (whole.size() + 1));
      for (int i = 0; i < 4 && !damaged.empty(); ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
      try {
        decode_picture(damaged, entry.path());
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace tessera
