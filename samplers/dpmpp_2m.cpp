#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "samplers/solvers.h"

namespace tessera {
namespace {

/// The training timesteps that may be visited: all but those whose log signal-to-noise ratio is below the clip.
int64_t usable_timesteps(const SamplerConfig& config) {
  if (!config.lambda_min_clipped) return config.train_steps;
  const std::vector<double> alphas = alphas_cumprod(config, /*avoid_zero=*/true);
  return config.train_steps - std::count_if(alphas.begin(), alphas.end(), [&](double a) {
           return 0.5 * (std::log(a) - std::log1p(-a)) < *config.lambda_min_clipped;
         });
}

/// 1 minus the times from 1 down to 1 / train_steps, the largest first: not the grid of UniPC.
Schedule dpm_flow_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  SamplerConfig shift = config;
  if (plan.mu && config.dynamic_shift) {
    shift.flow_shift = std::exp(*plan.mu);
    shift.dynamic_shift = false;
  }
  const double train = static_cast<double>(config.train_steps);
  std::vector<double> times = plan.sigmas;
  if (times.empty()) {
    for (const double alpha : evenly_spaced(1, 1 / train, plan.steps + 1)) times.insert(times.begin(), 1.0 - alpha);
    times.pop_back();
  }
  Schedule schedule;
  for (const double time : shift_flow_times(shift, plan, times, /*single=*/false)) {
    schedule.sigmas.push_back(time);
    schedule.timesteps.push_back(std::trunc(time * train));
  }
  return schedule;
}

Schedule dpm_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  const std::vector<double> table = training_sigmas(config);
  Schedule schedule;
  if (config.flow()) {
    schedule = dpm_flow_schedule(config, plan);
  } else if (config.sigma_curve != SigmaCurve::kPlain) {
    schedule.sigmas = curved_sigmas(config, table.back(), table.front(), plan.steps);
    const bool round = config.sigma_curve == SigmaCurve::kKarras && config.beta_curve != BetaCurve::kCosine;
    const TimestepOfSigma timestep_of(table);
    for (const double sigma : schedule.sigmas)
      schedule.timesteps.push_back(round ? std::nearbyint(timestep_of(sigma)) : std::trunc(timestep_of(sigma)));
  } else {
    SamplerConfig usable = config;
    usable.train_steps = usable_timesteps(config);
    for (const double t : spaced_timesteps(usable, plan.steps, /*skip_last=*/true)) {
      schedule.timesteps.push_back(std::nearbyint(t));
      schedule.sigmas.push_back(interpolate(table, schedule.timesteps.back()));
    }
  }
  schedule.sigmas.push_back(config.final_sigma_min ? table.front() : 0.0);
  for (double& sigma : schedule.sigmas) sigma = to_float32(sigma);
  return schedule;
}

class DpmPlusPlus2M final : public Sampler {
 public:
  DpmPlusPlus2M(const SamplerConfig& config, Schedule schedule, bool stochastic)
      : Sampler(std::move(schedule)), config_(config), stochastic_(stochastic) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const NoiseLevel here = level(i), next = level(i + 1);
    const at::Tensor data = predicted_data(config_.prediction, output, sample, here);
    const double h = next.lambda() - here.lambda();
    // Weights of the sample, the data, the data's change a unit of lambda, and fresh noise.
    const double decay = stochastic_ ? std::exp(-2 * h) : std::exp(-h);
    const double keep = next.sigma / here.sigma * (stochastic_ ? std::exp(-h) : 1.0);
    const double gain = next.alpha * (1 - decay);
    at::Tensor out = keep * sample + gain * data;
    if (second_order(i)) {
      const double ratio = (here.lambda() - level(i - 1).lambda()) / h;
      const double reach = stochastic_ ? 2 * h : h;
      const double change = config_.heun_type ? next.alpha * (1 - (1 - decay) / reach) : 0.5 * gain;
      out = out + (change / ratio) * (data - previous_);
    }
    if (stochastic_) out = out + next.sigma * std::sqrt(1 - decay) * draw_noise(sample);
    previous_ = data;
    return out;
  }

 private:
  NoiseLevel level(int64_t i) const { return noise_level(config_, schedule_.sigmas[static_cast<size_t>(i)]); }

  bool second_order(int64_t i) const {
    constexpr int64_t kManySteps = 15;  // from here on a last step of second order is stable
    const bool last = i == calls() - 1, to_data = schedule_.sigmas[static_cast<size_t>(i) + 1] == 0;
    const bool lower = last && (config_.euler_at_final || (config_.lower_order_final && calls() < kManySteps));
    return i > 0 && config_.solver_order > 1 && !to_data && !lower;
  }

  SamplerConfig config_;
  bool stochastic_;
  at::Tensor previous_;  // the data predicted one call ago
};

}  // namespace

std::unique_ptr<Sampler> make_dpmpp_2m(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<DpmPlusPlus2M>(config, dpm_schedule(config, plan), /*stochastic=*/false);
}

std::unique_ptr<Sampler> make_dpmpp_2m_sde(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<DpmPlusPlus2M>(config, dpm_schedule(config, plan), /*stochastic=*/true);
}

}  // namespace tessera
