#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "samplers/solvers.h"

namespace tessera {
namespace {

class Ddpm final : public Sampler {
 public:
  Ddpm(const SamplerConfig& config, Schedule schedule)
      : Sampler(std::move(schedule)), config_(config), alphas_(alphas_cumprod(config, /*avoid_zero=*/false)) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    const double alpha = alpha_at(i), next = i + 1 < calls() ? alpha_at(i + 1) : 1.0;
    const double step_alpha = alpha / next, step_beta = 1 - step_alpha;
    at::Tensor mean_output = output, spread_output;
    if (learned()) {
      TORCH_CHECK(output.dim() == sample.dim() && output.size(1) == 2 * sample.size(1),
                  "Ddpm: a learned variance needs outputs of ", 2 * sample.size(1), " channels, got ", output.sizes());
      mean_output = output.narrow(1, 0, sample.size(1));
      spread_output = output.narrow(1, sample.size(1), sample.size(1));
    }
    at::Tensor data = predicted_data(config_.prediction, mean_output, sample, {std::sqrt(alpha), std::sqrt(1 - alpha)});
    if (config_.clip_sample) data = data.clamp(-config_.clip_range, config_.clip_range);
    const double of_data = std::sqrt(next) * step_beta / (1 - alpha);
    const double of_sample = std::sqrt(step_alpha) * (1 - next) / (1 - alpha);
    const at::Tensor mean = of_data * data + of_sample * sample;
    if (schedule_.timesteps[static_cast<size_t>(i)] == 0) return mean;
    constexpr double kSmallest = 1e-20;  // the posterior variance is 0 next to the data
    const double small = std::max((1 - next) / (1 - alpha) * step_beta, kSmallest);
    return mean + deviation(sample, small, step_beta, spread_output) * draw_noise(sample);
  }

 private:
  double alpha_at(int64_t i) const { return alphas_[static_cast<size_t>(schedule_.timesteps[static_cast<size_t>(i)])]; }

  bool learned() const { return config_.variance == Variance::kLearned || config_.variance == Variance::kLearnedRange; }

  /// Standard deviation of the added noise, a tensor without axes or one like the sample.
  at::Tensor deviation(const at::Tensor& sample, double small, double large, const at::Tensor& output) const {
    switch (config_.variance) {
      case Variance::kFixedSmall:
        return at::full({}, std::sqrt(small), sample.options());
      case Variance::kFixedLarge:
        return at::full({}, std::sqrt(large), sample.options());
      case Variance::kLearned:
        return output.sqrt();
      case Variance::kLearnedRange: {  // -1 means the small variance, 1 the large one, geometrically in between
        const at::Tensor fraction = (output + 1) / 2;
        return (0.5 * (fraction * std::log(large) + (1 - fraction) * std::log(small))).exp();
      }
    }
    TORCH_CHECK(false, "Ddpm: unknown variance");
  }

  SamplerConfig config_;
  std::vector<double> alphas_;
};

}  // namespace

std::unique_ptr<Sampler> make_ddpm(const SamplerConfig& config, const SamplingPlan& plan) {
  Schedule schedule;
  for (const double t : spaced_timesteps(config, plan.steps, /*skip_last=*/false))
    schedule.timesteps.push_back(std::nearbyint(t));
  return std::make_unique<Ddpm>(config, std::move(schedule));
}

}  // namespace tessera
