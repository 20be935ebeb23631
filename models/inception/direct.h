#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "models/inception/rounding.h"

namespace tessera {

/// Whether DirectInception runs here in `dtype` (float32 or bfloat16).
bool has_direct_inception(at::ScalarType dtype);

/// The Inception network on the kernels of direct_conv.h: a thread takes a picture through the whole network, so there
/// is nothing to wait for and a picture's features stay in its core's cache. Block outputs are written in place (no
/// concatenation), and the average pools follow their 1x1 convolution, which the mean commutes with, because it has
/// fewer channels. A picture's result depends neither on the batch nor on the number of threads.
class DirectInception {
 public:
  /// One entry for each of inception_graph().convs.
  DirectInception(const std::vector<InceptionWeights>& weights, at::ScalarType dtype);
  ~DirectInception();

  /// See Inception::features.
  at::Tensor features(const at::Tensor& pixels, double scale, double shift, const InceptionTap& tap) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
