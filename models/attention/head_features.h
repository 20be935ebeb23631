#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/params.h"
#include "models/layers.h"

namespace tessera {

/// Feature map of a head's query or key x, by the names of the MHLA repository's language part.
enum class FeatureMap {
  kElu,                 ///< elu(x) + 1
  kRelu,                ///< relu(x)
  kIdentity,            ///< x
  kT2r,                 ///< relu(W x) (arXiv:2103.13076)
  kElementwiseProduct,  ///< (W1 x + b1) * (W2 x + b2)
  kHedgehog,            ///< softmax of [2 y, -2 y] with y = W x + b, twice as wide (arXiv:2402.04347)
  kDpfp                 ///< products of [relu(x), -relu(x)] and its first four rotations, eight times as wide
                        ///< (arXiv:2102.11174; the second half is -relu(x), as published, not relu(-x))
};

/// Features that a map makes of one channel: 1, 2 or 8.
int64_t features_of_channel(FeatureMap map);

/// One such map with its weights: layer.weight (and layer.bias of kHedgehog), or those of layer1 and layer2.
struct HeadFeatures {
  FeatureMap map = FeatureMap::kElu;
  Linear first, second;

  /// `dim` is the width of a head.
  void params(ParamList& out, const std::string& prefix, int64_t dim);
  /// x [..., D] -> [..., D], [..., 2 D] or [..., 8 D].
  at::Tensor operator()(const at::Tensor& x) const;
};

/// A depthwise convolution over time that sees a token and the ones before it, then SiLU.
struct CausalConvolution {
  at::Tensor weight;  ///< [D, 1, kernel]
  at::Tensor bias;    ///< [D] or undefined

  void params(ParamList& out, const std::string& prefix, int64_t channels, int64_t kernel, bool with_bias);
  /// x [B, T, D] -> [B, T, D]. `past` holds the kernel - 1 tokens before the first, [B, kernel - 1, D] (undefined:
  /// zeros), and afterwards those before the next.
  at::Tensor operator()(const at::Tensor& x, at::Tensor& past) const;
};

}  // namespace tessera
