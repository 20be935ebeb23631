#include "media/file_types.h"

#include <gtest/gtest.h>

#include "media/codecs.h"
#include "media/frame_writer.h"

namespace tessera {
namespace {

TEST(FileTypes, TheExtensionCountsInAnyCase) {
  EXPECT_TRUE(is_picture_file("folder.mp4/x.PNG"));
  EXPECT_TRUE(is_picture_file("x.webp"));
  EXPECT_TRUE(is_video_file("x.GiF"));
  for (const char* name : {"x", ".png", "x.png.part", "x.txt", "png", "x.npz"}) {
    EXPECT_FALSE(is_picture_file(name) || is_video_file(name)) << name;
    EXPECT_EQ(find_file_type(name), nullptr) << name;
  }
  EXPECT_EQ(lower_extension("x.TaR.Gz"), ".gz");
}

TEST(FileTypes, EveryTypeThatIsWrittenHasAWriter) {
  for (const std::string name : {"x.png", "x.mp4", "x.mov", "x.mkv", "x.webm", "x.gif", "x.webp", "x.jpg", "x.jpeg"}) {
    const FileType* type = find_file_type(name);
    ASSERT_NE(type, nullptr) << name;
    if (type->written_as == Medium::kVideo)
      EXPECT_EQ(container_for(name).muxer, type->muxer);
    else
      EXPECT_EQ(output_kind(name), OutputKind::kImage);
  }
  EXPECT_EQ(extensions_written_as(Medium::kPicture), ".png, .jpg, .jpeg");
  EXPECT_EQ(extensions_written_as(Medium::kVideo), ".mp4, .mov, .mkv, .webm, .gif, .webp");
  EXPECT_EQ(extensions_read_as(Medium::kPicture),
            ".png, .jpg, .jpeg, .jfif, .bmp, .pbm, .pgm, .ppm, .pnm, .pfm, .tif, .tiff, .avif, .heic, .heif, .webp");
  EXPECT_EQ(extensions_read_as(Medium::kVideo),
            ".mp4, .m4v, .mov, .mkv, .webm, .avi, .mpg, .mpeg, .ts, .mts, .m2ts, .wmv, .flv, .ogv, .3gp, .y4m, .gif");
}

}  // namespace
}  // namespace tessera
