#include "samplers/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/transfer.h"

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
Schedule multistep_flow_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
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

/// Timesteps that the network was distilled for, and the noise levels they stand for.
Schedule schedule_of_timesteps(const std::vector<double>& timesteps, double train) {
  Schedule schedule;
  for (const double timestep : timesteps) {
    schedule.timesteps.push_back(to_float32(timestep));
    schedule.sigmas.push_back(static_cast<double>(static_cast<float>(timestep) / static_cast<float>(train)));
  }
  schedule.sigmas.push_back(0.0);
  return schedule;
}

}  // namespace

Sampler::Sampler(Schedule schedule) : schedule_(std::move(schedule)) {}

at::Tensor Sampler::scale_input(const at::Tensor& sample, int64_t) const {
  return sample;
}

at::Tensor Sampler::step(const at::Tensor& model_output, const at::Tensor& sample, int64_t i) {
  TORCH_CHECK(i >= 0 && i < calls(), "Sampler: call ", i, " of ", calls());
  TORCH_CHECK(sample.scalar_type() == at::kFloat, "Sampler: the sample must be float32, got ", sample.scalar_type());
  return advance(model_output.to(at::kFloat), sample, i);
}

at::Tensor Sampler::draw_noise(const at::Tensor& sample) const {
  TORCH_CHECK(draw_, "Sampler: this solver draws noise at every step; set_noise() was not called");
  const at::Tensor noise = draw_(sample.sizes());
  TORCH_CHECK(noise.sizes() == sample.sizes(), "Sampler: noise is ", noise.sizes(), ", want ", sample.sizes());
  return uploaded(noise.to(sample.scalar_type()), sample.device());
}

double NoiseLevel::lambda() const {
  return sigma == 0 ? std::numeric_limits<double>::infinity() : std::log(alpha) - std::log(sigma);
}

NoiseLevel noise_level(const SamplerConfig& config, double sigma) {
  if (config.flow()) return {1 - sigma, sigma};
  const double alpha = 1 / std::sqrt(sigma * sigma + 1);
  return {alpha, sigma * alpha};
}

at::Tensor predicted_data(Prediction prediction, const at::Tensor& output, const at::Tensor& sample,
                          const NoiseLevel& level) {
  switch (prediction) {
    case Prediction::kEpsilon:
      return (sample - level.sigma * output) / level.alpha;
    case Prediction::kSample:
      return output;
    case Prediction::kV:
      return level.alpha * sample - level.sigma * output;
    case Prediction::kFlow:
      return sample - level.sigma * output;
  }
  TORCH_CHECK(false, "predicted_data: unknown prediction");
}

Schedule sigma_space_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  const std::vector<double> table = training_sigmas(config);
  Schedule schedule;
  for (const double t : spaced_timesteps(config, plan.steps, /*skip_last=*/false)) {
    schedule.timesteps.push_back(to_float32(t));
    schedule.sigmas.push_back(interpolate(table, schedule.timesteps.back()));
  }
  if (config.sigma_curve != SigmaCurve::kPlain) {
    schedule.sigmas = curved_sigmas(config, schedule.sigmas.front(), schedule.sigmas.back(), plan.steps);
    const TimestepOfSigma timestep_of(table);
    for (size_t i = 0; i < schedule.sigmas.size(); ++i)
      schedule.timesteps[i] = to_float32(timestep_of(schedule.sigmas[i]));
  }
  schedule.sigmas.push_back(config.final_sigma_min ? table.front() : 0.0);
  for (double& sigma : schedule.sigmas) sigma = to_float32(sigma);
  const double largest = *std::max_element(schedule.sigmas.begin(), schedule.sigmas.end());
  schedule.init_noise_sigma =
      to_float32(config.spacing == Spacing::kLeading ? std::sqrt(largest * largest + 1) : largest);
  return schedule;
}

at::Tensor to_network_space(const at::Tensor& sample, double sigma) {
  return sample / std::sqrt(sigma * sigma + 1);
}

at::Tensor sigma_space_slope(const SamplerConfig& config, const at::Tensor& output, const at::Tensor& sample,
                             double sigma) {
  at::Tensor data =
      predicted_data(config.prediction, output, to_network_space(sample, sigma), noise_level(config, sigma));
  if (config.clip_sample) data = data.clamp(-config.clip_range, config.clip_range);
  return (sample - data) / sigma;
}

Schedule flow_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  const double train = static_cast<double>(config.train_steps);
  if (!plan.timesteps.empty()) return schedule_of_timesteps(plan.timesteps, train);
  std::vector<double> times = plan.sigmas;
  if (times.empty()) {
    const auto end = [&](double t) {  // the reference's float32 arithmetic
      const float time = static_cast<float>(t) / static_cast<float>(train),
                  shift = static_cast<float>(config.flow_shift);
      if (config.dynamic_shift) return static_cast<double>(time);
      return static_cast<double>(shift * time / (1 + static_cast<float>(config.flow_shift - 1) * time));
    };
    for (const double t : evenly_spaced(end(train) * train, end(1) * train, plan.steps)) times.push_back(t / train);
  }
  times = shift_flow_times(config, plan, times, /*single=*/!plan.sigmas.empty());
  if (config.sigma_curve != SigmaCurve::kPlain)
    times = curved_sigmas(config, times.front(), times.back(), static_cast<int64_t>(times.size()));
  Schedule schedule;
  for (const double time : times) {
    schedule.sigmas.push_back(to_float32(time));
    schedule.timesteps.push_back(to_float32(schedule.sigmas.back() * train));
  }
  schedule.sigmas.push_back(0.0);
  return schedule;
}

Schedule multistep_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  const std::vector<double> table = training_sigmas(config);
  Schedule schedule;
  if (config.flow()) {
    schedule = multistep_flow_schedule(config, plan);
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

std::vector<double> solve_powers(const std::vector<double>& points, std::vector<double> targets) {
  const size_t n = points.size();
  std::vector<std::vector<double>> rows(n, std::vector<double>(n));
  for (size_t row = 0; row < n; ++row)
    for (size_t k = 0; k < n; ++k) rows[row][k] = std::pow(points[k], static_cast<double>(row));
  for (size_t pivot = 0; pivot < n; ++pivot) {
    size_t best = pivot;
    for (size_t row = pivot; row < n; ++row)
      if (std::abs(rows[row][pivot]) > std::abs(rows[best][pivot])) best = row;
    std::swap(rows[pivot], rows[best]);
    std::swap(targets[pivot], targets[best]);
    for (size_t row = 0; row < n; ++row) {
      if (row == pivot) continue;
      const double factor = rows[row][pivot] / rows[pivot][pivot];
      for (size_t k = pivot; k < n; ++k) rows[row][k] -= factor * rows[pivot][k];
      targets[row] -= factor * targets[pivot];
    }
  }
  for (size_t k = 0; k < n; ++k) targets[k] /= rows[k][k];
  return targets;
}

}  // namespace tessera
