#pragma once

#include <ATen/core/Tensor.h>

namespace tessera {

/// Layer norm without weights over the last axis of x [B, N, C], then x * (1 + scale) + shift with scale and shift
/// [B, 1, C] of any dtype, in x's dtype. On a CPU in float32 and bfloat16, without gradients, one pass over memory in
/// float32 arithmetic, rounded once; elsewhere composed of ATen operations. No result depends on the number of threads.
at::Tensor adaptive_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps);

/// The same by ATen on any device.
at::Tensor adaptive_norm_composite(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps);

/// A sum and its norm.
struct NormedSum {
  at::Tensor sum, normed;
};

/// sum = x + update * gate (gate [B, 1, C]; undefined: x + update), normed = adaptive_norm(sum, shift, scale, eps). One
/// pass on a device with kernels of our own.
NormedSum add_adaptive_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& gate,
                            const at::Tensor& shift, const at::Tensor& scale, double eps);

/// The same with layer_norm of weight and bias [C], which are taken in x's dtype; undefined: 1 and 0.
NormedSum add_layer_norm(const at::Tensor& x, const at::Tensor& update, const at::Tensor& gate,
                         const at::Tensor& weight, const at::Tensor& bias, double eps);

}  // namespace tessera
