#include "tests/support/causal_mhla.h"

#include <tessera/causal_mhla.h>

namespace tessera::api {
namespace {

/// Both fixtures: the reference's own layers, and those of its other options (tests/data/make_causal_mhla.py).
class LibraryCausalMhlaLayers : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(LibraryCausalMhla, LibraryCausalMhlaLayers,
                         testing::Values("mhla_causal", TESSERA_SOURCE_DIR "/tests/data/causal_mhla"));

TEST_P(LibraryCausalMhlaLayers, GiveTheReferencesNumbersAtOnceAndTokenByToken) {
  const test::Fixture fixture(GetParam());
  const TensorFile weights = fixture.weights();
  for (const auto& settings : fixture.config.at("layers")) {
    const auto name = settings.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const auto config = test::causal_config<CausalMhlaConfig>(settings, weights.at(name + ".mixing_matrix"));
    const CausalMhla layer(config, fixture.folder / "weights.safetensors", name + ".");
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
