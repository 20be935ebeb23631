// The example in models/attention/causal_mhla.h, as a program outside would write it.
#include "models/attention/causal_mhla.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

}  // namespace
