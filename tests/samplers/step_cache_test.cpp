#include "samplers/step_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "samplers/loop.h"
#include "samplers/registry.h"
#include "tests/support/guided_model.h"
#include "tests/support/sampling.h"

namespace tessera {
namespace {

/// A network that counts its calls; its output is its input plus the number of the call.
struct Counter {
  int64_t calls = 0;
  ConditionalModel model() {
    return [this](const at::Tensor& x, const at::Tensor&, const at::Tensor&) { return x + ++calls; };
  }
};

double ask(const ConditionalModel& model, double x) {
  return model(at::full({1, 2}, x), at::zeros({1}), {}).max().item<double>();
}

TEST(StepCache, KeepsTheOutputWhileTheInputMovesLessThanTheThreshold) {
  Counter counter;
  StepCache cache(0.1);
  const ConditionalModel model = test::cached(cache, counter.model());
  EXPECT_EQ(ask(model, 10), 11);
  EXPECT_EQ(ask(model, 10.5), 11);   // 5% away
  EXPECT_EQ(ask(model, 9.25), 11);   // 7.5%
  EXPECT_EQ(ask(model, 11), 13);     // 10% is not less
  EXPECT_EQ(ask(model, 10.5), 13);   // 0.5 / 11
  EXPECT_EQ(ask(model, 9.5), 12.5);  // 1.5 / 11
  EXPECT_EQ(counter.calls, 3);
  const StepCacheReport report = cache.report();
  EXPECT_EQ(report.calls, 6);
  EXPECT_EQ(report.reused, 3);
  EXPECT_NEAR(report.largest_change, 0.075, 1e-6);
  EXPECT_NEAR(report.mean_change, (0.05 + 0.075 + 0.5 / 11) / 3, 1e-6);
}

TEST(StepCache, ThresholdZeroReusesNothing) {
  Counter counter;
  StepCache cache(0);
  const ConditionalModel model = test::cached(cache, counter.model());
  for (int i = 0; i < 3; ++i) ask(model, 10);
  EXPECT_EQ(counter.calls, 3);
  EXPECT_EQ(cache.report().reused, 0);
  EXPECT_THROW(StepCache(-0.1), c10::Error);
}

TEST(StepCache, TheSampleThatMovesMostDecides) {
  Counter counter;
  StepCache cache(0.1);
  const ConditionalModel model = test::cached(cache, counter.model());
  model(at::tensor({1.0F, 100.0F}).view({2, 1}), at::zeros({2}), {});
  model(at::tensor({1.5F, 100.0F}).view({2, 1}), at::zeros({2}), {});
  EXPECT_EQ(counter.calls, 2);
}

TEST(StepCache, AnotherBatchSizeReachesTheNetwork) {
  Counter counter;
  StepCache cache(0.5);
  const ConditionalModel model = test::cached(cache, counter.model());
  model(at::ones({2, 3}), at::zeros({2}), {});
  model(at::ones({1, 3}), at::zeros({1}), {});
  EXPECT_EQ(counter.calls, 2);
}

TEST(StepCache, GuidanceGoesOnWithKeptOutputs) {
  Counter counter;
  StepCache cache(0.2);
  test::GuidedModel guided({.kind = GuidanceKind::kZeroStar, .scale = 2, .zero_calls = 1},
                           test::cached(cache, counter.model()), at::zeros({1, 2}), at::zeros({1, 2}));
  for (int64_t call = 0; call < 3; ++call) guided(at::full({1, 2}, 10.0 + static_cast<double>(call)), 0, call, 3);
  EXPECT_EQ(counter.calls, 1);  // not asked at first, then once, then kept
  EXPECT_EQ(cache.report().reused, 1);
}

TEST(StepCache, AStraightPathNeedsOneCall) {
  int64_t calls = 0;
  StepCache cache(1e9);
  test::GuidedModel guided({.scale = 1},
                           test::cached(cache,
                                        [&](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
                                          ++calls;
                                          return at::full_like(x, 2.0);
                                        }),
                           at::zeros({1, 1}), {});
  const auto sampler = make_sampler(SamplerConfig{}, {.steps = 8});
  const at::Tensor data = test::run_sampler(*sampler, at::full({1, 2}, 3.0), guided);
  EXPECT_TRUE(at::allclose(data, at::ones({1, 2})));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace tessera
