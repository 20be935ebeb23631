#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/json_config.h"
#include "core/params.h"
#include "models/layers.h"

namespace tessera {

/// The keys of transformers' CLIPVisionConfig, with the sizes of ViT-H/14, Wan's image encoder.
struct ClipVisionConfig {
  int64_t hidden_size = 1280;
  int64_t intermediate_size = 5120;
  int64_t num_hidden_layers = 32;
  int64_t num_attention_heads = 16;
  int64_t image_size = 224;  ///< pixels a side
  int64_t patch_size = 14;
  double layer_norm_eps = 1e-5;

  int64_t tokens() const { return 1 + (image_size / patch_size) * (image_size / patch_size); }
  /// Throws Error naming file and key for a value of the wrong type or size, and for another activation than GELU.
  static ClipVisionConfig from_json(const JsonConfig& json);
};

/// The vision tower of CLIP under transformers' names (vision_model.*). It gives the states before the last block,
/// which is what Wan's image models are told of a picture, so the last block and the norm behind it are listed and
/// checked but not computed. Source: CLIP, arXiv:2103.00020; transformers' CLIPVisionModel, hidden_states[-2].
class ClipVision {
 public:
  explicit ClipVision(const ClipVisionConfig& config);
  void params(ParamList& out, const std::string& prefix = "vision_model.");
  /// pixels: [B, 3, image_size, image_size], normalized by CLIP's mean and deviation -> [B, tokens(), hidden_size] in
  /// the dtype of the weights.
  at::Tensor operator()(const at::Tensor& pixels) const;
  const ClipVisionConfig& config() const { return config_; }

 private:
  struct Block {
    LayerNorm norm1, norm2;
    Linear q, k, v, out, fc1, fc2;
  };

  ClipVisionConfig config_;
  at::Tensor class_embedding_, patch_weight_, positions_;
  LayerNorm pre_norm_, post_norm_;
  std::vector<Block> blocks_;
};

}  // namespace tessera
