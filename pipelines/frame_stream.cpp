#include "pipelines/frame_stream.h"

#include <ATen/ATen.h>

#include "core/cancel.h"
#include "core/profile.h"

namespace tessera {

void FrameStream::add(const at::Tensor& frames) {
  if (!check_.finite()) return;
  if (!frames.is_cuda()) return write(frames);
  Download bytes(frames.select(0, 0).permute({1, 2, 3, 0}).clamp(0, 1).mul(255).round().to(at::kByte));
  Download figures(frame_figures(frames));
  write_bytes();
  bytes_ = std::move(bytes);
  figures_ = std::move(figures);
}

FrameProblem FrameStream::finish() {
  write_bytes();
  if (check_.problem() != FrameProblem::kNone) return check_.problem();
  throw_if_canceled();
  const ProfileScope writing("write");
  writer_.finish();
  return FrameProblem::kNone;
}

void FrameStream::write(const at::Tensor& frames) {
  check_.add(frames);
  if (!check_.finite()) return;
  const ProfileScope writing("write");
  for (int64_t t = 0; t < frames.size(2); ++t) writer_.write(frames.select(0, 0).select(1, t));
  progress_.advance(frames.size(2));
}

void FrameStream::write_bytes() {
  if (!bytes_.started()) return;
  const at::Tensor frames = bytes_.wait(), figures = figures_.wait();
  bytes_ = {};
  figures_ = {};
  if (!check_.finite()) return;
  check_.add_figures(figures);
  if (!check_.finite()) return;
  const ProfileScope writing("write");
  for (int64_t t = 0; t < frames.size(0); ++t) writer_.write(frames.select(0, t));
  progress_.advance(frames.size(0));
}

}  // namespace tessera
