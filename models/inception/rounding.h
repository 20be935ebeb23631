#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/inception/graph.h"

namespace tessera {

/// One convolution's weights with the batch norm folded in.
struct InceptionWeights {
  at::Tensor weight;    ///< [out, in, rows, columns] float32
  at::Tensor bias;      ///< [out] float32
  at::Tensor winograd;  ///< [terms, out, in] float32, transformed filters for winograd_conv instead, or undefined
};

/// Rounds each output channel's weights [out, ...] in turn to what bfloat16 holds, each taking over the error of the
/// one before it. Rounded weights stay as they are.
at::Tensor round_with_feedback(const at::Tensor& weight);

/// The network's weights (one entry for each of inception_graph().convs) for computing in bfloat16: rounded so that the
/// errors of neighboring weights cancel, and biases moved by what the rounding of weights and features still shifts
/// each channel on two drawn pictures. Plain rounding moves every picture's features the same way, by several percent
/// of their spread, which a Frechet distance to float32 statistics would count. Two float32 passes of two pictures.
/// With `winograd` the convolutions that winograd_conv can do get its weights too.
/// Source: the bias correction of Nagel et al., arXiv 1906.04721, measured instead of derived.
std::vector<InceptionWeights> rounded_for_bfloat16(const std::vector<InceptionWeights>& exact, bool winograd);

}  // namespace tessera
