#pragma once

#include <cmath>

#include "models/dit/dit.h"
#include "tests/support/parity_fixture.h"
#include "weights/dit_names.h"

namespace tessera::test {

/// The config of a fixture of facebookresearch's DiT or of MHLA's, from the reference's own settings; what only the
/// tensors say (biases of q, k and v, a row for no class) comes from them, under canonical names.
inline DitConfig original_dit_config(const nlohmann::json& model, const TensorFile& tensors) {
  DitConfig config;
  config.num_attention_heads = model.at("num_heads");
  config.attention_head_dim = model.at("hidden_size").get<int64_t>() / config.num_attention_heads;
  config.in_channels = model.at("in_channels");
  config.out_channels = model.value("learn_sigma", true) ? 2 * config.in_channels : config.in_channels;
  config.num_layers = model.at("depth");
  config.sample_size = model.at("input_size");
  config.patch_size = model.at("patch_size");
  config.num_embeds_ada_norm = model.at("num_classes");
  config.mlp_ratio = model.value("mlp_ratio", 4.0);
  const std::string first = "transformer_blocks.0.";
  config.attention_bias = tensors.find(first + "attn1.to_q.bias") != nullptr;
  config.null_class =
      tensors.at(first + "norm1.emb.class_embedder.embedding_table.weight").size(0) == config.num_embeds_ada_norm + 1;
  config.norm_eps = 1e-6;
  config.downscale_freq_shift = 0;
  config.position_embedding = true;
  return config;
}

/// The same of MHLA's DiT, whose blocks are squares of tokens.
inline DitConfig mhla_dit_config(const nlohmann::json& model, const TensorFile& tensors) {
  DitConfig config = original_dit_config(model, tensors);
  const nlohmann::json& kwargs = model.at("block_kwargs");
  const auto piece = static_cast<int64_t>(std::lround(std::sqrt(kwargs.at("block_size").get<double>())));
  config.attention.kind = AttentionKind::kMhla;
  config.attention.block_layout = {1, config.grid() / piece, config.grid() / piece};
  config.attention.lepe = true;
  config.attention.qk_norm = kwargs.value("qk_norm", false);
  config.attention.normalizer = Normalizer::kProducts;
  return config;
}

}  // namespace tessera::test
