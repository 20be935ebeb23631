#pragma once

#include <ATen/core/Tensor.h>

namespace tessera {

/// The square that a classifier sees of a picture: pixels [H, W, 3] uint8, shorter side to floor(size / 0.875)
/// (bicubic, antialiased, rounded to bytes as Pillow's pictures are), the square in the center. Returns [1, 3, size,
/// size] float32, whole numbers in 0..255.
at::Tensor classifier_square(const at::Tensor& pixels, int64_t size);

/// [B, 3, S, S] in 0..255 -> less ImageNet's mean, over its deviation; float32.
at::Tensor classifier_normalized(const at::Tensor& images);

}  // namespace tessera
