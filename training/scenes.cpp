#include "training/scenes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "training/counter_rng.h"

namespace tessera {
namespace {

constexpr double kGrowth = 2.2;
constexpr double kSpin = 1.5 * std::numbers::pi;
constexpr double kGlyphPart = 184.0 / 192.0;  // of the mask's side that the glyph fills

int64_t circle_index() {
  const auto& names = shape_names();
  return std::find(names.begin(), names.end(), "circle") - names.begin();
}

Motion draw_motion(CounterRng& rng, int64_t shape) {
  const auto motion = static_cast<Motion>(rng.below(kMotions));
  // A spinning circle looks still, so its share goes to growing.
  return motion == Motion::kSpin && shape == circle_index() ? Motion::kGrow : motion;
}

}  // namespace

const std::vector<PaletteColor>& palette() {
  static const std::vector<PaletteColor> colors = {
      {"red", {220, 30, 35}},    {"orange", {250, 140, 20}}, {"yellow", {252, 225, 50}},
      {"green", {35, 155, 65}},  {"blue", {35, 85, 220}},    {"purple", {125, 45, 165}},
      {"pink", {250, 145, 195}}, {"white", {246, 246, 246}}, {"black", {18, 18, 18}},
  };
  return colors;
}

Pose Scene::at(double progress) const {
  const double along = progress - 0.5;
  Pose pose = middle;
  switch (motion) {
    case Motion::kStill:
      break;
    case Motion::kLeft:
      pose.x -= travel * along;
      break;
    case Motion::kRight:
      pose.x += travel * along;
      break;
    case Motion::kUp:
      pose.y -= travel * along;
      break;
    case Motion::kDown:
      pose.y += travel * along;
      break;
    case Motion::kSpin:
      pose.angle += kSpin * progress;
      break;
    case Motion::kGrow:
      pose.size *= std::pow(kGrowth, along);
      break;
    case Motion::kShrink:
      pose.size *= std::pow(kGrowth, -along);
      break;
  }
  return pose;
}

bool held_out(int64_t shape, int64_t color, int64_t background) {
  const auto triple = static_cast<uint64_t>((shape * 16 + color) * 16 + background);
  return CounterRng::mix(triple + 0x7E55E4Aull) % 10 == 0;
}

Scene sample_scene(uint64_t seed, uint64_t index, bool video, Split split) {
  CounterRng rng(seed * 2 + (video ? 1 : 0), index);
  const auto shapes = static_cast<int64_t>(shape_names().size());
  const auto colors = static_cast<int64_t>(palette().size());
  Scene scene;
  scene.video = video;
  do {
    scene.shape = rng.below(shapes);
    scene.color = rng.below(colors);
    scene.background = (scene.color + 1 + rng.below(colors - 1)) % colors;
  } while (held_out(scene.shape, scene.color, scene.background) != (split == Split::kHeldOut));
  if (video) scene.motion = draw_motion(rng, scene.shape);
  // Little room to move: a model this small learns shapes many times faster when they sit at about one place and size.
  scene.middle = {rng.uniform(-0.025, 0.025), rng.uniform(-0.025, 0.025), rng.uniform(0.56, 0.6), 0.0};
  scene.travel = rng.uniform(0.46, 0.5);
  if (scene.motion != Motion::kStill) scene.middle.size = rng.uniform(0.45, 0.48);
  return scene;
}

void SceneRenderer::cover(int64_t shape, const Pose& pose, int64_t height, int64_t width, const Window& window,
                          float* out) const {
  const auto side = static_cast<double>(std::min(height, width));
  const double pixels = pose.size * side / kGlyphPart;  // side of the mask's square on the screen
  const Mask& mask = glyphs_[shape].level_for(pixels);
  const double scale = static_cast<double>(mask.side) / pixels;
  const double cosine = std::cos(pose.angle) * scale, sine = std::sin(pose.angle) * scale;
  const double center_x = width / 2.0 + pose.x * side - static_cast<double>(window.left);
  const double center_y = height / 2.0 + pose.y * side - static_cast<double>(window.top);
  const double half = mask.side / 2.0, reach = pixels * 0.7072 + 1;
  std::fill(out, out + window.height * window.width, 0.0f);
  const auto clamp = [](double value, int64_t limit) {
    return std::clamp<int64_t>(static_cast<int64_t>(std::floor(value)), 0, limit);
  };
  for (int64_t y = clamp(center_y - reach, window.height); y < clamp(center_y + reach + 1, window.height); ++y)
    for (int64_t x = clamp(center_x - reach, window.width); x < clamp(center_x + reach + 1, window.width); ++x) {
      float sum = 0;
      for (const double sub_y : {0.25, 0.75})
        for (const double sub_x : {0.25, 0.75}) {
          const double dx = x + sub_x - center_x, dy = y + sub_y - center_y;
          sum += mask.at(half + cosine * dx + sine * dy, half - sine * dx + cosine * dy);
        }
      out[y * window.width + x] = sum / 4;
    }
}

at::Tensor SceneRenderer::mask(int64_t shape, const Pose& pose, int64_t height, int64_t width) const {
  at::Tensor result = at::empty({height, width}, at::kFloat);
  cover(shape, pose, height, width, {0, 0, height, width}, result.data_ptr<float>());
  return result;
}

at::Tensor SceneRenderer::clip(const Scene& scene, int64_t frames, int64_t height, int64_t width,
                               const Window& window) const {
  at::Tensor result = at::empty({3, frames, window.height, window.width}, at::kFloat);
  const int64_t area = window.height * window.width;
  std::vector<float> coverage(static_cast<size_t>(area));
  const auto& front = palette()[scene.color].rgb;
  const auto& back = palette()[scene.background].rgb;
  auto* out = result.data_ptr<float>();
  for (int64_t t = 0; t < frames; ++t) {
    const double progress = frames == 1 ? 0.5 : static_cast<double>(t) / static_cast<double>(frames - 1);
    cover(scene.shape, scene.at(progress), height, width, window, coverage.data());
    for (int64_t channel = 0; channel < 3; ++channel) {
      const auto low = static_cast<float>(back[channel] / 127.5 - 1.0);
      const auto span = static_cast<float>((front[channel] - back[channel]) / 127.5);
      float* plane = out + (channel * frames + t) * area;
      for (int64_t i = 0; i < area; ++i) plane[i] = low + span * coverage[i];
    }
  }
  return result;
}

at::Tensor SceneRenderer::clip(const Scene& scene, int64_t frames, int64_t height, int64_t width) const {
  return clip(scene, frames, height, width, {0, 0, height, width});
}

}  // namespace tessera
