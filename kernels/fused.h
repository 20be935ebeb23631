#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

// Operations that are one pass over memory on a CPU in float32 and bfloat16, forward and backward (in a training step
// of a small transformer they take a fifth of the time of the ATen operations they replace). First derivatives only.
namespace tessera {

/// The type that sums and norms of x are computed in: float32, or float64 for float64.
at::ScalarType wide_type(const at::Tensor& x);

/// x / sqrt(mean(x^2 over the last axis) + eps) * weight, computed in float32 (float64 for float64), returned as
/// `dtype`.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype);

/// GELU in its tanh form.
at::Tensor gelu_tanh(const at::Tensor& x);

/// What rms_norm and gelu_tanh compute, from ATen operations on any device.
at::Tensor rms_norm_composite(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType dtype);
at::Tensor gelu_tanh_composite(const at::Tensor& x);

/// True where the fused kernels apply: a non-empty float32 or bfloat16 tensor on the CPU.
bool can_fuse(const at::Tensor& x);

/// An RMS norm that moves what it normalizes. Row r of x is token r % tokens of sample r / tokens: `pieces` pieces of
/// `piece` values, piece h at sample * x_sample + x_token[token] + h * x_piece; y likewise.
struct NormLayout {
  int64_t rows, tokens, pieces, piece;
  int64_t x_sample, x_piece, y_sample, y_piece;
  at::Tensor x_token, y_token;  ///< int64 [tokens], on the CPU
  bool each_piece = false;    ///< norm and weight [piece] of each piece; otherwise of the row, weight [pieces * piece]
  at::Tensor cosines, sines;  ///< float32 [tokens, piece] or undefined: relu + 1e-6, then rotation (see Rope)
  std::vector<int64_t> y_shape;
  bool gaps = false;  ///< x or y has places that belong to no row: y is zero there, and so is x's gradient
};

/// y of `y_shape` as `dtype`, and, `with_plain`, what it was before rotation in float32 (otherwise undefined). x must
/// be contiguous and can_fuse.
std::pair<at::Tensor, at::Tensor> norm_and_move(const at::Tensor& x, const at::Tensor& weight, double eps,
                                                const NormLayout& layout, at::ScalarType dtype, bool with_plain);

}  // namespace tessera
