// LCM for flow matching against diffusers' FlowMatchLCMScheduler, and the presets against the schedules of their
// authors.
#include <set>

#include "samplers/presets.h"
#include "samplers/registry.h"
#include "tests/support/fixture.h"
#include "tests/support/sampling.h"

namespace tessera {
namespace {

constexpr double kTolerance = 1e-5;

/// The fixture's analytic network.
at::Tensor analytic(const at::Tensor& x, double t) {
  return 0.3 * x + 0.2 * x.sin() + 0.1 * std::sin(t / 1000);
}

std::unique_ptr<Sampler> sampler_of_run(const nlohmann::json& run) {
  const auto& plan = run.at("plan");
  SamplingPlan steps;
  if (plan.contains("num_inference_steps")) steps.steps = plan.at("num_inference_steps").get<int64_t>();
  if (plan.contains("sigmas")) steps.sigmas = plan.at("sigmas").get<std::vector<double>>();
  if (plan.contains("timesteps")) steps.timesteps = plan.at("timesteps").get<std::vector<double>>();
  if (plan.contains("mu")) steps.mu = plan.at("mu").get<double>();
  const SamplerConfig config = read_scheduler_config({run.at("config"), run.at("name")});
  EXPECT_EQ(config.sampler, "lcm");
  return make_sampler(config, steps);
}

at::Tensor doubles(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble);
}

TEST(FewStepsParity, Trajectories) {
  const test::Fixture fixture("few_steps");
  ASSERT_FALSE(fixture.config.at("runs").empty());
  for (const auto& run : fixture.config.at("runs")) {
    const auto name = run.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const auto sampler = sampler_of_run(run);
    EXPECT_TRUE(at::equal(doubles(sampler->schedule().timesteps), fixture[name + ".timesteps"]))
        << doubles(sampler->schedule().timesteps) - fixture[name + ".timesteps"];
    EXPECT_CLOSE(doubles(sampler->schedule().sigmas), fixture[name + ".sigmas"], 1e-6);
    int64_t draws = 0;
    sampler->set_noise([&](at::IntArrayRef) { return fixture[name + ".noise"][draws++]; });
    const at::Tensor expected = fixture[name + ".samples"];
    ASSERT_EQ(expected.size(0), sampler->calls() + 1);
    const auto network = [](const at::Tensor& x, double t, int64_t, int64_t) { return analytic(x, t); };
    test::run_sampler(*sampler, fixture["x0"], network, [&](int64_t done, int64_t, const at::Tensor& sample) {
      EXPECT_CLOSE(sample, expected[done], kTolerance);
    });
    EXPECT_EQ(draws, sampler->calls() - 1);  // the reference's last draw is multiplied by 0
  }
}

TEST(FewStepsParity, PresetsAreTheirAuthorsSchedules) {
  const test::Fixture fixture("few_steps");
  const auto& published = fixture.config.at("presets");
  ASSERT_FALSE(published.empty());
  for (const auto& [name, timesteps] : published.items()) {
    SCOPED_TRACE(name);
    const SamplingPreset& preset = find_preset(name);
    SamplerConfig config;
    config.sampler = preset.sampler;
    config.flow_shift = preset.flow_shift.value_or(1.0);
    const Schedule schedule =
        make_sampler(config, {.steps = preset_steps(preset), .sigmas = preset.sigmas, .timesteps = preset.timesteps})
            ->schedule();
    const at::Tensor expected = doubles(timesteps.get<std::vector<double>>());
    EXPECT_CLOSE(doubles(schedule.timesteps), expected, 1e-6);
    EXPECT_CLOSE(doubles(schedule.sigmas).slice(0, 0, -1), expected / 1000, 1e-6);
    EXPECT_EQ(preset.cfg_scale, 1);
  }
}

/// The cases that the project keeps.
TEST(FewStepsParity, EveryCaseIsThere) {
  const auto config = read_json_object(std::filesystem::path(TESSERA_DEFAULT_FIXTURES) / "few_steps/config.json");
  std::set<std::string> names;
  for (const auto& run : config.at("runs")) names.insert(run.at("name").get<std::string>());
  const std::set<std::string> expected = {"four_steps", "eight_steps",          "one_step",         "sigmas",
                                          "timesteps",  "fractional_timesteps", "dynamic",          "terminal",
                                          "karras",     "exponential",          "other_train_steps"};
  EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace tessera
