#pragma once

#include "models/dit/dit.h"
#include "tests/support/fixture.h"
#include "weights/dit_names.h"

namespace tessera::test {

/// The config of a fixture of facebookresearch's DiT or of MHLA's, from the reference's own settings.
inline DitConfig original_dit_config(const nlohmann::json& model) {
  DitConfig config;
  config.num_attention_heads = model.at("num_heads");
  config.attention_head_dim = model.at("hidden_size").get<int64_t>() / config.num_attention_heads;
  config.in_channels = model.at("in_channels");
  config.out_channels = model.at("learn_sigma").get<bool>() ? 2 * config.in_channels : config.in_channels;
  config.num_layers = model.at("depth");
  config.sample_size = model.at("input_size");
  config.patch_size = model.at("patch_size");
  config.num_embeds_ada_norm = model.at("num_classes");
  config.mlp_ratio = model.at("mlp_ratio");
  config.norm_eps = 1e-6;
  config.downscale_freq_shift = 0;
  config.position_embedding = true;
  return config;
}

}  // namespace tessera::test
