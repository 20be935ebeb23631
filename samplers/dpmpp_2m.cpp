#include <ATen/ATen.h>

#include <cmath>

#include "samplers/solvers.h"

namespace tessera {
namespace {

class DpmPlusPlus2M final : public Sampler {
 public:
  DpmPlusPlus2M(const SamplerConfig& config, Schedule schedule, bool stochastic)
      : Sampler(std::move(schedule)), config_(config), stochastic_(stochastic) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const NoiseLevel here = level(i), next = level(i + 1);
    const at::Tensor data = predicted_data(config_.prediction, output, sample, here);
    const double h = next.lambda() - here.lambda();
    // Weights of the sample, the data, the data's change per unit of lambda, and fresh noise.
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
  return std::make_unique<DpmPlusPlus2M>(config, multistep_schedule(config, plan), /*stochastic=*/false);
}

std::unique_ptr<Sampler> make_dpmpp_2m_sde(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<DpmPlusPlus2M>(config, multistep_schedule(config, plan), /*stochastic=*/true);
}

}  // namespace tessera
