#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "training/optimizer.h"

namespace tessera {

/// Scalars, each the mean over `count` samples of a batch from `first` on: the loss, then what else is to be reported.
using MeansOfSamples = std::function<std::vector<at::Tensor>(int64_t first, int64_t count)>;

/// How many parts a batch of `samples` is computed in: one for each thread of a CPU. One alone on another device, and
/// where the samples are fewer than half of the threads, which then share every operation.
int64_t parts_of_batch(int64_t samples, at::Device device);

/// Adds the gradients of the mean loss of `samples` samples to the optimizer's, and returns the means. Parts of the
/// batch are computed side by side, each on one thread: small operations do not wait for each other then. A result
/// depends on the number of parts (in its last bits) and on nothing else. Calls `means` from several threads, where
/// gradients are recorded as usual. Throws what a call has thrown.
std::vector<double> backward_in_parts(Optimizer& optimizer, int64_t samples, int64_t parts,
                                      const MeansOfSamples& means);

}  // namespace tessera
