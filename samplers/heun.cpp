#include <ATen/ATen.h>

#include "samplers/solvers.h"

namespace tessera {
namespace {

/// Every inner entry twice: an Euler call and a correcting call share a noise level.
std::vector<double> doubled(const std::vector<double>& values, size_t first, size_t last) {
  std::vector<double> out;
  for (size_t i = 0; i < values.size(); ++i) {
    out.push_back(values[i]);
    if (i >= first && i < last) out.push_back(values[i]);
  }
  return out;
}

class Heun final : public Sampler {
 public:
  Heun(const SamplerConfig& config, Schedule schedule) : Sampler(std::move(schedule)), config_(config) {}

  at::Tensor scale_input(const at::Tensor& sample, int64_t i) const override {
    return config_.flow() ? sample : to_network_space(sample, schedule_.sigmas[static_cast<size_t>(i)]);
  }

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const double sigma = schedule_.sigmas[static_cast<size_t>(i)];
    const at::Tensor slope = config_.flow() ? output : sigma_space_slope(config_, output, sample, sigma);
    if (i % 2 == 1) return start_ + 0.5 * length_ * (slope_ + slope);
    start_ = sample;
    slope_ = slope;
    length_ = schedule_.sigmas[static_cast<size_t>(i) + 1] - sigma;
    return sample + length_ * slope;
  }

 private:
  SamplerConfig config_;
  at::Tensor start_, slope_;  // of the step that call i + 1 corrects
  double length_ = 0;
};

}  // namespace

std::unique_ptr<Sampler> make_heun(const SamplerConfig& config, const SamplingPlan& plan) {
  Schedule schedule = config.flow() ? flow_schedule(config, plan) : sigma_space_schedule(config, plan);
  const size_t steps = schedule.timesteps.size();
  schedule.timesteps = doubled(schedule.timesteps, 1, steps);
  schedule.sigmas = doubled(schedule.sigmas, 1, steps);
  return std::make_unique<Heun>(config, std::move(schedule));
}

}  // namespace tessera
