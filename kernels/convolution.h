#pragma once

#include <ATen/core/Tensor.h>

namespace tessera {

/// 2D or 3D convolution, x [N, C, (T,) H, W]; weight and bias are cast to x's dtype. Keeps x's memory format.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding);

}  // namespace tessera
