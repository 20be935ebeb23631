#pragma once

#include <ATen/core/Tensor.h>

namespace tessera {

/// GELU in its tanh form, 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), in x's dtype, computed in float32. On a
/// CPU in float32 and bfloat16 one pass over memory, forward and backward; elsewhere ATen's. First derivatives only.
at::Tensor gelu_tanh(const at::Tensor& x);

/// The same by ATen on any device.
at::Tensor gelu_tanh_composite(const at::Tensor& x);

}  // namespace tessera
