#include "samplers/solvers.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>

#include "samplers/registry.h"
#include "tests/support/sampling.h"

namespace tessera {
namespace {

// Data drawn from N(0, kSpread^2) in every coordinate: the best prediction is linear in the sample, and the exact
// trajectory keeps x over the standard deviation of its noise level.
constexpr double kSpread = 0.5;

SamplerConfig config_of(const std::string& name, Prediction prediction) {
  SamplerConfig config;
  config.sampler = name;
  config.prediction = prediction;
  config.beta_curve = BetaCurve::kScaledLinear;
  config.beta_start = 0.00085;
  config.beta_end = 0.012;
  return config;
}

double deviation(const NoiseLevel& level) {
  return std::sqrt(level.alpha * level.alpha * kSpread * kSpread + level.sigma * level.sigma);
}

/// The exact network for a sample x = alpha data + sigma noise.
at::Tensor best_prediction(Prediction prediction, const at::Tensor& x, const NoiseLevel& level) {
  const double variance = std::pow(deviation(level), 2);
  const at::Tensor data = x * (level.alpha * kSpread * kSpread / variance), noise = x * (level.sigma / variance);
  switch (prediction) {
    case Prediction::kEpsilon:
      return noise;
    case Prediction::kSample:
      return data;
    case Prediction::kV:
      return level.alpha * noise - level.sigma * data;
    case Prediction::kFlow:
      return noise - data;
  }
  return {};
}

/// The level of call i: by sigma where the schedule has them, else by the training timestep.
NoiseLevel level_of_call(const SamplerConfig& config, const Sampler& sampler, int64_t i) {
  const Schedule& schedule = sampler.schedule();
  if (!schedule.sigmas.empty()) return noise_level(config, schedule.sigmas[static_cast<size_t>(i)]);
  const double alpha = alphas_cumprod(config, false)[static_cast<size_t>(schedule.timesteps[static_cast<size_t>(i)])];
  return {std::sqrt(alpha), std::sqrt(1 - alpha)};
}

/// Error of the sample that the last call starts from, relative to the exact trajectory.
double error_before_the_last_call(const SamplerConfig& config, const SamplingPlan& plan) {
  const auto sampler = make_sampler(config, plan);
  sampler->set_noise([](at::IntArrayRef shape) { return at::zeros(shape); });
  const int64_t calls = sampler->calls();
  at::Tensor x;
  const at::Tensor start = at::ones({1, 1}) * sampler->schedule().init_noise_sigma;
  test::run_sampler(*sampler, at::ones({1, 1}), [&](const at::Tensor& seen, double, int64_t call, int64_t) {
    if (call == calls - 1) x = seen;
    return best_prediction(config.prediction, seen, level_of_call(config, *sampler, call));
  });
  const double ratio =
      deviation(level_of_call(config, *sampler, calls - 1)) / deviation(level_of_call(config, *sampler, 0));
  const double exact = sampler->scale_input(start, 0).item<double>() * ratio;
  return std::abs(x.item<double>() - exact) / exact;
}

double flow_order(SamplerConfig config, int64_t solver_order, int64_t intervals = 32) {
  config.solver_order = solver_order;
  const auto error = [&](int64_t steps) {
    SamplingPlan plan;
    plan.sigmas = evenly_spaced(0.9, 0.1, steps);
    return error_before_the_last_call(config, plan);
  };
  return std::log2(error(intervals + 1) / error(2 * intervals + 1));
}

TEST(OrderOfConvergence, FlowSolversReachTheirs) {
  constexpr double kNear = 0.2;
  EXPECT_NEAR(flow_order(config_of("euler", Prediction::kFlow), 1), 1, kNear);
  EXPECT_NEAR(flow_order(config_of("heun", Prediction::kFlow), 1), 2, kNear);
  EXPECT_NEAR(flow_order(config_of("dpmpp_2m", Prediction::kFlow), 1), 1, kNear);
  EXPECT_NEAR(flow_order(config_of("dpmpp_2m", Prediction::kFlow), 2), 2, kNear);
  EXPECT_NEAR(flow_order(config_of("unipc", Prediction::kFlow), 1), 2, kNear);
  EXPECT_NEAR(flow_order(config_of("unipc", Prediction::kFlow), 2), 3, kNear);
  EXPECT_GT(flow_order(config_of("unipc", Prediction::kFlow), 3), 2.8);  // its first step is of lower order
}

/// SA-Solver as an ODE solver (tau 0) with both orders.
SamplerConfig sa_ode(Prediction prediction, int64_t order) {
  SamplerConfig config = config_of("sa_solver", prediction);
  config.tau = 0;
  config.predictor_order = config.corrector_order = order;
  return config;
}

TEST(OrderOfConvergence, SaSolverReachesItsOwnWithoutNoise) {
  EXPECT_NEAR(flow_order(sa_ode(Prediction::kFlow, 1), 1, 256), 1, 0.2);
  EXPECT_GT(flow_order(sa_ode(Prediction::kFlow, 2), 1), 1.8);
  EXPECT_GT(flow_order(sa_ode(Prediction::kFlow, 3), 1), 2.8);
}

double diffusion_order(SamplerConfig config) {
  const auto error = [&](int64_t steps) { return error_before_the_last_call(config, {.steps = steps}); };
  return std::log2(error(40) / error(80));
}

TEST(OrderOfConvergence, DiffusionSolversReachTheirs) {
  for (const Prediction prediction : {Prediction::kEpsilon, Prediction::kV}) {
    for (const auto& [name, order] :
         std::vector<std::pair<const char*, double>>{{"euler", 1}, {"heun", 2}, {"dpmpp_2m", 2}, {"unipc", 3}}) {
      SamplerConfig config = config_of(name, prediction);
      config.sigma_curve = SigmaCurve::kKarras;  // a grid that is smooth in the step number
      EXPECT_GT(diffusion_order(config), order - 0.4) << name;
    }
    SamplerConfig ddim = config_of("ddim", prediction);
    ddim.spacing = Spacing::kLeading;
    EXPECT_NEAR(diffusion_order(ddim), 1, 0.25);
  }
}

/// Standard deviation of 20,000 samples of a stochastic solver; exact would be kSpread.
double sampled_deviation(const SamplerConfig& config, int64_t steps) {
  const auto sampler = make_sampler(config, {.steps = steps});
  auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, generator, at::TensorOptions(at::kFloat)); };
  sampler->set_noise(draw);
  const at::Tensor data =
      test::run_sampler(*sampler, draw({20000, 1}), [&](const at::Tensor& x, double, int64_t call, int64_t) {
        return best_prediction(config.prediction, x, level_of_call(config, *sampler, call));
      });
  return data.std().item<double>();
}

