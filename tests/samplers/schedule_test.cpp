#include "samplers/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "samplers/registry.h"

namespace tessera {
namespace {

SamplerConfig diffusion() {
  SamplerConfig config;
  config.prediction = Prediction::kEpsilon;
  return config;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << "entry " << i;
}

TEST(EvenlySpaced, IncludesBothEnds) {
  expect_near(evenly_spaced(1, 0, 5), {1, 0.75, 0.5, 0.25, 0}, 0);
  expect_near(evenly_spaced(3, 7, 1), {3}, 0);
  EXPECT_THROW(evenly_spaced(0, 1, 0), c10::Error);
}

TEST(SpacedTimesteps, FollowOpenAisRespacing) {
  SamplerConfig config = diffusion();
  config.spacing = Spacing::kRespaced;
  config.train_steps = 10;
  expect_near(spaced_timesteps(config, 4, false), {9, 6, 3, 0}, 0);
  expect_near(spaced_timesteps(config, 3, false), {9, 4, 0}, 0);  // 4.5 rounds to even
  expect_near(spaced_timesteps(config, 1, false), {0}, 0);
  config.spacing = Spacing::kStride;
  expect_near(spaced_timesteps(config, 4, false), {9, 6, 3, 0}, 0);  // stride 3
  expect_near(spaced_timesteps(config, 5, false), {8, 6, 4, 2, 0}, 0);
  EXPECT_THROW(spaced_timesteps(config, 6, false), Error);  // strides give 10, 5, 4, 3, 2 and 1 steps
}

TEST(SpacedTimesteps, SectionsAreEqualPartsWithStepsOfTheirOwn) {
  SamplerConfig config = diffusion();
  config.spacing = Spacing::kRespaced;
  config.sections = {4, 3, 5};
  // 1000 = 334 + 333 + 333. Strides: 333 / 3 = 111; 332 / 2 = 166; 332 / 4 = 83.
  expect_near(spaced_timesteps(config, 12, false), {999, 916, 833, 750, 667, 666, 500, 334, 333, 222, 111, 0}, 0);
  config.train_steps = 10;
  config.sections = {1, 3};
  expect_near(spaced_timesteps(config, 4, false), {9, 7, 5, 0}, 0);  // one step visits the first timestep of its part
  config.sections = {6, 1};
  EXPECT_THROW(spaced_timesteps(config, 7, false), Error);  // a part has five timesteps
  config.sections = {2, 2};
  EXPECT_THROW(spaced_timesteps(config, 5, false), c10::Error);
}

TEST(ParseRespacing, TheThreeForms) {
  const Respacing even = parse_respacing("250"), strided = parse_respacing("ddim50"), parts = parse_respacing("4, 3,5");
  EXPECT_EQ(even.spacing, Spacing::kRespaced);
  EXPECT_EQ(even.steps, 250);
  EXPECT_TRUE(even.sections.empty());
  EXPECT_EQ(strided.spacing, Spacing::kStride);
  EXPECT_EQ(strided.steps, 50);
  EXPECT_EQ(parts.spacing, Spacing::kRespaced);
  EXPECT_EQ(parts.steps, 12);
  EXPECT_EQ(parts.sections, (std::vector<int64_t>{4, 3, 5}));
  for (const char* bad :
       {"", "0", "-1", "ddim", "ddim5,5", "4,", ",4", "4,,5", "4;5", "10 20", "2.5", "99999999999999999999"})
    EXPECT_THROW(parse_respacing(bad), Error) << bad;
}

TEST(AlphasCumprod, ExactTablesKeepTheLastDigitsBesideOne) {
  SamplerConfig config = diffusion();
  config.exact_tables = true;
  EXPECT_EQ(alphas_cumprod(config, false)[0], 1 - 0.0001);
  config.exact_tables = false;
  EXPECT_NE(alphas_cumprod(config, false)[0], 1 - 0.0001);
}

TEST(SpacedTimesteps, FollowTheThreeSpacings) {
  SamplerConfig config = diffusion();
  config.train_steps = 10;
  config.spacing = Spacing::kLinspace;
  expect_near(spaced_timesteps(config, 4, false), {9, 6, 3, 0}, 0);
  expect_near(spaced_timesteps(config, 3, true), {9, 6, 3}, 0);
  config.spacing = Spacing::kLeading;
  expect_near(spaced_timesteps(config, 4, false), {6, 4, 2, 0}, 0);
  config.steps_offset = 1;
  expect_near(spaced_timesteps(config, 4, false), {7, 5, 3, 1}, 0);
  expect_near(spaced_timesteps(config, 4, true), {9, 7, 5, 3}, 0);
  config.spacing = Spacing::kTrailing;
  expect_near(spaced_timesteps(config, 4, false), {9, 7, 4, 1}, 0);  // 10, 7.5, 5, 2.5 rounded to even, less 1
}

TEST(SpacedTimesteps, TrailingNeverLeavesTheGrid) {
  SamplerConfig config = diffusion();
  config.spacing = Spacing::kTrailing;
  for (const int64_t steps : {1, 61, 103, 999, 1000}) {  // 1000 / (1000 / 61) exceeds 61
    const auto timesteps = spaced_timesteps(config, steps, false);
    EXPECT_EQ(timesteps.size(), static_cast<size_t>(steps));
    EXPECT_EQ(timesteps.front(), 999);
    EXPECT_GE(timesteps.back(), 0);
  }
}

TEST(SpacedTimesteps, RefusesMoreStepsThanTrained) {
  SamplerConfig config = diffusion();
  EXPECT_THROW(spaced_timesteps(config, 1001, false), Error);
  EXPECT_THROW(spaced_timesteps(config, 1000, true), Error);
  EXPECT_EQ(spaced_timesteps(config, 1000, false).size(), 1000u);
  config.spacing = Spacing::kLeading;
  config.steps_offset = 1;
  EXPECT_THROW(spaced_timesteps(config, 1000, false), Error);  // would ask for timestep 1000
}

TEST(AlphasCumprod, MultipliesWhatTheBetasLeave) {
  SamplerConfig config = diffusion();
  config.train_steps = 3;
  config.trained_betas = {0.1, 0.2, 0.5};
  expect_near(alphas_cumprod(config, false), {0.9, 0.72, 0.36}, 1e-7);
  expect_near(training_sigmas(config), {1.0 / 3, std::sqrt(0.28 / 0.72), std::sqrt(0.64 / 0.36)}, 1e-6);
}

TEST(AlphasCumprod, CanEndWithoutSignal) {
  SamplerConfig config = diffusion();
  config.train_steps = 3;
  config.trained_betas = {0.19, 0.2, 0.5};  // roots of the products: 0.9, 0.80498, 0.56921
  config.zero_terminal_snr = true;
  const double scale = 0.9 / (0.9 - std::sqrt(0.324));
  expect_near(alphas_cumprod(config, false), {0.81, std::pow(scale * (std::sqrt(0.648) - std::sqrt(0.324)), 2), 0.0},
              1e-6);
  EXPECT_EQ(alphas_cumprod(config, true).back(), std::ldexp(1.0, -24));
}

TEST(AlphasCumprod, CurvesBeginAndEndWhereTheyShould) {
  SamplerConfig config = diffusion();
  EXPECT_NEAR(alphas_cumprod(config, false).front(), 1 - 0.0001, 1e-7);
  config.beta_curve = BetaCurve::kScaledLinear;
  config.beta_start = 0.00085;
  config.beta_end = 0.012;
  EXPECT_NEAR(alphas_cumprod(config, false).front(), 1 - 0.00085, 1e-7);
  EXPECT_NEAR(training_sigmas(config).back(), 14.6146, 1e-3);  // the largest noise level of Stable Diffusion
  config.beta_curve = BetaCurve::kCosine;
  const auto alphas = alphas_cumprod(config, false);
  const auto remaining = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * M_PI / 2), 2); };
  EXPECT_NEAR(alphas[499], remaining(0.5) / remaining(0), 1e-5);
}

