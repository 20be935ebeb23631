#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "samplers/solvers.h"

namespace tessera {
namespace {

class Ddim final : public Sampler {
 public:
  Ddim(const SamplerConfig& config, Schedule schedule, int64_t stride)
      : Sampler(std::move(schedule)),
        config_(config),
        alphas_(alphas_cumprod(config, /*avoid_zero=*/false)),
        stride_(stride) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const double alpha = alphas_[static_cast<size_t>(timestep(i))], next = next_alpha(i);
    const NoiseLevel level{std::sqrt(alpha), std::sqrt(1 - alpha)};
    at::Tensor data = predicted_data(config_.prediction, output, sample, level);
    const at::Tensor noise = predicted_noise(output, sample, level);
    if (config_.clip_sample) data = data.clamp(-config_.clip_range, config_.clip_range);
    const double fresh = config_.eta * std::sqrt((1 - next) / (1 - alpha) * (1 - alpha / next));
    const double kept = std::max(1 - next - fresh * fresh, 0.0);  // zero may round to less, from alpha 0 with eta 1
    const at::Tensor out = std::sqrt(next) * data + std::sqrt(kept) * noise;
    return config_.eta > 0 ? out + fresh * draw_noise(sample) : out;
  }

 private:
  int64_t timestep(int64_t i) const { return static_cast<int64_t>(schedule_.timesteps[static_cast<size_t>(i)]); }

  /// alpha-bar where step i ends.
  double next_alpha(int64_t i) const {
    const bool respaced = config_.spacing == Spacing::kRespaced || config_.spacing == Spacing::kStride;
    int64_t to = timestep(i) - stride_;
    if (respaced) to = i + 1 < calls() ? timestep(i + 1) : -1;
    if (to >= 0) return alphas_[static_cast<size_t>(to)];
    return config_.set_alpha_to_one ? 1.0 : alphas_[0];
  }

  /// The noise in the sample by the output itself: the data are not clamped first.
  at::Tensor predicted_noise(const at::Tensor& output, const at::Tensor& sample, const NoiseLevel& level) const {
    if (config_.prediction == Prediction::kEpsilon) return output;
    if (config_.prediction == Prediction::kV) return level.alpha * output + level.sigma * sample;
    return (sample - level.alpha * output) / level.sigma;
  }

  SamplerConfig config_;
  std::vector<double> alphas_;
  int64_t stride_;  // timesteps from one call to the next in diffusers, whatever the spacing
};

}  // namespace

std::unique_ptr<Sampler> make_ddim(const SamplerConfig& config, const SamplingPlan& plan) {
  Schedule schedule;
  for (const double t : spaced_timesteps(config, plan.steps, /*skip_last=*/false))
    schedule.timesteps.push_back(std::nearbyint(t));
  return std::make_unique<Ddim>(config, std::move(schedule), config.train_steps / plan.steps);
}

}  // namespace tessera
