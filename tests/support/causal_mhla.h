#pragma once

#include <array>

#include "tests/support/fixture.h"

namespace tessera::test {

/// The settings of a layer in a fixture, {"chunk", "kw": the reference's arguments}, for the layer or for the
/// library's; what the arguments leave out has the reference's defaults.
template <class Config>
Config causal_config(const nlohmann::json& layer, const at::Tensor& mixing) {
  constexpr std::array<const char*, 7> kMaps = {"elu",      "relu", "identity", "t2r", "elementwise_product",
                                                "hedgehog", "dpfp"};  // in the order of the enum
  const auto& settings = layer.at("kw");
  const std::string map = settings.at("feature_map");
  const auto found = std::find(kMaps.begin(), kMaps.end(), map);
  EXPECT_NE(found, kMaps.end()) << map;
  const auto or_default = [&](const char* key, auto fallback) {
    return settings.contains(key) && !settings.at(key).is_null() ? settings.at(key).template get<decltype(fallback)>()
                                                                 : fallback;
  };
  Config config;
  config.hidden_size = or_default("hidden_size", int64_t{1024});
  config.heads = or_default("num_heads", int64_t{4});
  config.expand_k = or_default("expand_k", 0.5);
  config.expand_v = or_default("expand_v", 1.0);
  config.feature_map = static_cast<decltype(config.feature_map)>(found - kMaps.begin());
  config.chunk = layer.contains("chunk") ? layer.at("chunk").get<int64_t>() : 64;
  config.most_chunks = mixing.size(0);
  config.norm_eps = or_default("norm_eps", 1e-5);
  config.kv_heads = or_default("num_kv_heads", int64_t{0});
  config.output_gate = or_default("use_output_gate", true);
  config.norm_weight = or_default("elementwise_affine", true);
  config.conv_size = or_default("use_short_conv", false) ? or_default("conv_size", int64_t{4}) : 0;
  config.conv_bias = or_default("conv_bias", false);
  return config;
}

}  // namespace tessera::test
