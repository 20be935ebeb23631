#include "samplers/guidance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/guided_model.h"

namespace tessera {
namespace {

at::Tensor row(std::vector<float> values) {
  const int64_t count = static_cast<int64_t>(values.size());
  return at::tensor(values).view({1, count});
}

void expect_close(const at::Tensor& actual, const at::Tensor& expected) {
  ASSERT_EQ(actual.sizes(), expected.sizes());
  EXPECT_TRUE(at::allclose(actual, expected, 1e-5, 1e-6)) << actual << expected;
}

TEST(Guidance, IsUncondPlusScaleTimesDifference) {
  expect_close(combine_guidance(row({1, 2}), row({0, 4}), 3), row({3, -2}));
}

TEST(Guidance, RescaleMatchesTheDeviationOfEachSample) {
  const at::Tensor guided = at::tensor({0.0F, 4.0F, 0.0F, 8.0F}).view({2, 2});
  const at::Tensor cond = at::tensor({0.0F, 2.0F, 0.0F, 2.0F}).view({2, 2});
  expect_close(rescale_guidance(guided, cond, 1.0), cond);  // factors 1/2 and 1/4
  expect_close(rescale_guidance(guided, cond, 0.5), at::tensor({0.0F, 3.0F, 0.0F, 5.0F}).view({2, 2}));
}

TEST(Guidance, ProjectionDampsTheParallelPart) {
  const at::Tensor difference = row({3, 4}), cond = row({2, 0});
  expect_close(project_difference(difference, cond, 0, 1), difference);
  expect_close(project_difference(difference, cond, 0, 0), row({0, 4}));
  expect_close(project_difference(difference, cond, 0, 0.5), row({1.5, 4}));
  expect_close(project_difference(difference, cond, 2.5, 0), row({0, 2}));  // norm 5 cut to 2.5
  expect_close(project_difference(difference, cond, 10, 0), row({0, 4}));
}

TEST(Guidance, ZeroStarFactorIsTheLeastSquaresFit) {
  const at::Tensor cond = at::tensor({2.0F, 2.0F, 1.0F, 0.0F}).view({2, 2});
  const at::Tensor uncond = at::tensor({1.0F, 0.0F, 2.0F, 1.0F}).view({2, 2});
  expect_close(zero_star_factor(cond, uncond), at::tensor({2.0F, 0.4F}).view({2, 1}));
}

/// A network whose prediction is its condition, broadcast over the sample; it remembers its batch sizes.
struct Echo {
  std::vector<int64_t> batches;
  at::Tensor timesteps;
  ConditionalModel model() {
    return [this](const at::Tensor& x, const at::Tensor& t, const at::Tensor& condition) {
      batches.push_back(x.size(0));
      timesteps = t;
      return (x * 0 + condition).to(at::kBFloat16);
    };
  }
};

TEST(GuidedModel, PutsBothBranchesInOneBatch) {
  Echo echo;
  test::GuidedModel model({.scale = 3}, echo.model(), row({1, 2}), row({0, 4}));
  expect_close(model(at::ones({1, 2}), 875.5, 0, 10), row({3, -2}));
  EXPECT_EQ(echo.batches, std::vector<int64_t>{2});
  expect_close(echo.timesteps, at::tensor({875.5F, 875.5F}));
}

TEST(GuidedModel, RunsOneBranchWithoutGuidance) {
  for (const double scale : {1.0, 0.0}) {
    Echo echo;
    test::GuidedModel model({.scale = scale}, echo.model(), row({1, 2}), {});
    expect_close(model(at::ones({1, 2}), 500, 0, 10), row({1, 2}));
    EXPECT_EQ(echo.batches, std::vector<int64_t>{1});
  }
}

TEST(GuidedModel, NeedsConditionsOfOneShape) {
  Echo echo;
  EXPECT_THROW(test::GuidedModel({.scale = 3}, echo.model(), row({1, 2}), {}), c10::Error);
  EXPECT_THROW(test::GuidedModel({.scale = 3}, echo.model(), row({1, 2}), row({1})), c10::Error);
}

TEST(GuidedModel, GuidesInsideTheIntervalOnly) {
  Echo echo;
  test::GuidedModel model({.scale = 3, .start = 0.2, .stop = 0.6}, echo.model(), row({1}), row({0}));
  for (int64_t call = 0; call < 10; ++call) model(at::ones({1, 1}), 0, call, 10);
  EXPECT_EQ(echo.batches, (std::vector<int64_t>{1, 1, 2, 2, 2, 2, 1, 1, 1, 1}));
}

TEST(GuidedModel, LowTimestepsMayHaveAScaleOfTheirOwn) {
  Echo echo;
  test::GuidedModel model({.scale = 3, .low_scale = 1, .low_below = 875}, echo.model(), row({1, 2}), row({0, 4}));
  expect_close(model(at::ones({1, 2}), 875, 0, 10), row({3, -2}));
  expect_close(model(at::ones({1, 2}), 874.9, 1, 10), row({1, 2}));
  EXPECT_EQ(echo.batches, (std::vector<int64_t>{2, 1}));
  test::GuidedModel late({.scale = 1, .low_scale = 3, .low_below = 875}, echo.model(), row({1, 2}), row({0, 4}));
  expect_close(late(at::ones({1, 2}), 900, 0, 10), row({1, 2}));
  expect_close(late(at::ones({1, 2}), 100, 1, 10), row({3, -2}));
}

TEST(GuidedModel, ZeroStarStartsWithZero) {
  Echo echo;
  test::GuidedModel model({.kind = GuidanceKind::kZeroStar, .scale = 3, .zero_calls = 1}, echo.model(), row({2, 2}),
                          row({1, 0}));
  expect_close(model(at::ones({1, 2}), 0, 0, 10), row({0, 0}));
  EXPECT_TRUE(echo.batches.empty());
  expect_close(model(at::ones({1, 2}), 0, 1, 10), row({2, 6}));  // factor 2: (2, 0) + 3 ((2, 2) - (2, 0))
}

TEST(GuidedModel, ProjectedMomentumAddsUpAndStartsAnew) {
  Echo echo;
  const GuidanceConfig config{.kind = GuidanceKind::kProjected,
                              .scale = 2,
                              .projected_parallel = 1,
                              .projected_norm = 0,
                              .projected_momentum = -0.5};
  test::GuidedModel model(config, echo.model(), row({1, 0}), row({0, 4}));
  for (int trajectory = 0; trajectory < 2; ++trajectory) {
    expect_close(model(at::ones({1, 2}), 0, 0, 3), row({2, -4}));    // difference (1, -4)
    expect_close(model(at::ones({1, 2}), 0, 1, 3), row({1, 0}));     // (0.5, -2)
    expect_close(model(at::ones({1, 2}), 0, 2, 3), row({1.5, -2}));  // (0.75, -3)
  }
}

TEST(GuidedModel, RescalesTheGuidedPrediction) {
  Echo echo;
  test::GuidedModel model({.scale = 3, .rescale = 1}, echo.model(), row({1, 2}), row({0, 4}));
  const double factor = (1 / std::sqrt(2.0)) / (5 / std::sqrt(2.0));
  expect_close(model(at::ones({1, 2}), 0, 0, 10), row({3, -2}) * factor);
}

TEST(GuidedModel, RunsOnTheMetaDevice) {
  const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  for (const GuidanceKind kind : {GuidanceKind::kPlain, GuidanceKind::kProjected, GuidanceKind::kZeroStar}) {
    Echo echo;
    test::GuidedModel model({.kind = kind, .scale = 3, .rescale = 0.5}, echo.model(), at::empty({1, 2}, meta),
                            at::empty({1, 2}, meta));
    EXPECT_TRUE(model(at::empty({1, 2}, meta), 500, 5, 10).is_meta());
  }
}

TEST(GuidedModel, ChangesTheFirstChannelsAlone) {
  // cond 3 and uncond 1 in every channel: guided 1 + 4 * 2 = 9, the rest is the conditional branch's.
  const auto model = [](const at::Tensor& x, const at::Tensor&, const at::Tensor& condition) {
    return condition.view({-1, 1, 1, 1}).expand({x.size(0), 4, 2, 2}).to(at::kFloat);
  };
  test::GuidedModel guided({.scale = 4.0, .channels = 3}, model, at::full({1}, 3, at::kLong),
                           at::full({1}, 1, at::kLong));
  const at::Tensor out = guided(at::zeros({1, 2, 2, 2}), 0, 0, 1);
  ASSERT_EQ(out.sizes(), at::IntArrayRef({1, 4, 2, 2}));
  EXPECT_TRUE(at::equal(out.narrow(1, 0, 3), at::full({1, 3, 2, 2}, 9.0F)));
  EXPECT_TRUE(at::equal(out.narrow(1, 3, 1), at::full({1, 1, 2, 2}, 3.0F)));
}

}  // namespace
}  // namespace tessera
