// Wan2.1's own WanModel: the original key names and config keys, full and unpadded contexts, fractional timesteps.
#include "checkpoints/wan/configs.h"
#include "models/wan/transformer.h"
#include "tests/support/fixture.h"
#include "weights/names.h"

namespace tessera {
namespace {

struct WanTransformerOriginalParity : testing::Test {
  test::Fixture fixture{"wan_transformer_original"};
  int64_t text_length = fixture.config.at("model").at("text_len");
  WanTransformer model{
      WanTransformerConfig::from_json(diffusers_transformer_config({fixture.config.at("model"), "model"}))};

  void SetUp() override { test::load(model, canonical_tensors(fixture.weights(), "WanTransformer3DModel")); }

  /// Contexts of their own lengths, each padded with zero rows to text_len.
  at::Tensor padded(const std::vector<std::string>& names) const {
    std::vector<at::Tensor> rows;
    for (const std::string& name : names)
      rows.push_back(at::constant_pad_nd(fixture[name], {0, 0, 0, text_length - fixture[name].size(0)}));
    return at::stack(rows);
  }
};

TEST_F(WanTransformerOriginalParity, Forward) {
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], fixture["context"]), fixture["out"], 2e-5);
}

TEST_F(WanTransformerOriginalParity, FractionalTimesteps) {
  if (!fixture.has("out_t_float")) return;
  const at::Tensor t = fixture["t"].to(at::kFloat) + 0.375;
  EXPECT_CLOSE(model(fixture["x"], t, fixture["context"]), fixture["out_t_float"], 2e-5);
}

TEST_F(WanTransformerOriginalParity, ShortContexts) {
  if (!fixture.has("out_short")) return;
  std::vector<std::string> names;
  for (int64_t i = 0; i < fixture["x"].size(0); ++i) names.push_back("context_short" + std::to_string(i));
  EXPECT_CLOSE(model(fixture["x"], fixture["t"], padded(names)), fixture["out_short"], 2e-5);
}

TEST_F(WanTransformerOriginalParity, EveryNameIsTheReferencesKeyMap) {
  const TensorFile theirs = fixture.weights(), ours = canonical_tensors(theirs, "WanTransformer3DModel");
  ASSERT_FALSE(fixture.config.at("key_map").empty());
  for (const auto& [name, original] : fixture.config.at("key_map").items())
    EXPECT_TRUE(at::equal(ours.at(name), theirs.at(original))) << name;
  EXPECT_EQ(ours.tensors().size(), theirs.tensors().size());
}

}  // namespace
}  // namespace tessera
