#include "training/scenes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace tessera {
namespace {

const SceneRenderer& scenes() {
  static const SceneRenderer shared;
  return shared;
}

int64_t shape_index(const std::string& name) {
  for (size_t i = 0; i < shape_names().size(); ++i)
    if (shape_names()[i] == name) return static_cast<int64_t>(i);
  throw Error("no shape " + name);
}

Scene plain_scene(const std::string& shape, Motion motion) {
  Scene scene;
  scene.shape = shape_index(shape);
  scene.color = 7, scene.background = 8;  // white on black
  scene.motion = motion;
  scene.video = true;
  return scene;
}

/// Coverage of each frame of a white-on-black clip, [T, H, W] in 0..1.
at::Tensor coverage(const Scene& scene, int64_t frames) {
  const at::Tensor clip = scenes().clip(scene, frames, 64, 64)[0];
  const double black = 18 / 127.5 - 1, white = 246 / 127.5 - 1;
  return (clip - black) / (white - black);
}

double center_x(const at::Tensor& frame) {
  return ((frame.sum(0) * at::arange(frame.size(1))).sum() / frame.sum()).item<double>();
}
double center_y(const at::Tensor& frame) {
  return center_x(frame.t());
}

TEST(Scenes, TwentyShapesNineColors) {
  EXPECT_EQ(shape_names().size(), 20u);
  EXPECT_EQ(palette().size(), 9u);
  for (size_t a = 0; a < palette().size(); ++a)
    for (size_t b = 0; b < a; ++b) {
      double square = 0;
      for (int c = 0; c < 3; ++c) square += std::pow(palette()[a].rgb[c] - palette()[b].rgb[c], 2);
      EXPECT_GT(std::sqrt(square), 80) << palette()[a].name << " and " << palette()[b].name;
    }
}

TEST(Scenes, SquareCoversItsSideExactly) {
  Scene scene = plain_scene("square", Motion::kStill);
  scene.middle.size = 0.5;
  // 32 x 32 of 64 x 64 pixels.
  const at::Tensor frame = coverage(scene, 1)[0];
  EXPECT_NEAR(frame.sum().item<double>(), 1024, 12);
  EXPECT_NEAR(frame[32][32].item<double>(), 1, 1e-4);
  EXPECT_NEAR(frame[32][14].item<double>(), 0, 1e-4);
  EXPECT_NEAR(frame[32][17].item<double>(), 1, 0.05);
  EXPECT_NEAR(center_x(frame), 31.5, 0.1);
}

TEST(Scenes, CircleHasPiOfItsRadius) {
  Scene scene = plain_scene("circle", Motion::kStill);
  scene.middle = {0.1, -0.05, 0.5, 0};
  const at::Tensor frame = coverage(scene, 1)[0];
  EXPECT_NEAR(frame.sum().item<double>(), M_PI * 16 * 16, 12);
  EXPECT_NEAR(center_x(frame), 31.5 + 6.4, 0.1);
  EXPECT_NEAR(center_y(frame), 31.5 - 3.2, 0.1);
}

TEST(Scenes, MotionsMoveTheCenter) {
  const struct {
    Motion motion;
    double dx, dy;
  } cases[] = {{Motion::kLeft, -1, 0}, {Motion::kRight, 1, 0}, {Motion::kUp, 0, -1}, {Motion::kDown, 0, 1}};
  for (const auto& wanted : cases) {
    Scene scene = plain_scene("square", wanted.motion);
    scene.middle.size = 0.3;
    scene.travel = 0.5;
    const at::Tensor frames = coverage(scene, 5);
    // The whole way is half of 64 pixels.
    EXPECT_NEAR(center_x(frames[4]) - center_x(frames[0]), 32 * wanted.dx, 0.3);
    EXPECT_NEAR(center_y(frames[4]) - center_y(frames[0]), 32 * wanted.dy, 0.3);
  }
}

TEST(Scenes, GrowingAndShrinkingChangeTheArea) {
  for (const Motion motion : {Motion::kGrow, Motion::kShrink}) {
    const at::Tensor frames = coverage(plain_scene("heart", motion), 5);
    const double ratio = (frames[4].sum() / frames[0].sum()).item<double>();
    EXPECT_NEAR(motion == Motion::kGrow ? ratio : 1 / ratio, 2.2 * 2.2, 0.15);
  }
}

TEST(Scenes, SpinningTurnsClockwiseByThreeQuarters) {
  // The arrow points right; a quarter turn clockwise later it points down, in the end up.
  const at::Tensor frames = coverage(plain_scene("arrow", Motion::kSpin), 4);
  const at::Tensor up = frames[0].rot90(1);
  EXPECT_LT((frames[3] - up).abs().mean().item<double>(), 0.01);
  EXPECT_LT((frames[1] - frames[0].rot90(-1)).abs().mean().item<double>(), 0.01);
  for (uint64_t i = 0; i < 2000; ++i) {
    const Scene scene = sample_scene(1, i, true);
    EXPECT_FALSE(scene.motion == Motion::kSpin && scene.shape == shape_index("circle"));
  }
}

TEST(Scenes, WindowCutsTheFrame) {
  const Scene scene = sample_scene(2, 3, true);
  const at::Tensor whole = scenes().clip(scene, 3, 96, 128);
  const at::Tensor part = scenes().clip(scene, 3, 96, 128, {20, 30, 40, 50});
  EXPECT_TRUE(at::allclose(part, whole.narrow(2, 20, 40).narrow(3, 30, 50), 1e-5, 1e-4));
}

TEST(Scenes, SamePairSamePixels) {
  const Scene a = sample_scene(5, 17, true), b = sample_scene(5, 17, true), other = sample_scene(5, 18, true);
  EXPECT_TRUE(at::equal(scenes().clip(a, 3, 32, 32), scenes().clip(b, 3, 32, 32)));
  EXPECT_FALSE(at::equal(scenes().clip(a, 3, 32, 32), scenes().clip(other, 3, 32, 32)));
}

TEST(Scenes, ColorsAreThePalette) {
  Scene scene = plain_scene("square", Motion::kStill);
  scene.color = 0, scene.background = 4;  // red on blue
  const at::Tensor bytes = ((scenes().clip(scene, 1, 32, 32) + 1) * 127.5).select(1, 0);
  EXPECT_NEAR(bytes[0][16][16].item<double>(), 220, 0.1);
  EXPECT_NEAR(bytes[2][16][16].item<double>(), 35, 0.1);
  EXPECT_NEAR(bytes[0][0][0].item<double>(), 35, 0.1);
  EXPECT_NEAR(bytes[2][0][0].item<double>(), 220, 0.1);
}

TEST(Scenes, ATenthIsHeldOutAndNeverTrained) {
  int64_t held = 0, all = 0;
  for (int64_t shape = 0; shape < 20; ++shape)
    for (int64_t color = 0; color < 9; ++color)
      for (int64_t background = 0; background < 9; ++background)
        if (color != background) ++all, held += held_out(shape, color, background);
  EXPECT_EQ(all, 1440);
  EXPECT_NEAR(static_cast<double>(held) / static_cast<double>(all), 0.10, 0.02);
  for (uint64_t i = 0; i < 500; ++i) {
    const Scene trained = sample_scene(1, i, i % 2 == 0), kept = sample_scene(1, i, i % 2 == 0, Split::kHeldOut);
    EXPECT_FALSE(held_out(trained.shape, trained.color, trained.background));
    EXPECT_TRUE(held_out(kept.shape, kept.color, kept.background));
    EXPECT_NE(trained.color, trained.background);
  }
}

}  // namespace
}  // namespace tessera
