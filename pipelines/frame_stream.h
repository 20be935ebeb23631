#pragma once

#include <ATen/core/Tensor.h>

#include "core/progress.h"
#include "core/transfer.h"
#include "media/frame_writer.h"
#include "pipelines/frame_check.h"

namespace tessera {

/// Decoded frames on their way to a writer, checked as they pass. From a GPU they come as bytes that the GPU has made
/// (the bytes that to_bytes would make), through pinned memory, and one call late: while they travel and are encoded,
/// the GPU decodes what comes next. After frames that are not finite nothing more is written.
class FrameStream {
 public:
  /// `progress` is advanced by the frames written.
  FrameStream(FrameWriter& writer, Progress& progress) : writer_(writer), progress_(progress) {}

  /// frames: [1, 3, T, H, W] float32 in [0, 1].
  void add(const at::Tensor& frames);
  /// Writes what is still on its way, and completes the output unless something is wrong with the frames.
  FrameProblem finish();

 private:
  void write(const at::Tensor& frames);
  void write_bytes();

  FrameWriter& writer_;
  Progress& progress_;
  FrameCheck check_;
  Download bytes_;    // uint8 [T, H, W, 3]
  Download figures_;  // see frame_figures
};

}  // namespace tessera
