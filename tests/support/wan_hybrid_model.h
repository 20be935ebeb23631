#pragma once

#include "models/wan/transformer.h"
#include "tests/support/parity_fixture.h"
#include "weights/names.h"

namespace tessera::test {

/// The model of a WanLinearAttentionModel fixture, from the reference's own settings and weight names.
inline WanTransformer hybrid_model(const Fixture& fixture, at::ScalarType dtype = at::kFloat,
                                   at::Device device = at::kCPU) {
  const nlohmann::json& from = fixture.config.at("model");
  WanTransformerConfig config;
  config.patch_size = from.at("patch_size");
  config.num_attention_heads = from.at("num_heads");
  config.attention_head_dim = from.at("dim").get<int64_t>() / config.num_attention_heads;
  config.in_channels = from.at("in_dim");
  config.out_channels = from.at("out_dim");
  config.text_dim = from.at("text_dim");
  config.freq_dim = from.at("freq_dim");
  config.ffn_dim = from.at("ffn_dim");
  config.num_layers = from.at("num_layers");
  config.cross_attn_norm = from.value("cross_attn_norm", true);
  config.eps = fixture.config.at("eps");
  AttentionConfig& attention = config.attention;
  attention.kind = AttentionKind::kMhla;
  attention.block_layout = fixture.config.at("effective_block_layout");
  attention.gated = from.value("is_gated", false);
  attention.lepe = from.value("is_lepe", false);
  attention.normalizer = from.value("norm_output", true) ? Normalizer::kProducts : Normalizer::kNone;
  const auto types = fixture.config.at("self_attn_types").get<std::vector<std::string>>();
  for (size_t layer = 0; layer < types.size(); ++layer)
    if (types[layer] != "mhla_uni") attention.softmax_layers.push_back(static_cast<int64_t>(layer));

  WanTransformer model(std::move(config));
  load(model, renamed(fixture.weights(), wan_transformer_names(static_cast<int64_t>(types.size()))), dtype, device);
  return model;
}

/// context0, context1, ... padded with zero rows to text_len: [B, text_len, text_dim].
inline at::Tensor hybrid_context(const Fixture& fixture) {
  const int64_t length = fixture.config.at("model").at("text_len");
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < fixture["x"].size(0); ++i) {
    const at::Tensor& context = fixture["context" + std::to_string(i)];
    rows.push_back(at::constant_pad_nd(context, {0, 0, 0, length - context.size(0)}));
  }
  return at::stack(rows);
}

}  // namespace tessera::test
