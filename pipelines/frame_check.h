#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace tessera {

/// Ways in which a render can be unusable.
enum class FrameProblem {
  kNone,
  kNotFinite,    ///< a NaN or an infinity in any frame
  kBlack,        ///< in every frame
  kSingleColor,  ///< the same one in every frame
};

/// "" for kNone, else what the frames are: "not finite", "black" or "of a single color".
std::string problem_text(FrameProblem problem);

/// What FrameCheck needs to know of frames, where they are: float32 [7], how many numbers are not finite, the least and
/// the largest number of each color. Waits for nothing.
at::Tensor frame_figures(const at::Tensor& frames);

/// Watches frames on their way out for such problems.
class FrameCheck {
 public:
  /// frames: floating point in [0, 1], any shape with the three colors on axis 1 of [B, 3, T, H, W].
  void add(const at::Tensor& frames);
  /// The same from their frame_figures, on the CPU.
  void add_figures(const at::Tensor& figures);
  /// Of the frames so far.
  FrameProblem problem() const;
  /// Whether every number so far is finite.
  bool finite() const { return finite_; }

 private:
  void add_extremes(const at::Tensor& low, const at::Tensor& high);

  bool finite_ = true;
  at::Tensor low_, high_;  // [3] float32: the extremes of each color
};

}  // namespace tessera
