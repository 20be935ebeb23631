#include <ATen/ATen.h>

#include "samplers/solvers.h"

namespace tessera {
namespace {

class Lcm final : public Sampler {
 public:
  Lcm(const SamplerConfig& config, Schedule schedule) : Sampler(std::move(schedule)), config_(config) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const double sigma = schedule_.sigmas[static_cast<size_t>(i)], next = schedule_.sigmas[static_cast<size_t>(i) + 1];
    const at::Tensor data = predicted_data(config_.prediction, output, sample, noise_level(config_, sigma));
    if (next == 0) return data;  // the reference draws noise here too, and multiplies it by 0
    return (1 - next) * data + next * draw_noise(sample);
  }

 private:
  SamplerConfig config_;
};

}  // namespace

std::unique_ptr<Sampler> make_lcm(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<Lcm>(config, flow_schedule(config, plan));
}

}  // namespace tessera
