#include <ATen/ATen.h>

#include "samplers/solvers.h"

namespace tessera {
namespace {

class Euler final : public Sampler {
 public:
  Euler(const SamplerConfig& config, Schedule schedule) : Sampler(std::move(schedule)), config_(config) {}

  at::Tensor scale_input(const at::Tensor& sample, int64_t i) const override {
    return config_.flow() ? sample : to_network_space(sample, schedule_.sigmas[static_cast<size_t>(i)]);
  }

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const double sigma = schedule_.sigmas[static_cast<size_t>(i)], next = schedule_.sigmas[static_cast<size_t>(i) + 1];
    return sample + (next - sigma) * (config_.flow() ? output : sigma_space_slope(config_, output, sample, sigma));
  }

 private:
  SamplerConfig config_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<Euler>(config,
                                 config.flow() ? flow_schedule(config, plan) : sigma_space_schedule(config, plan));
}

}  // namespace tessera
