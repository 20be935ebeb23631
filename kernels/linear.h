#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/activation_simd.h"
#include "kernels/packed.h"

// Products with weights by kernels of our own. No result depends on the number of threads, nor a row's on the other
// rows. Without gradients.
namespace tessera {

/// Whether bfloat16 matrices on the CPU are better multiplied by wide_linear than by ATen.
bool prefers_wide_linear();

/// activation(x W^T + bias) for contiguous bfloat16 tensors on the CPU: x [..., inputs], weight [outputs, inputs], bias
/// [outputs] of any dtype or undefined; summed in float32 and rounded once. Needs has_wide_product().
at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Activation activation);

/// Whether a weight of this shape can be multiplied in int8.
bool fits_int8(at::IntArrayRef shape);

/// A weight [outputs, inputs], plain or packed, quantized for int8_linear: one byte a number and one scale for each
/// output, as pack(PackedType::kInt8) has them (the very numbers of a weight that is packed so, unless it is rotated or
/// has other scales). A packed tensor of type kInt8Panels that says `dtype`. On the CPU; needs fits_int8.
at::Tensor int8_tensor(const at::Tensor& weight, at::ScalarType dtype);

/// activation(x W^T + bias) in int8: x [..., inputs], contiguous, float32 or bfloat16 on the CPU, is quantized row by
/// row (symmetric, the largest magnitude becomes 127), sums are exact in int32, and the result is rounded once to x's
/// dtype. A row that holds NaN or infinity gives NaN or infinity.
at::Tensor int8_linear(const at::Tensor& x, const PackedWeight& weight, const at::Tensor& bias, Activation activation);

}  // namespace tessera
