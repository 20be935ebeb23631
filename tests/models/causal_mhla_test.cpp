// The example in models/attention/causal_mhla.h, as a program outside would write it.
#include "models/attention/causal_mhla.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/causal_mhla.h"
#include "tests/support/files.h"
#include "weights/bind.h"
#include "weights/safetensors.h"

namespace {

void write_random_weights(const std::filesystem::path& path, const tessera::CausalMhlaConfig& config) {
  tessera::CausalMhlaLayer layer(config);
  tessera::ParamList params;
  layer.params(params);
  tessera::initialize(params, /*seed=*/1, at::kCPU);
  std::map<std::string, at::Tensor> tensors;
  for (const tessera::Param& param : params) tensors[param.name] = *param.slot;
  tessera::write_safetensors(path, tensors);
}

TEST(CausalMhlaExample, LoadsWeightsAndRunsWholeAndTokenByToken) {
  const tessera::test::TemporaryFolder folder;
  const auto path = folder / "layer.safetensors";
  write_random_weights(path, {.hidden_size = 64, .heads = 4, .chunk = 16, .most_chunks = 8});

  tessera::CausalMhlaLayer layer({.hidden_size = 64, .heads = 4, .chunk = 16, .most_chunks = 8});
  tessera::ParamList params;
  layer.params(params);
  tessera::bind(params, tessera::read_safetensors(path), at::kFloat, at::kCPU);
  const at::Tensor x = at::randn({1, 100, 64});
  const at::Tensor y = layer(x);                               // [1, 100, 64], the whole sequence at once
  tessera::CausalMhlaState state = layer.begin();              // the same token by token
  const at::Tensor first = layer.step(x.select(1, 0), state);  // [1, 64]

  EXPECT_EQ(y.sizes(), at::IntArrayRef({1, 100, 64}));
  EXPECT_TRUE(at::allclose(first, y.select(1, 0), 1e-4, 1e-5));
  for (int64_t t = 1; t < 100; ++t)
    EXPECT_TRUE(at::allclose(layer.step(x.select(1, t), state), y.select(1, t), 1e-4, 1e-5)) << "token " << t;
  EXPECT_EQ(state.tokens(), 100);
  EXPECT_THROW(layer(at::randn({1, 129, 64})), c10::Error) << "more than chunk * most_chunks tokens";
}

// What tests/data/make_causal_mhla.py computes from the definition, token by token in float64.
TEST(CausalMhlaLayer, EveryPublishedOptionEqualsTheDefinition) {
  const tessera::test::Fixture fixture(TESSERA_SOURCE_DIR "/tests/data/causal_mhla");
  const tessera::TensorFile weights = fixture.weights();
  ASSERT_EQ(fixture.config.at("layers").size(), 13u);
  for (const auto& settings : fixture.config.at("layers")) {
    const auto name = settings.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const tessera::TensorFile part = tessera::test::part_of(weights, name + ".");
    tessera::CausalMhlaLayer layer(
        tessera::test::causal_config<tessera::CausalMhlaConfig>(settings, part.at("mixing_matrix")));
    tessera::test::load(layer, part);
    const at::Tensor x = fixture[name + ".x"], want = fixture[name + ".out"];
    EXPECT_CLOSE(layer(x), want, 1e-5);
    tessera::CausalMhlaState state = layer.begin();
    std::vector<at::Tensor> steps;
    for (int64_t t = 0; t < x.size(1); ++t) steps.push_back(layer.step(x.select(1, t), state));
    EXPECT_CLOSE(at::stack(steps, 1), want, 1e-5);
  }
}

TEST(CausalMhlaLayer, HeadsThatCannotBeSharedAreRefused) {
  EXPECT_THROW(tessera::CausalMhlaLayer({.hidden_size = 64, .heads = 4, .kv_heads = 3}), c10::Error);
  EXPECT_THROW(tessera::CausalMhlaLayer({.hidden_size = 64, .heads = 4, .kv_heads = 8}), c10::Error);
  EXPECT_NO_THROW(tessera::CausalMhlaLayer({.hidden_size = 64, .heads = 4, .kv_heads = 1}));
}

}  // namespace
