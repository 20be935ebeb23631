#include "pipelines/preview.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "media/picture.h"
#include "pipelines/families/wan/painter.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/fixture.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

TEST(Preview, LiesBesideTheOutput) {
  EXPECT_EQ(preview_path("x.png"), "x.preview.png");
  EXPECT_EQ(preview_path("a.b/x.y.mp4"), "a.b/x.y.preview.png");
  EXPECT_EQ(preview_path("50%%.png"), "50%.preview.png");
  EXPECT_EQ(preview_path("dir/frame_%04d.png"), "dir/frame.preview.png");
  EXPECT_EQ(preview_path("dir/%04d_x.png"), "dir/_x.preview.png");
  EXPECT_EQ(preview_path("dir/%04d.jpg"), "dir/preview.png");
}

TEST(Preview, ShowsUpToFourFramesFromFirstToLast) {
  EXPECT_EQ(preview_frames(1), (std::vector<int64_t>{0}));
  EXPECT_EQ(preview_frames(2), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(preview_frames(4), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(preview_frames(5), (std::vector<int64_t>{0, 1, 3, 4}));
  EXPECT_EQ(preview_frames(21), (std::vector<int64_t>{0, 7, 13, 20}));
}

/// Paints the first value everywhere.
at::Tensor flat(const at::Tensor& data) {
  return at::full({3, 2, 4}, data.flatten()[0].item<float>());
}

int64_t shown(const fs::path& file) {
  return read_picture(file).flatten()[0].item<int64_t>();
}

TEST(Preview, IsReplacedEveryFewStepsAndGoesWithTheOutput) {
  const TemporaryFolder folder;
  std::vector<std::string> notes;
  Previews previews(folder / "x.mp4", 2, flat, [&](const std::string& note) { notes.push_back(note); });
  const fs::path file = folder / "x.preview.png";
  EXPECT_FALSE(fs::exists(file));
  previews.show(1, at::full({1}, 1.0));
  EXPECT_FALSE(fs::exists(file));
  previews.show(2, at::full({1}, 0.2));
  EXPECT_EQ(shown(file), 51);
  previews.show(3, at::full({1}, 1.0));
  EXPECT_EQ(shown(file), 51);
  previews.show(4, at::full({1}, 0.4));
  EXPECT_EQ(shown(file), 102);
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{"x.preview.png"});
  previews.output_done();
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
  EXPECT_TRUE(notes.empty());
}

TEST(Preview, AFailureIsToldOnceAndEndsPreviewsOnly) {
  const TemporaryFolder folder;
  std::vector<std::string> notes;
  int64_t painted = 0;
  const auto painter = [&](const at::Tensor& data) {
    ++painted;
    return flat(data);
  };
  Previews previews(folder / "x.png", 1, painter, [&](const std::string& note) { notes.push_back(note); });
  previews.show(1, at::full({1}, NAN));
  previews.show(2, at::full({1}, 0.5));
  EXPECT_EQ(painted, 1);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0].rfind("no more previews: ", 0), 0u) << notes[0];
  EXPECT_EQ(test::listing(folder.path()), std::vector<std::string>{});
}

TEST(Preview, AFileThatCannotBeWrittenIsRefusedAtTheStart) {
  EXPECT_ERROR(Previews("/nowhere/x.png", 1, flat, [](const std::string&) {}), "/nowhere");
}

class Painter : public testing::Test {
 protected:
  WanModel model = open_wan_model(test::fixture_folder() / "wan_pipeline" / "pipeline");
};

TEST_F(Painter, TheLinearOnePaintsFramesSideBySide) {
  const int64_t stride = model.vae.spatial_stride();
  at::Tensor latents = at::zeros({1, model.vae.z_dim, 5, 2, 3});
  latents.select(2, 4).fill_(1.0);
  const at::Tensor picture = linear_painter(model)(latents);
  const int64_t width = 3 * stride / 2;
  ASSERT_EQ(picture.sizes(), at::IntArrayRef({3, 2 * stride / 2, 4 * width}));
  const at::Tensor colors = model.vae.latent_rgb(latents)[0];  // [3, t, h, w]
  EXPECT_TRUE(at::allclose(picture.select(2, 0).select(1, 0), colors.select(1, 0).select(1, 0).select(1, 0)));
  EXPECT_TRUE(
      at::allclose(picture.select(2, 4 * width - 1).select(1, 0), colors.select(1, 4).select(1, 0).select(1, 0)));
  EXPECT_FALSE(at::allclose(picture.select(2, 0), picture.select(2, 4 * width - 1)));
}

TEST_F(Painter, AModelWithoutAMapSaysWhatToDo) {
  model.vae.latent_rgb = {};
  EXPECT_ERROR(linear_painter(model), "vae/config.json has no latent_rgb_factors", "tessera train preview",
               "--preview-decoder");
}

TEST_F(Painter, TheDecodedOnePaintsTheSameFrames) {
  TinyDecoderConfig config{.z_dim = 16, .patch_size = 1, .widths = {4, 4, 4, 4}, .frames_per_latent = {1, 2, 2}};
  TinyDecoder decoder(config);
  ParamList params;
  decoder.params(params);
  initialize(params, 3, at::kCPU);
  const at::Tensor latents = at::randn({1, 16, 6, 2, 3});
  std::vector<at::Tensor> frames;
  decoder(latents, [&](int64_t, const at::Tensor& picture) { frames.push_back(picture[0]); });
  const at::Tensor picture = decoded_painter(decoder)(latents);
  EXPECT_TRUE(at::equal(picture, at::cat({frames[0], frames[2], frames[3], frames[5]}, 2)));
}

}  // namespace
}  // namespace tessera
