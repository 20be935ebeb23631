// FocusedLinearAttention of FLatten: with one projection (Swin, DeiT), with separate queries and reduced keys (PVT).
#include "models/attention/focused.h"
#include "tests/support/fixture.h"

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
    config.power = json.value("focusing_factor", 3.0);
    config.kernel = json.value("kernel_size", int64_t{5});
    config.bias = json.value("qkv_bias", true);
    config.separate_queries = json.at("kind") == "pvt";
    const int64_t side = json.value("side", int64_t{0});
    config.grid = {1, json.value("H", side), json.value("W", side)};
    config.reduction = json.value("sr_ratio", int64_t{1});
    FocusedAttention attention(config);
    test::load(attention, test::part_of(weights, name + "."));
    EXPECT_CLOSE(attention(fixture[name + ".x"], {config.grid, {}}), fixture[name + ".out"], 1e-5);
  }
}

}  // namespace
}  // namespace tessera
