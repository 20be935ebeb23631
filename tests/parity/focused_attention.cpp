// FocusedLinearAttention of FLatten: with one projection (Swin, DeiT), with separate queries and reduced keys (PVT).
#include "models/attention/focused.h"
#include "tests/support/fixture.h"
#include "weights/bind.h"

namespace tessera {
namespace {

TEST(FocusedAttentionParity, EveryCase) {
  const test::Fixture fixture("focused_attention");
  const TensorFile weights = fixture.weights();
  ASSERT_FALSE(fixture.config.at("cases").empty());
  for (const auto& json : fixture.config.at("cases")) {
    const auto name = json.at("name").get<std::string>();
    SCOPED_TRACE(name);
    FocusedConfig config;
    config.channels = json.at("dim");
    config.heads = json.at("num_heads");
    config.power = json.at("focusing_factor");
    config.kernel = json.at("kernel_size");
    config.bias = json.at("qkv_bias");
    config.separate_queries = json.at("kind") == "pvt";
    const int64_t side = json.value("side", int64_t{0});
    config.grid = {1, json.value("H", side), json.value("W", side)};
    config.reduction = json.value("sr_ratio", int64_t{1});
    FocusedAttention attention(config);
    ParamList params;
    attention.params(params, name + ".");
    std::map<std::string, at::Tensor> own;
    for (const auto& [key, tensor] : weights.tensors())
      if (key.starts_with(name + ".")) own[key] = tensor;
    bind(params, TensorFile(own, weights.where()), at::kFloat, at::kCPU);
    EXPECT_CLOSE(attention(fixture[name + ".x"], {config.grid, {}}), fixture[name + ".out"], 1e-5);
  }
}

}  // namespace
}  // namespace tessera
