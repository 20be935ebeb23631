#pragma once

#include <ATen/core/Tensor.h>

namespace tessera {

enum class ResampleFilter { kBicubic, kLanczos };

/// A picture [H, W, 3] uint8 at another size, the same bytes as Image.resize of Pillow 13: two passes, each with
/// weights in fixed point and rounded to bytes; the filter is widened when shrinking so that nothing is skipped.
at::Tensor resample(const at::Tensor& picture, int64_t width, int64_t height, ResampleFilter filter);

}  // namespace tessera
