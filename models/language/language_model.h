#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "models/attention/causal.h"

namespace tessera {

/// Sizes of a language model over bytes.
struct LanguageModelConfig {
  int64_t heads = 4, head_dim = 32, layers = 4;
  int64_t hidden = 512;   ///< of the MLP
  int64_t length = 1024;  ///< most bytes of a sequence
  double norm_eps = 1e-5;
  CausalAttentionConfig attention;

  int64_t channels() const { return heads * head_dim; }
  /// {"heads": 4, "head_dim": 32, "layers": 4, "hidden": 512, "length": 1024, "attention": {...}}, see
  /// CausalAttentionConfig. Throws Error naming the file and key.
  static LanguageModelConfig from_json(const JsonConfig& json);
};

/// A pre-norm transformer that predicts the next byte of a text: byte embedding, blocks of causal self-attention and
/// GELU MLP, LayerNorm, head. Names: embed.weight, blocks.N.norm1, attn, norm2, mlp.fc1, mlp.fc2, norm, head.
/// Move-only; the slots listed by params() point into this object.
class LanguageModel {
 public:
  explicit LanguageModel(const LanguageModelConfig& config);
  void params(ParamList& out, const std::string& prefix = "");
  /// bytes [B, T] int64 in 0..255 -> logits [B, T, 256] of the byte after each, in `dtype`. Throws c10::Error when T
  /// exceeds config.length.
  at::Tensor operator()(const at::Tensor& bytes, at::ScalarType dtype) const;

 private:
  struct Block {
    LayerNorm norm1, norm2;
    std::unique_ptr<CausalAttention> attention;
    Linear fc1, fc2;
  };

  LanguageModelConfig config_;
  at::Tensor embedding_;  // [256, C]
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Linear head_;
};

}  // namespace tessera
