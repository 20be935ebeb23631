#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "samplers/solvers.h"

namespace tessera {
namespace {

class EulerAncestral final : public Sampler {
 public:
  EulerAncestral(const SamplerConfig& config, Schedule schedule) : Sampler(std::move(schedule)), config_(config) {}

  at::Tensor scale_input(const at::Tensor& sample, int64_t i) const override {
    return to_network_space(sample, schedule_.sigmas[static_cast<size_t>(i)]);
  }

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const double from = schedule_.sigmas[static_cast<size_t>(i)], to = schedule_.sigmas[static_cast<size_t>(i) + 1];
    const double up = std::sqrt(to * to * (from * from - to * to) / (from * from));
    const double down = std::sqrt(std::max(to * to - up * up, 0.0));  // next to nothing may round to less
    const at::Tensor lowered = sample + (down - from) * sigma_space_slope(config_, output, sample, from);
    return lowered + up * draw_noise(sample);
  }

 private:
  SamplerConfig config_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler_ancestral(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<EulerAncestral>(config, sigma_space_schedule(config, plan));
}

}  // namespace tessera
