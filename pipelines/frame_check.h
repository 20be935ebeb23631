#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace tessera {

/// Watches frames on their way out for what no render should be: numbers that are not finite (in any frame), all black,
/// or all of one color (in every frame of every chunk).
class FrameCheck {
 public:
  /// frames: floating point in [0, 1], any shape with the three colors on axis 1 of [B, 3, T, H, W].
  void add(const at::Tensor& frames);
  /// "" when the frames are fine so far, else what they are: "black", "of a single color" or "not finite".
  std::string problem() const;

 private:
  bool finite_ = true;
  at::Tensor low_, high_;  // [3] float32: the extremes of each color
};

}  // namespace tessera