TEST(StochasticSolvers, DrawFromTheDataDistribution) {
  for (const char* name : {"ddpm", "euler_a", "dpmpp_2m_sde", "sa_solver", "ddim"}) {
    SamplerConfig config = config_of(name, Prediction::kEpsilon);
    config.eta = 1;
    EXPECT_NEAR(sampled_deviation(config, 200), kSpread, 0.02) << name;
  }
  for (const char* name : {"dpmpp_2m_sde", "sa_solver"})
    EXPECT_NEAR(sampled_deviation(config_of(name, Prediction::kFlow), 100), kSpread, 0.02) << name;
}

TEST(StochasticSolvers, NeedASourceOfNoise) {
  const auto sampler = make_sampler(config_of("euler_a", Prediction::kEpsilon), {.steps = 3});
  EXPECT_THROW(sampler->step(at::zeros({1, 1}), at::ones({1, 1}), 0), c10::Error);
}

TEST(Ddpm, LearnedRangeMixesBothVariancesInTheLogarithm) {
  SamplerConfig config = config_of("ddpm", Prediction::kEpsilon);
  config.train_steps = 2;
  config.trained_betas = {0.1, 0.2};  // alpha-bar 0.9, 0.72
  config.variance = Variance::kLearnedRange;
  const auto sampler = make_sampler(config, {.steps = 2});
  sampler->set_noise([](at::IntArrayRef shape) { return at::ones(shape); });
  const at::Tensor output = at::tensor({0.0F, 0.0F, 1.0F, -1.0F}).view({1, 4, 1});  // two channels of each
  const at::Tensor out = sampler->step(output, at::zeros({1, 2, 1}), 0);
  EXPECT_NEAR(out[0][0][0].item<double>(), std::sqrt(0.2), 1e-6);               // +1: beta
  EXPECT_NEAR(out[0][1][0].item<double>(), std::sqrt(0.2 * 0.1 / 0.28), 1e-6);  // -1: the posterior's
  EXPECT_THROW(sampler->step(at::zeros({1, 2, 1}), at::zeros({1, 2, 1}), 0), c10::Error);
}

/// From pure noise (alpha-bar 0) to the data, all noise drawn afresh: at the first step that is the whole noise of the
/// next level, and rounding must not make the rest of it negative.
TEST(Ddim, EtaOneFromZeroTerminalSnrStaysFinite) {
  for (const BetaCurve curve : {BetaCurve::kLinear, BetaCurve::kScaledLinear, BetaCurve::kCosine})
    for (int64_t steps = 2; steps <= 60; ++steps) {
      SamplerConfig config = config_of("ddim", Prediction::kV);
      config.beta_curve = curve;
      config.zero_terminal_snr = true;
      config.spacing = Spacing::kTrailing;
      config.eta = 1;
      const auto sampler = make_sampler(config, {.steps = steps});
      sampler->set_noise([](at::IntArrayRef shape) { return at::ones(shape); });
      const at::Tensor output = at::full({1}, -0.25), sample = at::full({1}, 3.0);  // the data is 0.25
      const double next = alphas_cumprod(config, false)[static_cast<size_t>(999 - 1000 / steps)];
      const double found = sampler->step(output, sample, 0).item<double>();
      EXPECT_NEAR(found, std::sqrt(next) * 0.25 + std::sqrt(1 - next), 1e-6) << steps << " steps";
    }
}

