#pragma once

#include <ATen/core/Tensor.h>

#include "models/attention/blocks.h"
#include "models/attention/linear.h"

namespace tessera {

/// The self-attention of one layer in one network call, as the matrix that it stands for. Gates and norms of the result
/// are left out.
struct AttentionView {
  AttentionKind kind = AttentionKind::kSoftmax;
  Extent3 grid{1, 1, 1};   ///< tokens along time, height, width; N = their product, in raster order
  at::Tensor weights;      ///< [B, H, N, N] float32: row i holds the weights of all values in output i
  at::Tensor normalizer;   ///< [B, H, N] before the guard; undefined without one (softmax, Normalizer::kNone)
  at::Tensor mixing = {};  ///< MHLA's matrix at this grid, [M, M]; else undefined
  /// What the depthwise convolution of v adds, as a matrix [N, N] of the mean filter over channels; undefined: none.
  at::Tensor convolution = {};
};

/// Sees every self-attention layer of a network at work, in order. Only for analysis: the matrices take N^2 numbers.
class AttentionProbe {
 public:
  virtual ~AttentionProbe() = default;
  /// Before each network call; timesteps [B].
  virtual void begin_call(const at::Tensor& timesteps) = 0;
  /// After each layer of a call that wants_views.
  virtual void see(const AttentionView& view) = 0;
  /// Whether the layers of this call are to be seen.
  virtual bool wants_views() const = 0;
};

/// The probe of a call when it wants to see the layers, else null.
inline AttentionProbe* watching(const AttentionInput& input) {
  return input.probe && input.probe->wants_views() ? input.probe : nullptr;
}

/// The matrix [N, N] of a zero-padded convolution of the grid's tokens with the mean of depthwise filters
/// [C, 1, k, k] (of each frame) or [C, 1, k, k, k].
at::Tensor convolution_matrix(const at::Tensor& filters, const Extent3& grid);

/// What softmax_attention(q, k, ., heads) computes.
AttentionView softmax_view(const at::Tensor& q, const at::Tensor& k, int64_t heads, const Extent3& grid);

/// What linear_attention(q, k, ., heads, rope) computes.
AttentionView linear_view(const at::Tensor& q, const at::Tensor& k, int64_t heads, const Rope* rope,
                          const Extent3& grid);

/// The same of FLatten's attention: names it so, and adds its convolution.
void see_focusing(AttentionView& view, const Focusing& focusing);

/// What MHLA computes from features q and k [M, B, H, P, D] (rotated, where the layer rotates) and its normalizer
/// before the guard [M, B, H, P, 1] (undefined: none).
AttentionView mhla_view(const at::Tensor& q, const at::Tensor& k, const at::Tensor& mixing,
                        const at::Tensor& normalizer, const BlockGrid& cut);

}  // namespace tessera
