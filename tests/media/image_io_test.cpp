#include "media/image_io.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "media/picture.h"
#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using test::coded_error_of;
using test::contains;
class ImageIo : public test::FolderTest {};

at::Tensor gradient(int64_t height, int64_t width) {
  return at::arange(height * width * 3, at::kInt).mul(7).remainder(256).to(at::kByte).view({height, width, 3});
}

TEST(ToBytes, RoundsToTheNearestHalvesToEvenAndClamps) {
  const at::Tensor values =
      at::tensor({0.0f, 0.5f / 255, 1.5f / 255, 2.49f / 255, 2.51f / 255, 1.0f, -0.2f, 1.7f, 0.25f});
  const at::Tensor bytes = to_bytes(values.view({3, 1, 3}));  // channels first: three columns
  EXPECT_TRUE(bytes.equal(at::tensor({0, 2, 0, 0, 3, 255, 2, 255, 64}, at::kByte).view({1, 3, 3}))) << bytes;
}

TEST(ToBytes, TakesBothLayoutsAndHalfPrecision) {
  const at::Tensor rows = gradient(4, 5);
  EXPECT_TRUE(to_bytes(rows).equal(rows));
  EXPECT_TRUE(to_bytes(rows.permute({2, 0, 1})).equal(rows));
  EXPECT_TRUE(to_bytes(rows.permute({2, 0, 1}).to(at::kFloat).div(255)).equal(rows));
  EXPECT_TRUE(to_bytes(at::ones({3, 2, 2}, at::kBFloat16)).equal(at::full({2, 2, 3}, 255, at::kByte)));
  EXPECT_THROW(to_bytes(at::zeros({4, 5, 4})), c10::Error);
  EXPECT_THROW(to_bytes(at::zeros({3, 4, 5}, at::kLong)), c10::Error);
}

TEST(ToBytes, RefusesPixelsThatAreNoNumbers) {
  at::Tensor pixels = at::zeros({3, 4, 5});
  pixels[1][2][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(coded_error_of([&] { to_bytes(pixels); }).substr(0, 3), "4: ");
  pixels[1][2][3] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(coded_error_of([&] { to_bytes(pixels); }).substr(0, 3), "4: ");
}

TEST_F(ImageIo, PixelsAndTextComeBackExactly) {
  const ImageText text = {{"parameters", "caf\xC3\xA9\nSteps: 30"}, {"tessera", "{\"prompt\":\"\xF0\x9F\x8C\x9F\"}"}};
  for (const auto& [height, width] : {std::pair{1, 1}, {65, 97}, {128, 128}, {3, 300}}) {
    const at::Tensor pixels = gradient(height, width);
    write_png(folder / "x.png", pixels, text);
    EXPECT_TRUE(read_picture(folder / "x.png").equal(pixels)) << width << "x" << height;
    EXPECT_EQ(read_png_text(test::read_text(folder / "x.png"), "x.png"), text);
  }
  EXPECT_EQ(test::listing(folder.path()).size(), 1u);
}

TEST_F(ImageIo, TheSameInputGivesTheSameBytes) {
  EXPECT_EQ(encode_png(gradient(33, 44), {{"a", "b"}}), encode_png(gradient(33, 44), {{"a", "b"}}));
}

TEST_F(ImageIo, AFolderThatIsNotThereIsAnError) {
  EXPECT_TRUE(contains(coded_error_of([&] { write_png(folder / "no" / "x.png", gradient(2, 2)); }),
                       "does not exist; create it"));
}

}  // namespace
}  // namespace tessera
