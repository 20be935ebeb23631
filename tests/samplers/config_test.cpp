#include "samplers/config.h"

#include <gtest/gtest.h>

#include "samplers/registry.h"
#include "tests/support/errors.h"

namespace tessera {
namespace {

using test::error_of;

SamplerConfig read(const nlohmann::json& json) {
  return read_scheduler_config({json, "scheduler_config.json"});
}

void expect_error(const nlohmann::json& json, const std::vector<std::string>& parts) {
  const std::string message = error_of([&] { read(json); });
  for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
}

nlohmann::json wan() {
  return {{"_class_name", "UniPCMultistepScheduler"},
          {"use_flow_sigmas", true},
          {"prediction_type", "flow_prediction"},
          {"flow_shift", 3.0},
          {"solver_order", 2},
          {"disable_corrector", nlohmann::json::array()},
          {"trained_betas", nullptr},
          {"thresholding", false},
          {"sigma_min", nullptr}};
}

TEST(SchedulerConfig, ReadsWhatWanShips) {
  const SamplerConfig config = read(wan());
  EXPECT_EQ(config.sampler, "unipc");
  EXPECT_TRUE(config.flow());
  EXPECT_EQ(config.flow_shift, 3.0);
  EXPECT_EQ(config.solver_order, 2);
}

TEST(SchedulerConfig, TakesEachClassForItsSamplerAndDefaults) {
  const SamplerConfig flow = read({{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 5}});
  EXPECT_EQ(flow.sampler, "euler");
  EXPECT_TRUE(flow.flow());
  EXPECT_EQ(flow.flow_shift, 5.0);

  const SamplerConfig ddim = read({{"_class_name", "DDIMScheduler"}});
  EXPECT_EQ(ddim.sampler, "ddim");
  EXPECT_EQ(ddim.spacing, Spacing::kLeading);
  EXPECT_TRUE(ddim.clip_sample);
  EXPECT_FALSE(ddim.flow());

  EXPECT_EQ(read({{"_class_name", "HeunDiscreteScheduler"}}).beta_start, 0.00085);
  EXPECT_EQ(read({{"_class_name", "EulerAncestralDiscreteScheduler"}}).sampler, "euler_a");
  EXPECT_EQ(read({{"_class_name", "DPMSolverMultistepScheduler"}}).sampler, "dpmpp_2m");
  EXPECT_EQ(read({{"_class_name", "DPMSolverMultistepScheduler"}, {"algorithm_type", "sde-dpmsolver++"}}).sampler,
            "dpmpp_2m_sde");
  EXPECT_EQ(read({{"_class_name", "DDPMScheduler"}, {"variance_type", "learned_range"}}).variance,
            Variance::kLearnedRange);
}

TEST(SchedulerConfig, NamesTheFileAndKeyOfWhatIsWrong) {
  const auto with = [](const char* key, nlohmann::json value) {
    nlohmann::json json = wan();
    json[key] = std::move(value);
    return json;
  };
  expect_error({{"shift", 3}}, {"scheduler_config.json", "_class_name"});
  expect_error({{"_class_name", "UniPCMultistepSheduler"}}, {"_class_name", "UniPCMultistepScheduler"});
  expect_error(with("flow_shift", "high"), {"flow_shift", "must be a number"});
  expect_error(with("flow_shift", 0), {"flow_shift", "must be positive"});
  expect_error(with("solver_order", 2.5), {"solver_order", "whole number"});
  expect_error(with("solver_order", 4), {"solver_order", "between 1 and 3"});
  expect_error(with("use_flow_sigmas", "yes"), {"use_flow_sigmas", "true or false"});
  expect_error(with("timestep_spacing", "linspaced"), {"timestep_spacing", "did you mean linspace"});
  expect_error(with("num_train_timesteps", 0), {"num_train_timesteps", "at least 2"});
  expect_error(with("disable_corrector", "none"), {"disable_corrector"});
  expect_error(with("trained_betas", {0.1, 0.2}), {"trained_betas", "1000"});
  expect_error(with("prediction_type", "epsilon"), {"prediction_type", "flow_prediction"});
}

TEST(SchedulerConfig, RefusesWhatNoSolverHonors) {
  for (const char* key :
       {"thresholding", "use_beta_sigmas", "use_lu_lambdas", "invert_sigmas", "stochastic_sampling"}) {
    nlohmann::json json = wan();
    json[key] = true;
    expect_error(json, {key, "not supported"});
  }
  nlohmann::json json = wan();
  json["predict_x0"] = false;
  expect_error(json, {"predict_x0"});
}

TEST(SchedulerConfig, LcmIsForFlowsOfOneSize) {
  nlohmann::json lcm = {
      {"_class_name", "FlowMatchLCMScheduler"}, {"shift", 5}, {"scale_factors", nullptr}, {"upscale_mode", "bicubic"}};
  const SamplerConfig config = read(lcm);
  EXPECT_EQ(config.sampler, "lcm");
  EXPECT_TRUE(config.flow());
  EXPECT_EQ(config.flow_shift, 5.0);
  lcm["scale_factors"] = {0.5, 1.0};
  expect_error(lcm, {"scheduler_config.json", "scale_factors", "not supported"});
}

TEST(Registry, ExplicitTimestepsAreKeptAsTheyAre) {
  SamplerConfig config = read(wan());
  const SamplingPlan plan{.timesteps = {1000, 757, 522}};
  const auto refusal = [&] { return error_of([&] { make_sampler(config, plan); }); };
  EXPECT_NE(refusal().find("sampler unipc takes no explicit timesteps: use one of euler, heun, lcm"), std::string::npos)
      << refusal();
  for (const char* name : {"euler", "lcm"}) {
    config.sampler = name;
    const Schedule schedule = make_sampler(config, plan)->schedule();
    EXPECT_EQ(schedule.timesteps, (std::vector<double>{1000, 757, 522})) << name;
    ASSERT_EQ(schedule.sigmas.size(), 4u);
    EXPECT_NEAR(schedule.sigmas[1], 0.757, 1e-7);  // whatever the shift
    EXPECT_EQ(schedule.sigmas[3], 0);
  }
  config.sigma_curve = SigmaCurve::kKarras;
  EXPECT_NE(refusal().find("explicit timesteps and the karras scheduler exclude each other"), std::string::npos);
  config.sigma_curve = SigmaCurve::kPlain;
  EXPECT_NE(error_of([&] { make_sampler(config, {.sigmas = {1}, .timesteps = {1000}}); }).find("exclude each other"),
            std::string::npos);
  SamplerConfig diffusion;
  diffusion.prediction = Prediction::kEpsilon;
  EXPECT_EQ(error_of([&] { make_sampler(diffusion, plan); }), "explicit timesteps are for flow-matching models");
}

TEST(Registry, FindsNamesAliasesAndClasses) {
  for (const auto& info : samplers()) {
    EXPECT_EQ(find_sampler(info.name).name, info.name);
    EXPECT_TRUE(info.models.flow || info.models.diffusion) << info.name;
    EXPECT_FALSE(info.advice.empty()) << info.name;
  }
  EXPECT_EQ(find_sampler("flow_euler").name, "euler");
  EXPECT_EQ(find_sampler("DPM++ 2M").name, "dpmpp_2m");
  EXPECT_EQ(find_sampler("dpm++2m-sde").name, "dpmpp_2m_sde");
  EXPECT_EQ(find_sampler("Euler-A").name, "euler_a");
  EXPECT_EQ(find_sampler("UniPCMultistepScheduler").name, "unipc");
}

TEST(Registry, NoTwoSamplersShareAName) {
  std::set<std::string> seen;
  for (const auto& info : samplers()) {
    EXPECT_TRUE(seen.insert(info.name).second) << info.name;
    for (const auto& alias : info.aliases) EXPECT_TRUE(seen.insert(alias).second) << alias;
  }
}

TEST(Registry, SuggestsTheNearestName) {
  EXPECT_NE(error_of([] { find_sampler("unipcc"); }).find("did you mean unipc"), std::string::npos);
  EXPECT_NE(error_of([] { find_sampler("zzzzzz"); }).find("one of: euler, unipc"), std::string::npos);
}

TEST(Registry, NamesTheSamplersThatFitTheModel) {
  SamplerConfig config = read(wan());
  select_sampler(config, "heun");
  EXPECT_EQ(config.sampler, "heun");
  EXPECT_EQ(config.flow_shift, 3.0);
  const std::string message = error_of([&] { select_sampler(config, "ddim"); });
  EXPECT_NE(message.find("flow-matching model: use one of euler, unipc, dpmpp_2m, heun, dpmpp_2m_sde, sa_solver"),
            std::string::npos)
      << message;
  EXPECT_EQ(config.sampler, "heun");
  config.sampler = "euler_a";
  EXPECT_THROW(make_sampler(config, {}), Error);
}

TEST(Registry, ACurveThatASamplerWouldNotHonorIsAnError) {
  SamplerConfig config = read(wan());
  config.sigma_curve = SigmaCurve::kKarras;
  for (const char* name : {"unipc", "dpmpp_2m", "dpmpp_2m_sde", "sa_solver"}) {
    config.sampler = name;
    const std::string message = error_of([&] { make_sampler(config, {.steps = 4}); });
    EXPECT_NE(message.find("has no karras noise levels for flow-matching models: use --scheduler plain, or one of the "
                           "samplers euler, heun"),
              std::string::npos)
        << message;
  }
  for (const char* name : {"euler", "heun"}) {
    config.sampler = name;
    EXPECT_NO_THROW(make_sampler(config, {.steps = 4})) << name;
  }
  SamplingPlan explicit_levels;
  explicit_levels.sigmas = {1.0, 0.5};
  EXPECT_THROW(make_sampler(config, explicit_levels), Error);
  SamplerConfig diffusion = read({{"_class_name", "DDIMScheduler"}});
  diffusion.sigma_curve = SigmaCurve::kExponential;
  EXPECT_THROW(make_sampler(diffusion, {.steps = 4}), Error);
}

TEST(Registry, FindsCurvesOfNoiseLevels) {
  EXPECT_EQ(find_sigma_curve("Karras"), SigmaCurve::kKarras);
  EXPECT_EQ(find_sigma_curve("discrete"), SigmaCurve::kPlain);
  EXPECT_EQ(sigma_curve_name(find_sigma_curve("exponential")), "exponential");
  EXPECT_NE(error_of([] { find_sigma_curve("karas"); }).find("did you mean karras"), std::string::npos);
  EXPECT_NE(error_of([] { find_sigma_curve("UniPCMultistepScheduler"); }).find("use --sampler unipc"),
            std::string::npos);
}

TEST(Registry, ExplicitSigmasAreForFlows) {
  SamplerConfig config = read({{"_class_name", "DDIMScheduler"}});
  SamplingPlan plan;
  plan.sigmas = {1.0, 0.5};
  EXPECT_THROW(make_sampler(config, plan), Error);
}

}  // namespace
}  // namespace tessera
