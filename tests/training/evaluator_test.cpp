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

TEST(Score, CountsEachShapeAndMotion) {
  const auto scene = [](int64_t shape, Motion motion, bool video) {
    Scene wanted;
    wanted.shape = shape;
    wanted.motion = motion;
    wanted.video = video;
    return wanted;
  };
  const auto seen = [](int64_t shape, Motion motion) {
    return Observation{.background = 1, .color = 0, .shape = shape, .motion = motion};
  };
  Score clips;
  clips.add(scene(0, Motion::kLeft, true), seen(0, Motion::kLeft));
  clips.add(scene(0, Motion::kSpin, true), seen(1, Motion::kSpin));
  clips.add(scene(1, Motion::kLeft, true), seen(1, Motion::kRight));
  EXPECT_EQ(clips.text_by_kind(), "shapes: star 1 of 2, heart 1 of 1\nmotions: moving left 1 of 2, spinning 1 of 1\n");
  Score stills;
  stills.add(scene(1, Motion::kStill, false), seen(1, Motion::kStill));
  EXPECT_EQ(stills.text_by_kind(), "shapes: heart 1 of 1\n");
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
