#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace tessera {

/// A part of a network as a function of the tensors that flow into it; its weights are its own.
using Recomputable = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;

/// part(inputs), keeping only the inputs for the backward pass, which computes the part again and so takes about a
/// third more time. Gradients are those of the plain call; where an input goes into several parts, their sum is taken
/// in another order. Without gradients it is the plain call. The part must be a function of inputs and weights alone,
/// must outlive the backward pass, and goes through one backward pass. Source: Chen et al., "Training Deep Nets with
/// Sublinear Memory Cost", arXiv:1604.06174.
at::Tensor recomputed(const Recomputable& part, const std::vector<at::Tensor>& inputs);

}  // namespace tessera
