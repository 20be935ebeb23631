#include "media/palette.h"

#include <gtest/gtest.h>

#include <set>

namespace tessera {
namespace {

std::array<int, 3> channels(uint32_t color) {
  return {static_cast<int>(color >> 16 & 255), static_cast<int>(color >> 8 & 255), static_cast<int>(color & 255)};
}

TEST(Quantize, IsExactForFewColors) {
  const std::vector<uint8_t> rgb = {255, 0, 0, 0, 255, 0, 255, 0, 0, 17, 34, 51};
  const Palette palette = quantize(rgb);
  ASSERT_EQ(palette.indices.size(), 4u);
  EXPECT_EQ(palette.indices[0], palette.indices[2]);
  EXPECT_EQ(palette.colors[palette.indices[0]], 0xFFFF0000u);
  EXPECT_EQ(palette.colors[palette.indices[1]], 0xFF00FF00u);
  EXPECT_EQ(palette.colors[palette.indices[3]], 0xFF112233u);
}

TEST(Quantize, AColorIsTheMeanOfItsPixels) {
  const Palette palette = quantize(std::vector<uint8_t>{8, 0, 0, 10, 0, 0});  // the same upper 6 bits
  EXPECT_EQ(palette.colors[palette.indices[0]], 0xFF090000u);
}

TEST(Quantize, ManyColorsStayNear) {
  std::vector<uint8_t> rgb;
  for (int r = 0; r < 256; r += 4)
    for (int g = 0; g < 256; g += 4)
      for (int part : {r, g, (r + g) / 2}) rgb.push_back(static_cast<uint8_t>(part));
  const Palette palette = quantize(rgb);
  EXPECT_GT(std::set<uint8_t>(palette.indices.begin(), palette.indices.end()).size(), 200u);
  int worst = 0;
  for (size_t i = 0; i < palette.indices.size(); ++i)
    for (size_t c = 0; c < 3; ++c)
      worst = std::max(worst, std::abs(channels(palette.colors[palette.indices[i]])[c] - rgb[3 * i + c]));
  EXPECT_LE(worst, 16);  // 256 boxes over a plane of 64 x 64 points: 4 x 4 points of 4 levels each
}

}  // namespace
}  // namespace tessera
