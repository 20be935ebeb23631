#pragma once

#include <ATen/core/Tensor.h>

// Pictures [H, W, 3] uint8 -> [3, side, side] float32 in [0, 255], as each published tool does it. The tools differ
// here more than anywhere else, and a Frechet distance moves with it.
namespace tessera {

/// torch.nn.functional.interpolate(mode="bilinear", align_corners=False): pixel centers correspond, four neighbors
/// whatever the scale, so shrinking skips pixels. What pytorch-fid does.
at::Tensor resize_bilinear_torch(const at::Tensor& picture, int64_t side);

/// TensorFlow 1's resize_bilinear(align_corners=False): corners correspond (source = target * scale), four neighbors.
/// What the original FID network and torch-fidelity do.
at::Tensor resize_bilinear_tensorflow(const at::Tensor& picture, int64_t side);

/// Pillow's bicubic (a = -0.5) of each channel as float32, its support widened when shrinking so that nothing is
/// skipped; rows first, clamped to [0, 255], not rounded to whole numbers. What clean-fid does. Source:
/// arXiv:2104.11222.
at::Tensor resize_bicubic_antialiased(const at::Tensor& picture, int64_t side);

}  // namespace tessera