TEST(Interpolate, IsLinearAndStopsAtTheEnds) {
  const std::vector<double> table = {0, 10, 40};
  EXPECT_EQ(interpolate(table, 0.5), 5);
  EXPECT_EQ(interpolate(table, 1.25), 17.5);
  EXPECT_EQ(interpolate(table, -3), 0);
  EXPECT_EQ(interpolate(table, 7), 40);
}

TEST(CurvedSigmas, GoFromEndToEnd) {
  SamplerConfig config = diffusion();
  config.sigma_curve = SigmaCurve::kExponential;
  expect_near(curved_sigmas(config, 16, 1, 5), {16, 8, 4, 2, 1}, 1e-12);
  config.sigma_max = 4;
  config.sigma_min = 2;
  expect_near(curved_sigmas(config, 16, 1, 2), {4, 2}, 1e-12);
  config.sigma_curve = SigmaCurve::kKarras;
  config.sigma_max = config.sigma_min = std::nullopt;
  expect_near(curved_sigmas(config, 128, 1, 3), {128, std::pow(1.5, 7), 1}, 1e-9);  // 128^(1/7) = 2
  expect_near(curved_sigmas(config, 128, 1, 1), {128}, 1e-9);
}

TEST(TimestepOfSigma, InvertsTheTable) {
  const SamplerConfig config = diffusion();
  const auto table = training_sigmas(config);
  const TimestepOfSigma timestep_of(table);
  EXPECT_NEAR(timestep_of(table[137]), 137, 1e-3);
  EXPECT_NEAR(timestep_of(std::sqrt(table[500] * table[501])), 500.5, 1e-2);
  EXPECT_EQ(timestep_of(1e9), 999);
  EXPECT_EQ(timestep_of(0), 0);
}

