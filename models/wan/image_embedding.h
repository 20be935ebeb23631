#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/params.h"
#include "models/layers.h"

namespace tessera {

/// From the states of an image encoder to context rows of a Wan transformer: norm, MLP with GELU, norm. Parameter names
/// are diffusers' WanImageEmbedding's.
struct WanImageEmbedding {
  LayerNorm norm1, norm2;
  Linear in, out;
  at::Tensor pos_embed;  ///< [1, K, in], added first; undefined for models of a single picture

  WanImageEmbedding();
  /// `positions` is K, the states of all pictures together; 0 for none.
  void params(ParamList& list, const std::string& prefix, int64_t in_channels, int64_t channels, int64_t positions);
  /// states: [B, K, in] -> [B, K, channels].
  at::Tensor operator()(const at::Tensor& states) const;
};

}  // namespace tessera
