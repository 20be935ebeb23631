#include <tessera/causal_mhla.h>

#include "tests/support/fixture.h"

namespace tessera::api {
namespace {

CausalMhlaConfig config_of(const test::Fixture& fixture, const nlohmann::json& layer, const std::string& name) {
  const auto& settings = layer.at("kw");
  const bool elu = settings.at("feature_map") == "elu";
  return {.hidden_size = settings.at("hidden_size"),
          .heads = settings.at("num_heads"),
          .expand_k = settings.at("expand_k"),
          .expand_v = settings.at("expand_v"),
          .feature_map = elu ? CausalMhlaConfig::FeatureMap::kElu : CausalMhlaConfig::FeatureMap::kRelu,
          .chunk = layer.at("chunk"),
          .most_chunks = fixture[name + ".mixing_matrix_clamped"].size(0)};
}

TEST(LibraryCausalMhla, GivesTheReferencesNumbersAtOnceAndTokenByToken) {
  const test::Fixture fixture("mhla_causal");
  ASSERT_FALSE(fixture.config.at("layers").empty());
  for (const auto& settings : fixture.config.at("layers")) {
    const auto name = settings.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const CausalMhla layer(config_of(fixture, settings, name), fixture.folder / "weights.safetensors", name + ".");
    const at::Tensor x = fixture[name + ".x"];
    EXPECT_CLOSE(layer(x), fixture[name + ".out"], 1e-5);
    CausalMhla::Sequence sequence = layer.begin();
    std::vector<at::Tensor> out;
    for (int64_t t = 0; t < x.size(1); ++t) out.push_back(sequence.step(x.select(1, t)));
    EXPECT_CLOSE(at::stack(out, 1), fixture[name + ".out"], 1e-5);
  }
}

TEST(LibraryCausalMhla, AFileWithoutItsWeightsIsAnError) {
  const test::Fixture fixture("mhla_causal");
  EXPECT_THROW(CausalMhla({.hidden_size = 64, .heads = 4}, fixture.folder / "weights.safetensors", "absent."), Error);
}

}  // namespace
}  // namespace tessera::api