/// sigma falls so far in one step that nothing is left of sigma_down but rounding.
TEST(EulerAncestral, AHugeDropOfSigmaStaysFinite) {
  SamplerConfig config = config_of("euler_a", Prediction::kEpsilon);
  config.sigma_curve = SigmaCurve::kExponential;
  config.sigma_max = 300;
  for (int i = 0; i < 100; ++i) {
    config.sigma_min = 1e-8 * std::pow(10, i / 50.0);
    const auto sampler = make_sampler(config, {.steps = 2});
    sampler->set_noise([](at::IntArrayRef shape) { return at::ones(shape); });
    EXPECT_TRUE(sampler->step(at::ones({1}), at::ones({1}), 0).isfinite().item<bool>()) << *config.sigma_min;
  }
}

TEST(Sampler, ASecondTrajectoryDoesNotSeeTheFirst) {
  for (const char* name : {"euler", "heun", "dpmpp_2m", "unipc", "sa_solver"}) {
    const auto sampler = make_sampler(config_of(name, Prediction::kFlow), {.steps = 5});
    sampler->set_noise([](at::IntArrayRef shape) { return at::ones(shape); });
    const auto network = [](const at::Tensor& x, double t, int64_t, int64_t) { return x.sin() + t / 1000; };
    const at::Tensor noise = at::linspace(-1, 1, 4);
    const at::Tensor first = test::run_sampler(*sampler, noise, network);
    EXPECT_TRUE(at::equal(test::run_sampler(*sampler, noise, network), first)) << name;
  }
}

TEST(Sampler, EveryOneRunsAtAnyNumberOfSteps) {
  for (const auto& info : samplers())
    for (const bool flow : {true, false}) {
      if (!info.models.has(flow)) continue;
      for (const int64_t steps : {1, 2, 3, 16}) {
        const auto sampler =
            make_sampler(config_of(info.name, flow ? Prediction::kFlow : Prediction::kV), {.steps = steps});
        EXPECT_EQ(sampler->calls(), info.calls_per_step == 2 ? 2 * steps - 1 : steps) << info.name;
        sampler->set_noise([](at::IntArrayRef shape) { return at::ones(shape); });
        const at::Tensor out =
            test::run_sampler(*sampler, at::ones({1, 2, 3}),
                              [](const at::Tensor& x, double, int64_t, int64_t) { return x.sin().to(at::kBFloat16); });
        EXPECT_EQ(out.scalar_type(), at::kFloat) << info.name;
        EXPECT_EQ(out.sizes(), at::IntArrayRef({1, 2, 3})) << info.name;
      }
    }
}

TEST(Sampler, ExplicitSigmasFromOneReachTheData) {
  for (const auto& name : sampler_names(/*flow=*/true)) {
    SamplingPlan plan;
    plan.sigmas = {1.0, 0.75, 0.25};
    const auto sampler = make_sampler(config_of(name, Prediction::kFlow), plan);
    sampler->set_noise([](at::IntArrayRef shape) { return at::zeros(shape); });
    const at::Tensor data = test::run_sampler(*sampler, at::full({1, 1}, 3.0),  // the path from noise 3 to data 1
                                              [](const at::Tensor& x, double, int64_t, int64_t) { return x * 0 + 2; });
    if (!find_sampler(name).stochastic) {
      EXPECT_NEAR(data.item<double>(), 1.0, 1e-4) << name;
    }
    EXPECT_TRUE(data.isfinite().all().item<bool>()) << name;
  }
}

TEST(Sampler, EveryOneRunsOnTheMetaDevice) {
  const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
  for (const auto& info : samplers()) {
    const auto sampler =
        make_sampler(config_of(info.name, info.models.flow ? Prediction::kFlow : Prediction::kEpsilon), {.steps = 4});
    sampler->set_noise([](at::IntArrayRef shape) { return at::ones(shape); });
    const at::Tensor out = test::run_sampler(*sampler, at::empty({1, 2, 3}, meta),
                                             [](const at::Tensor& x, double, int64_t, int64_t) { return x.sin(); });
    EXPECT_TRUE(out.is_meta()) << info.name;
  }
}

TEST(Sampler, ChecksItsArguments) {
  const auto sampler = make_sampler(config_of("euler", Prediction::kFlow), {.steps = 2});
  EXPECT_THROW(sampler->step(at::ones({1}), at::ones({1}), 2), c10::Error);
  EXPECT_THROW(sampler->step(at::ones({1}), at::ones({1}, at::kDouble), 0), c10::Error);
}

}  // namespace
}  // namespace tessera