TEST(ShiftFlowTimes, MovesTowardsNoise) {
  SamplerConfig config;
  config.flow_shift = 3;
  expect_near(shift_flow_times(config, {}, {1, 0.5, 0.25}, false), {1, 0.75, 0.5}, 1e-12);
  config.shift_terminal = 0.2;  // 1 - (1 - t) * 0.8 / 0.5
  expect_near(shift_flow_times(config, {}, {1, 0.5, 0.25}, false), {1, 0.6, 0.2}, 1e-12);
}

TEST(ShiftFlowTimes, TakesMuWhereTheShiftIsDynamic) {
  SamplerConfig config;
  config.dynamic_shift = true;
  EXPECT_THROW(shift_flow_times(config, {}, {0.5}, false), Error);
  SamplingPlan plan;
  plan.mu = std::log(3.0);
  expect_near(shift_flow_times(config, plan, {0.5}, false), {0.75}, 1e-12);
  config.linear_time_shift = true;
  plan.mu = 3.0;
  expect_near(shift_flow_times(config, plan, {0.5}, false), {0.75}, 1e-12);
  plan.mu = -1.0;
  EXPECT_THROW(shift_flow_times(config, plan, {0.5}, false), Error);
  EXPECT_DOUBLE_EQ(dynamic_shift_mu(config, 256), 0.5);
  EXPECT_DOUBLE_EQ(dynamic_shift_mu(config, 4096), 1.15);
}

TEST(Schedules, OfOneStepStartAtNoiseAndEndAtData) {
  for (const char* name : {"euler", "heun", "unipc", "dpmpp_2m", "dpmpp_2m_sde"}) {
    SamplerConfig config;
    config.sampler = name;
    config.flow_shift = 3;
    const auto sampler = make_sampler(config, {.steps = 1});
    EXPECT_EQ(sampler->calls(), 1) << name;
    EXPECT_NEAR(sampler->schedule().sigmas.front(), 1, 1e-3) << name;
    EXPECT_EQ(sampler->schedule().sigmas.back(), 0) << name;
  }
}

}  // namespace
}  // namespace tessera
