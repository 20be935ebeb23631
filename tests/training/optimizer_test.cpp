#include "training/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace tessera {
namespace {

/// One parameter "w" of the given start values.
struct OneWeight {
  explicit OneWeight(const at::Tensor& start, OptimizerConfig config = {}) {
    params.add("w", slot, start.sizes().vec(), Init::of([start] { return start.clone(); }));
    initialize(params, 0, at::kCPU);
    optimizer = std::make_unique<Optimizer>(params, std::move(config));
  }

  double step(const at::Tensor& gradient, double rate) {
    optimizer->zero_gradients();
    (slot * gradient).sum().backward();
    return optimizer->step(rate, rate);
  }

  at::Tensor slot;
  ParamList params;
  std::unique_ptr<Optimizer> optimizer;
};

TEST(AdamW, TwoStepsByHand) {
  OneWeight weight(at::tensor({1.0f}));
  EXPECT_NEAR(weight.step(at::tensor({0.5f}), 0.1), 0.5, 1e-6);
  // m = 0.05, v = 0.0025; corrected 0.5 and 0.25: a step of 0.1 * 0.5 / 0.5.
  EXPECT_NEAR(weight.slot.item<double>(), 0.9, 1e-6);
  weight.step(at::tensor({0.1f}), 0.1);
  // m = 0.055 / 0.19, v = 0.002575 / 0.0199: a step of 0.1 * 0.289474 / 0.359718.
  EXPECT_NEAR(weight.slot.item<double>(), 0.9 - 0.0804725, 1e-6);
}

TEST(AdamW, WeightDecayIsDecoupled) {
  OptimizerConfig config;
  config.weight_decay = 0.1;
  OneWeight weight(at::tensor({2.0f}), config);
  weight.step(at::tensor({0.5f}), 0.01);
  EXPECT_NEAR(weight.slot.item<double>(), 2 * (1 - 0.01 * 0.1) - 0.01, 1e-6);
}

TEST(Optimizer, AStepIsSeenByWhatWasMadeOfAWeight) {
  // Packed filters and resampled mixing matrices are kept until the version of their weight changes.
  OneWeight adam(at::tensor({1.0f}));
  const auto before = adam.slot._version();
  adam.step(at::tensor({0.5f}), 0.1);
  EXPECT_NE(adam.slot._version(), before);
  OptimizerConfig config;
  config.muon = {"w"};
  OneWeight muon(at::eye(2), config);
  const auto muon_before = muon.slot._version();
  muon.step(at::eye(2), 0.1);
  EXPECT_NE(muon.slot._version(), muon_before);
}

TEST(Optimizer, ClipsByTheGlobalNorm) {
  OneWeight weight(at::tensor({1.0f, 1.0f}));
  EXPECT_NEAR(weight.step(at::tensor({3.0f, 4.0f}), 0.1), 5.0, 1e-5);
  const auto state = weight.optimizer->state();
  // First moment = 0.1 * (0.6, 0.8).
  EXPECT_TRUE(at::allclose(state.at("first/w"), at::tensor({0.06f, 0.08f}), 1e-4, 1e-6));
}

TEST(Optimizer, SkipsAStepThatIsNotFinite) {
  OneWeight weight(at::tensor({1.0f}));
  EXPECT_FALSE(std::isfinite(weight.step(at::tensor({std::numeric_limits<float>::quiet_NaN()}), 0.1)));
  EXPECT_EQ(weight.slot.item<double>(), 1.0);
  EXPECT_EQ(weight.optimizer->steps(), 0);
}

TEST(Optimizer, MovingAverageSwaps) {
  OptimizerConfig config;
  config.ema_decay = 0.99;
  OneWeight weight(at::tensor({1.0f}), config);
  weight.step(at::tensor({0.5f}), 0.1);
  weight.optimizer->swap_ema();
  // Decay after one step is 2 / 11: 0.9 + (1 - 0.9) * 2 / 11.
  EXPECT_NEAR(weight.slot.item<double>(), 0.9 + 0.1 * 2 / 11, 1e-6);
  weight.optimizer->swap_ema();
  EXPECT_NEAR(weight.slot.item<double>(), 0.9, 1e-6);
}

TEST(Muon, OrthogonalizesBothOrientations) {
  at::manual_seed(1);
  const at::Tensor random = at::randn({2, 32, 48});
  for (const at::Tensor& matrices : {random, random.transpose(1, 2).contiguous()}) {
    const at::Tensor values = at::linalg_svdvals(orthogonalize(matrices));
    EXPECT_GT(values.min().item<double>(), 0.6);
    EXPECT_LT(values.max().item<double>(), 1.3);
  }
  // The sign and the axes of a diagonal matrix are kept.
  const at::Tensor diagonal = orthogonalize(at::diag(at::tensor({3.0f, -4.0f})).unsqueeze(0))[0];
  EXPECT_NEAR(diagonal[0][0].item<double>(), 1.0, 0.35);
  EXPECT_NEAR(diagonal[1][1].item<double>(), -1.0, 0.35);
  EXPECT_NEAR(diagonal[0][1].item<double>(), 0.0, 1e-3);
}

TEST(Muon, TakesNamedMatricesOnly) {
  at::Tensor matrix, vector, other;
  ParamList params;
  params.add("blocks.0.to_q.weight", matrix, {8, 4}, Init::zeros());
  params.add("blocks.0.to_q.bias", vector, {8}, Init::zeros());
  params.add("embed.weight", other, {8, 4}, Init::zeros());
  initialize(params, 0, at::kCPU);
  OptimizerConfig config;
  config.muon = {"blocks."};
  config.clip_norm = 1e9;
  Optimizer optimizer(params, config);
  at::manual_seed(2);
  const at::Tensor slope = at::randn({8, 4});
  ((matrix + other) * slope).sum().backward();
  vector.sum().backward();
  optimizer.step(/*rate=*/0.001, /*muon_rate=*/0.1);
  // Muon: all singular values near 0.1 * sqrt(8 / 4); AdamW: every entry moves by the rate.
  const at::Tensor values = at::linalg_svdvals(matrix.detach());
  EXPECT_NEAR(values.mean().item<double>(), 0.1414, 0.04);
  EXPECT_TRUE(at::allclose(other.detach(), -0.001 * slope.sign(), 1e-3, 1e-6));
  EXPECT_TRUE(at::allclose(vector.detach(), at::full({8}, -0.001), 1e-3, 1e-6));
}

TEST(Optimizer, LoadNamesWhatIsMissing) {
  OneWeight weight(at::tensor({1.0f}));
  auto state = weight.optimizer->state();
  state.erase("second/w");
  try {
    weight.optimizer->load(state, 1, "run/checkpoint.safetensors");
    FAIL() << "a missing tensor was accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("second/w"), std::string::npos);
  }
}

TEST(Schedule, Trapezoid) {
  EXPECT_NEAR(trapezoid(0.05, 0.1, 0.4, 0.01), 0.5, 1e-9);
  EXPECT_NEAR(trapezoid(0.3, 0.1, 0.4, 0.01), 1.0, 1e-9);
  EXPECT_NEAR(trapezoid(0.8, 0.1, 0.4, 0.01), 0.01 + 0.99 * 0.5, 1e-9);
  EXPECT_NEAR(trapezoid(1.0, 0.1, 0.4, 0.01), 0.01, 1e-9);
  EXPECT_GT(trapezoid(0.0, 0.1, 0.4, 0.01), 0.0);
  EXPECT_EQ(trapezoid(1.0, 0.1, 0.0, 0.01), 1.0);  // without decay
}

}  // namespace
}  // namespace tessera
