#include <functional>
#include <set>

#include "samplers/guidance.h"
#include "samplers/registry.h"
#include "tests/support/fixture.h"
#include "tests/support/guided_model.h"
#include "tests/support/sampling.h"

namespace tessera {
namespace {

/// The fixture's analytic network.
at::Tensor analytic(const at::Tensor& x, double t) {
  return 0.3 * x + 0.2 * x.sin() + 0.1 * std::sin(t / 1000);
}

struct Case {
  explicit Case(const nlohmann::json& entry) : name(entry.at("name")), config(settings(entry)) {
    plan.steps = entry.at("steps").get<int64_t>();
    if (entry.contains("mu")) plan.mu = entry.at("mu").get<double>();
    if (entry.contains("eta")) config.eta = entry.at("eta").get<double>();
    if (entry.contains("sigmas")) plan.sigmas = entry.at("sigmas").get<std::vector<double>>();
  }
  static SamplerConfig settings(const nlohmann::json& entry) {
    nlohmann::json json = entry.at("full_config");
    json["_class_name"] = entry.at("cls");
    return read_scheduler_config({json, entry.at("name")});
  }

  std::string name;
  SamplerConfig config;
  SamplingPlan plan;
};

/// Every case of the reference's fixture, and of more settings made by tests/data/make_schedulers_extra.py.
void each_case(const std::function<void(const test::Fixture&, const Case&)>& check) {
  const auto more = std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "schedulers_extra";
  for (const std::string& folder : {std::string("schedulers"), more.string()}) {
    const test::Fixture fixture(folder);
    for (const auto& entry : fixture.config.at("runs")) {
      SCOPED_TRACE(entry.at("name").get<std::string>());
      check(fixture, Case(entry));
    }
  }
}

at::Tensor doubles(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble);
}

/// Timesteps found by interpolating logarithms hang on the last bit of log(); all others must be equal.
bool interpolated_timesteps(const Case& run) {
  return run.config.sigma_curve != SigmaCurve::kPlain && !run.config.flow() &&
         (run.config.sampler == "euler" || run.config.sampler == "heun");
}

TEST(SchedulersParity, TimestepsAndSigmas) {
  each_case([](const test::Fixture& fixture, const Case& run) {
    const Schedule schedule = make_sampler(run.config, run.plan)->schedule();
    const at::Tensor expected = fixture[run.name + ".timesteps"], timesteps = doubles(schedule.timesteps);
    ASSERT_EQ(timesteps.sizes(), expected.sizes());
    constexpr double kTwoUlps = 2.4e-7;
    // Where the reference's log() of a level is an ulp (2.4e-7) off, as numpy's and MKL's are on one CPU or another, a
    // small timestep moves by that over the distance of neighboring logarithms, about 0.07 there.
    constexpr double kUlpOfLog = 2.4e-7 / 0.06;
    const at::Tensor allowed = interpolated_timesteps(run) ? kTwoUlps * expected.abs() + kUlpOfLog : 0 * expected.abs();
    EXPECT_TRUE(((timesteps - expected).abs() <= allowed).all().item<bool>()) << timesteps - expected;
    if (fixture.io.find(run.name + ".sigmas"))
      EXPECT_CLOSE(doubles(schedule.sigmas), fixture[run.name + ".sigmas"], 1e-6);
    EXPECT_CLOSE(doubles({schedule.init_noise_sigma}), fixture[run.name + ".init_noise_sigma"].view({1}), 1e-6);
  });
}

TEST(SchedulersParity, NoiseTheModelsWereTrainedWith) {
  each_case([](const test::Fixture& fixture, const Case& run) {
    const at::Tensor* expected = fixture.io.find(run.name + ".alphas_cumprod_every50");
    if (!expected) return;
    const bool avoid_zero = run.config.sampler != "ddim" && run.config.sampler != "ddpm";
    const at::Tensor alphas = doubles(alphas_cumprod(run.config, avoid_zero));
    EXPECT_CLOSE(alphas.slice(0, 0, alphas.size(0), 50), *expected, 1e-6);
  });
}

TEST(SchedulersParity, TrajectoriesOnTheAnalyticModel) {
  each_case([](const test::Fixture& fixture, const Case& run) {
    const auto sampler = make_sampler(run.config, run.plan);
    int64_t draws = 0;
    sampler->set_noise([&](at::IntArrayRef) { return fixture[run.name + ".noise"][draws++]; });
    const at::Tensor expected = fixture[run.name + ".samples"];
    ASSERT_EQ(expected.size(0), sampler->calls() + 1);
    const auto network = [&](const at::Tensor& x, double t, int64_t, int64_t) {
      const at::Tensor output = analytic(x, t);
      return run.config.variance == Variance::kLearnedRange ? at::cat({output, x.sin()}, 1) : output;
    };
    EXPECT_CLOSE(fixture["x0"] * sampler->schedule().init_noise_sigma, expected[0], 1e-6);
    test::run_sampler(*sampler, fixture["x0"], network, [&](int64_t done, int64_t, const at::Tensor& sample) {
      // From zero terminal SNR a sample starts at 4096 times unit noise, and an ulp of that stays in samples of a few
      // tens: the reference itself is no more exact.
      const double rounding = 1.2e-7 * expected[0].abs().max().item<double>();
      EXPECT_CLOSE(sample, expected[done], std::max(1e-5, rounding / expected[done].abs().max().item<double>()));
    });
    const at::Tensor* noise = fixture.io.find(run.name + ".noise");
    EXPECT_EQ(draws, noise ? noise->size(0) : 0);
  });
}

/// Guided predictions of two branches against diffusers' guiders (scale 4.5).
TEST(SchedulersParity, Guidance) {
  const test::Fixture fixture((std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "schedulers_extra").string());
  const at::Tensor cond = fixture["guidance.cond"], uncond = fixture["guidance.uncond"];
  const auto guided = [&](GuidanceConfig config, int64_t call) {
    config.scale = 4.5;
    const auto echo = [](const at::Tensor&, const at::Tensor&, const at::Tensor& condition) { return condition; };
    return test::GuidedModel(config, echo, cond, uncond)(at::zeros_like(cond), 500, call, 10);
  };
  EXPECT_CLOSE(guided({.rescale = 0.7}, 0), fixture["guidance.rescaled"], 1e-6);
  EXPECT_CLOSE(guided({.kind = GuidanceKind::kZeroStar}, 1), fixture["guidance.zero_star"], 1e-6);
  GuidanceConfig projected{
      .kind = GuidanceKind::kProjected, .scale = 4.5, .projected_parallel = 0.3, .projected_norm = 2.0};
  EXPECT_CLOSE(guided(projected, 0), fixture["guidance.projected"][0], 1e-6);
  projected.projected_momentum = -0.5;
  at::Tensor branch = cond;
  test::GuidedModel model(
      projected,
      [&](const at::Tensor&, const at::Tensor&, const at::Tensor&) {
        return at::cat({branch, uncond});
      },
      cond, uncond);
  EXPECT_CLOSE(model(at::zeros_like(cond), 500, 0, 10), fixture["guidance.projected"][1], 1e-6);
  branch = 0.5 * cond;
  EXPECT_CLOSE(model(at::zeros_like(cond), 500, 1, 10), fixture["guidance.projected"][2], 1e-6);
}

/// The cases that the project keeps: a sampler whose case vanished is not tested any more.
TEST(SchedulersParity, EveryCaseIsThere) {
  const auto config = read_json_object(std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "schedulers/config.json");
  std::set<std::string> names;
  for (const auto& entry : config.at("runs")) names.insert(entry.at("name").get<std::string>());
  const std::set<std::string> expected = {"ddim_eps",
                                          "ddim_v",
                                          "ddim_trailing_zsnr_v",
                                          "ddpm_fixed_small",
                                          "ddpm_clip_large",
                                          "euler_discrete",
                                          "euler_discrete_v_leading",
                                          "euler_karras",
                                          "heun_discrete",
                                          "heun_karras",
                                          "dpmpp_2m",
                                          "dpmpp_2m_karras",
                                          "dpmpp_2m_v",
                                          "dpmpp_2m_heun_type",
                                          "dpmpp_flow",
                                          "unipc_eps",
                                          "unipc_flow_shift3",
                                          "unipc_flow_shift5_many",
                                          "unipc_eps_bh1",
                                          "unipc_eps_order3",
                                          "flow_euler_shift1",
                                          "flow_euler_shift3",
                                          "flow_euler_dynamic",
                                          "flow_euler_dynamic_linear",
                                          "flow_euler_custom_sigmas",
                                          "flow_heun_shift1",
                                          "flow_heun_shift3"};
  EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace tessera
