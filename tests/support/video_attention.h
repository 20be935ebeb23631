#pragma once

#include "models/attention/mhla.h"
#include "models/attention/rope.h"
#include "tests/support/parity_fixture.h"
#include "weights/names.h"

namespace tessera::test {

inline const std::map<std::string, MixingTransform> kTransforms{{"linear", MixingTransform::kLinear},
                                                                {"cos", MixingTransform::kCos},
                                                                {"exp", MixingTransform::kExp},
                                                                {"gaussian", MixingTransform::kGaussian},
                                                                {"local", MixingTransform::kLocal}};

/// The settings of one of the cases of an MHLA_Video_Uni fixture.
inline AttentionConfig video_attention_config(const nlohmann::json& json) {
  AttentionConfig config;
  config.kind = AttentionKind::kMhla;
  config.block_layout = json.at("block_layout").get<Extent3>();
  config.gated = json.value("is_gated", false);
  config.lepe = json.value("is_lepe", false);
  config.normalizer = json.value("normalize_out", true) ? Normalizer::kProducts : Normalizer::kNone;
  config.transform = kTransforms.at(json.value("transform", "linear"));
  return config;
}

/// What the layer of a case makes of the recorded input; `weights` are the fixture's.
inline at::Tensor video_attention(const Fixture& fixture, const nlohmann::json& json, const TensorFile& weights,
                                  at::ScalarType dtype, at::Device device) {
  const auto name = json.at("name").get<std::string>();
  const int64_t heads = json.at("num_heads"), head_dim = json.at("dim").get<int64_t>() / heads;
  MhlaAttention attention(video_attention_config(json), heads, head_dim, fixture.config.at("eps"));
  load(attention, renamed(part_of(weights, name + "."), wan_attention_names("", "")), dtype, device);
  const auto grid = json.at("grid").get<Extent3>();
  return attention(fixture[name + ".x"].to(device, dtype), {grid, make_rope(grid, head_dim, device)});
}

}  // namespace tessera::test
