#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <vector>

#include "training/glyphs.h"

namespace tessera {

enum class Motion { kStill, kLeft, kRight, kUp, kDown, kSpin, kGrow, kShrink };
constexpr int64_t kMotions = 8;

/// Nine well separated colors; each value is sRGB in 0..255.
struct PaletteColor {
  const char* name;
  std::array<double, 3> rgb;
};
const std::vector<PaletteColor>& palette();

/// Where the silhouette is at one moment. x, y (center) and size (longest side) are in parts of the frame's shorter
/// side measured from the frame's center; angle in radians, clockwise on the screen.
struct Pose {
  double x = 0, y = 0, size = 0.5, angle = 0;
};

/// One flat scene: a silhouette of one color on a background of another, moving in one way. shape indexes
/// shape_names(), color and background index palette() and differ.
struct Scene {
  int64_t shape = 0, color = 0, background = 1;
  Motion motion = Motion::kStill;
  bool video = false;   ///< stills have no motion in their caption
  Pose middle{};        ///< the pose half-way
  double travel = 0.4;  ///< distance of a moving shape over the clip, same unit as x

  /// The pose at `progress` in [0, 1] of the clip. Moving: a straight line through the middle; spinning: three quarters
  /// of a turn clockwise; growing and shrinking: size by a factor 2.2 over the clip, geometric.
  Pose at(double progress) const;
};

/// The (shape, color, background) triples kept out of training: a fixed tenth, by hash.
bool held_out(int64_t shape, int64_t color, int64_t background);

enum class Split { kTraining, kHeldOut };

/// Scene `index` of the endless data set `seed`; the same pair gives the same scene. The circle never spins.
Scene sample_scene(uint64_t seed, uint64_t index, bool video, Split split = Split::kTraining);

/// A rectangle of the frame, in pixels.
struct Window {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

/// Draws scenes; loads the glyphs once. Thread-safe after construction.
class SceneRenderer {
 public:
  SceneRenderer() : glyphs_(load_glyphs()) {}

  /// Anti-aliased coverage of one shape at one pose in a [height, width] frame, float32 in [0, 1]; `window` cuts.
  at::Tensor mask(int64_t shape, const Pose& pose, int64_t height, int64_t width) const;
  /// Frames [3, frames, window.height, window.width], float32 in [-1, 1], of a clip whose frames are height x width.
  at::Tensor clip(const Scene& scene, int64_t frames, int64_t height, int64_t width, const Window& window) const;
  at::Tensor clip(const Scene& scene, int64_t frames, int64_t height, int64_t width) const;

 private:
  void cover(int64_t shape, const Pose& pose, int64_t height, int64_t width, const Window& window, float* out) const;
  std::vector<GlyphPyramid> glyphs_;
};

}  // namespace tessera
