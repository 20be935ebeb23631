#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/frame_rate.h"

namespace tessera {

/// Width and height in pixels.
struct FrameSize {
  int64_t width = 0, height = 0;
  bool operator==(const FrameSize&) const = default;
};

/// The sizes that items are brought to: `size` itself and its turned form, and for each width that is a multiple of
/// `step` the height, also one, with the largest area not above that of `size`; between 1:4 and 4:1, sorted by width.
/// Throws c10::Error when a side of `size` or `step` is below 1.
std::vector<FrameSize> bucket_sizes(const FrameSize& size, int64_t step);

/// The bucket whose ratio of width to height is nearest to that of `source`, in ratio; the larger one of equals.
FrameSize nearest_bucket(const std::vector<FrameSize>& buckets, const FrameSize& source);

/// A frame [H, W, 3] uint8 scaled (bicubic, antialiased) to cover `size` and cut to it around the center:
/// [3, height, width] float32 in [-1, 1].
at::Tensor fit_frame(const at::Tensor& frame, const FrameSize& size);

/// For each frame of a video at `wanted` frames per second the frame of one at `given` that is shown at that time:
/// floor(j * given / wanted) for j = 0, 1, ..., as long as there is one of `count`. Exact in fractions.
std::vector<int64_t> resampled_frames(int64_t count, const FrameRate& given, const FrameRate& wanted);

/// The lengths of the clips that `count` frames are cut into: as many of `frames` as there are, and the longest of
/// 1 + k stride frames with at least `least` from what is left. What is left after that is not used.
std::vector<int64_t> clip_lengths(int64_t count, int64_t frames, int64_t least, int64_t stride);

}  // namespace tessera
