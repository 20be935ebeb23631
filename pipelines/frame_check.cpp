#include "pipelines/frame_check.h"

#include <ATen/ATen.h>

namespace tessera {
namespace {

constexpr double kLevel = 1.0 / 255.0;  // one step of an 8-bit picture

}  // namespace

at::Tensor frame_figures(const at::Tensor& frames) {
  const at::Tensor colors = frames.to(at::kFloat).transpose(0, 1).flatten(1);  // [3, B T H W]
  const at::Tensor bad = colors.isfinite().logical_not().sum().to(at::kFloat).view({1});
  return at::cat({bad, colors.amin(1), colors.amax(1)});
}

void FrameCheck::add(const at::Tensor& frames) {
  TORCH_CHECK(frames.dim() == 5 && frames.size(1) == 3, "FrameCheck: want [B, 3, T, H, W], got ", frames.sizes());
  finite_ = finite_ && frames.isfinite().all().item<bool>();
  const at::Tensor colors = frames.to(at::kFloat).transpose(0, 1).flatten(1);  // [3, B T H W]
  add_extremes(colors.amin(1), colors.amax(1));
}

void FrameCheck::add_figures(const at::Tensor& figures) {
  finite_ = finite_ && figures[0].item<float>() == 0;
  add_extremes(figures.slice(0, 1, 4), figures.slice(0, 4, 7));
}

void FrameCheck::add_extremes(const at::Tensor& low, const at::Tensor& high) {
  low_ = low_.defined() ? at::minimum(low_, low) : low;
  high_ = high_.defined() ? at::maximum(high_, high) : high;
}

FrameProblem FrameCheck::problem() const {
  if (!finite_) return FrameProblem::kNotFinite;
  if (!low_.defined()) return FrameProblem::kNone;
  if (high_.max().item<double>() <= kLevel) return FrameProblem::kBlack;
  if ((high_ - low_).max().item<double>() <= kLevel) return FrameProblem::kSingleColor;
  return FrameProblem::kNone;
}

std::string problem_text(FrameProblem problem) {
  switch (problem) {
    case FrameProblem::kNone:
      return "";
    case FrameProblem::kNotFinite:
      return "not finite";
    case FrameProblem::kBlack:
      return "black";
    case FrameProblem::kSingleColor:
      return "of a single color";
  }
  TORCH_CHECK(false, "problem_text: unknown problem");
}

}  // namespace tessera
