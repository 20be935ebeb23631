#include "training/evaluator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

const SceneRenderer& renderer() {
  static const SceneRenderer shared;
  return shared;
}

Score read_clean(bool video, int64_t count, double noise, int64_t height = 128, int64_t width = 128) {
  const SceneReader reader(renderer());
  Score score;
  at::manual_seed(3);
  for (int64_t i = 0; i < count; ++i) {
    const Scene scene = sample_scene(9, static_cast<uint64_t>(i), video);
    at::Tensor frames = renderer().clip(scene, video ? 17 : 1, height, width);
    if (noise > 0) frames = frames + noise * at::randn_like(frames);
    score.add(scene, reader.read(frames));
  }
  return score;
}

TEST(SceneReader, ReadsCleanClips) {
  EXPECT_GE(read_clean(true, 160, 0).all, 157);
}
TEST(SceneReader, ReadsCleanPictures) {
  EXPECT_GE(read_clean(false, 160, 0).all, 157);
}
TEST(SceneReader, ReadsNoisyClips) {
  EXPECT_GE(read_clean(true, 80, 0.15).all, 76);
}
TEST(SceneReader, ReadsOtherSizes) {
  EXPECT_GE(read_clean(false, 60, 0, 256, 256).all, 57);
  EXPECT_GE(read_clean(true, 40, 0, 96, 160).all, 34);
  EXPECT_GE(read_clean(true, 20, 0, 192, 128).all, 18);
}

}  // namespace
}  // namespace tessera
