#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

// Norms over the last axis or over heads. On a CPU in float32 and bfloat16 norm, weight and what follows are one pass
// over memory, forward and backward (ATen's operations instead take a tenth to a quarter of the time of a training
// step); elsewhere they are composed of ATen operations. Statistics are float32, or float64 for float64. First
// derivatives only. No result depends on the number of threads.
namespace tessera {

/// x / sqrt(mean(x^2 over the last axis) + eps) * weight, as `dtype`; weight [C].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype);

/// x / max(|x|, 1e-12) * sqrt(C) * weight over the last axis, then SiLU where `silu`, in x's dtype; weight [C].
at::Tensor channel_norm(const at::Tensor& x, const at::Tensor& weight, bool silu);

/// What both compute, from ATen operations on any device.
at::Tensor rms_norm_composite(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype);
at::Tensor channel_norm_composite(const at::Tensor& x, const at::Tensor& weight, bool silu);

/// An RMS norm that moves what it normalizes. Row r of x is token r % tokens of sample r / tokens: `heads` heads of
/// `head_dim` values, head h at sample * x_sample + x_token[token] + h * x_head (in values); y likewise.
struct NormLayout {
  int64_t rows, tokens, heads, head_dim;
  int64_t x_sample, x_head, y_sample, y_head;
  at::Tensor x_token, y_token;  ///< int64 [tokens], on the CPU
  bool each_head = false;       ///< a norm and weight [head_dim] for each head; otherwise one for the row, weight
                                ///< [heads * head_dim]
  at::Tensor cosines, sines;    ///< float32 [tokens, head_dim] or undefined: relu + 1e-6, then rotation of the pairs
                                ///< (2i, 2i + 1) by these (the sine of a pair's first value negative)
  bool features = true;         ///< false: the rotation without relu + 1e-6 before it
  std::vector<int64_t> y_shape;
  bool gaps = false;  ///< x or y has places that belong to no row: y is zero there, and so is x's gradient
};

/// y of `y_shape` as `dtype`, and, `with_unrotated`, what it was before rotation in float32 (otherwise undefined). x
/// must be contiguous and can_vectorize.
std::pair<at::Tensor, at::Tensor> norm_and_move(const at::Tensor& x, const at::Tensor& weight, double eps,
                                                const NormLayout& layout, at::ScalarType dtype, bool with_unrotated);

}  // namespace tessera
