#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>

#include "models/attention/attention.h"
#include "models/attention/blocks.h"

namespace tessera {

/// The mixing matrix before training: float32 [M, M] on the CPU for the blocks of `layout`, rows = output block. A
/// decreasing function of the distance between block centers (1 apart); each column is divided by its sum, except for
/// `kGaussian`. kLinear: 1 - d / max d; kCos: cos(pi/4 * d / max d); kExp: exp(-d / 3); kGaussian: sigma = max d / 3;
/// kLocal: d <= 1.5. Source: MHLA (arXiv:2601.07832), BlockDistanceConv3D.
at::Tensor initial_mixing(const Extent3& layout, MixingTransform transform);

/// Lists the mixing matrix of a layer, "block_attn.conv.weight" [M, M, 1, 1], with initial_mixing as its first value.
void mixing_params(ParamList& out, const std::string& prefix, at::Tensor& mixing, const AttentionConfig& config);

/// The mixing matrix for `blocks` from one trained for the blocks of `layout`; `trained` [M, M] itself, bit for bit,
/// where they agree. Differentiable. Axis by axis:
/// - fewer blocks than trained: the first ones (an image uses the blocks of the first frame);
/// - more blocks: entry (i, j) is read from the trained entries with the same offset i - j (held within the trained
/// range),
///   at the proportional place along that diagonal, linearly interpolated. So a block keeps the weights it learned
///   for its neighbors at each distance, and farther blocks than any trained get those of the farthest.
/// Where an axis has more blocks, each column is then scaled to the trained column sum at its (interpolated) place, by
/// a factor held within [1/16, 16] and left at 1 where the two sums differ in sign.
at::Tensor mixing_for_blocks(const at::Tensor& trained, const Extent3& layout, const Extent3& blocks);

/// The same matrix [M, K], its rows beginning at multiples of 16 bytes, as the fast products of a GPU want them: a view
/// of rows that are zero beyond K.
at::Tensor with_aligned_rows(const at::Tensor& matrix);

/// A mixing matrix [M, M] for the products of one call.
struct CallMixing {
  at::Tensor wide;    ///< wide_type: float32 or float64
  at::Tensor narrow;  ///< for summaries in the compute dtype; any dtype on the CPU, where mix_blocks casts
};

/// A layer's mixing matrix for the grid of a call. On a GPU, without gradients, what the last grid needed is kept: off
/// the trained grid it is computed on the CPU, and then copied.
class GridMixing {
 public:
  /// `trained` is the layer's parameter [M, M, 1, 1]; `like` has the call's dtype.
  CallMixing operator()(const at::Tensor& trained, const AttentionConfig& config, const BlockGrid& cut,
                        const at::Tensor& like) const;

 private:
  struct Kept {
    at::Tensor trained;  // that it was made from
    int64_t version = 0;
    Extent3 blocks{};
    at::ScalarType dtype = at::kFloat;
    CallMixing mixing;
  };
  mutable std::mutex mutex_;
  mutable Kept kept_;
};

}  // namespace tessera
