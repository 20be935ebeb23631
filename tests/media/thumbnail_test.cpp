#include "media/thumbnail.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/atomic_file.h"
#include "media/picture.h"
#include "tests/media/folder_test.h"

namespace tessera {
namespace {

using Thumbnail = test::FolderTest;

at::Tensor noise(int64_t height, int64_t width) {
  return at::randint(0, 256, {height, width, 3}, at::make_generator<at::CPUGeneratorImpl>(3), at::kByte);
}

TEST_F(Thumbnail, KeepsShapeAndColor) {
  at::Tensor picture = at::zeros({300, 600, 3}, at::kByte);
  picture.narrow(1, 0, 300).select(2, 0).fill_(200);  // left half red
  picture.narrow(1, 300, 300).select(2, 2).fill_(200);
  write_file_atomically(folder / "t.jpg", encode_thumbnail(picture, 320, 12000));
  const at::Tensor small = read_picture(folder / "t.jpg");
  EXPECT_EQ(small.sizes(), at::IntArrayRef({160, 320, 3}));
  EXPECT_NEAR(small[80][40][0].item<int>(), 200, 4);
  EXPECT_NEAR(small[80][40][2].item<int>(), 0, 4);
  EXPECT_NEAR(small[80][280][0].item<int>(), 0, 4);
  EXPECT_NEAR(small[80][280][2].item<int>(), 200, 4);
}

TEST_F(Thumbnail, SmallPicturesStayAsTheyAre) {
  write_file_atomically(folder / "t.jpg", encode_thumbnail(noise(31, 1), 320, 12000));
  EXPECT_EQ(read_picture(folder / "t.jpg").sizes(), at::IntArrayRef({31, 1, 3}));
}

TEST_F(Thumbnail, NoiseFitsItsBytesAllTheSame) {
  for (const size_t most : {12000, 4000, 1500}) {
    const std::string jpeg = encode_thumbnail(noise(500, 400), 320, most);
    EXPECT_LE(jpeg.size(), most);
    EXPECT_GT(jpeg.size(), most / 8);
  }
  EXPECT_EQ(encode_thumbnail(noise(500, 400), 320, 100), "");
}

}  // namespace
}  // namespace tessera
