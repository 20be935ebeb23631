#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "samplers/solvers.h"

namespace tessera {
namespace {

Schedule sa_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  constexpr double kBelowOne = 1e-6;  // keeps the first log signal-to-noise ratio finite
  Schedule schedule = multistep_schedule(config, plan);
  if (!config.flow()) return schedule;
  schedule.sigmas[0] = std::min(schedule.sigmas[0], to_float32(1 - kBelowOne));
  if (config.final_sigma_min) schedule.sigmas.back() = schedule.sigmas[schedule.sigmas.size() - 2];
  return schedule;
}

class SaSolver final : public Sampler {
 public:
  SaSolver(const SamplerConfig& config, Schedule schedule) : Sampler(std::move(schedule)), config_(config) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    if (i == 0) data_.clear();
    data_.push_front(predicted_data(config_.prediction, output, sample, level(i)));
    start_ = i > 0 ? solve(start_, i - 1, corrector_order(i), /*reached=*/true) : sample;
    if (static_cast<int64_t>(data_.size()) > std::max(config_.predictor_order, config_.corrector_order))
      data_.pop_back();
    noise_ = draw_noise(sample);
    if (schedule_.sigmas[static_cast<size_t>(i) + 1] == 0) return data_[0];
    return solve(start_, i, predictor_order(i), /*reached=*/false);
  }

 private:
  NoiseLevel level(int64_t i) const { return noise_level(config_, schedule_.sigmas[static_cast<size_t>(i)]); }

  /// As many points as were visited, and fewer in the last steps.
  int64_t predictor_order(int64_t i) const {
    const int64_t order = std::min(config_.predictor_order, i + 1);
    return config_.lower_order_final ? std::min(order, calls() - i) : order;
  }
  int64_t corrector_order(int64_t i) const {
    const int64_t order = std::min(config_.corrector_order, i + 1);
    return config_.lower_order_final ? std::min(order, calls() - i + 2) : order;
  }

  double tau(int64_t i) const {
    constexpr double kFirst = 200, kLast = 800;
    const double t = schedule_.timesteps[static_cast<size_t>(i)];
    return t >= kFirst && t <= kLast ? config_.tau : 0.0;
  }

  /// The sample at level i + 1 from x at level i: the data are a polynomial through `order` points, of which the newest
  /// lies at level i + 1 when that was `reached`, else at level i. data_ begins with the newest point.
  at::Tensor solve(const at::Tensor& x, int64_t i, int64_t order, bool reached) const {
    const NoiseLevel here = level(i), next = level(i + 1);
    const double end = next.lambda(), h = end - here.lambda();
    const double square = tau(i) * tau(i), rate = 1 + square, decay = std::exp(-rate * h);
    const int64_t newest = reached ? i + 1 : i;
    std::vector<double> points, moments;  // of exp(rate y) y^k for y from -h to 0
    for (int64_t k = 0; k < order; ++k) {
      points.push_back(level(newest - k).lambda() - end);
      const double power = static_cast<double>(k);
      moments.push_back(k == 0 ? (1 - decay) / rate : (-std::pow(-h, power) * decay - power * moments.back()) / rate);
    }
    std::vector<double> weights = solve_powers(points, moments);
    if (order == 2) {
      const double change = h * h / 2 - (rate * h - 1 + decay) / (rate * rate);  // of third order in h
      const double few_steps = change / (reached ? h : here.lambda() - level(i - 1).lambda());
      weights[0] += few_steps;
      weights[1] -= few_steps;
    }
    at::Tensor out = (std::exp(-square * h) * next.sigma / here.sigma) * x +
                     (next.sigma * std::sqrt(1 - std::exp(-2 * square * h))) * noise_;
    for (int64_t k = 0; k < order; ++k)
      out = out + (rate * next.alpha * weights[static_cast<size_t>(k)]) * data_[static_cast<size_t>(k)];
    return out;
  }

  SamplerConfig config_;
  std::deque<at::Tensor> data_;  // predicted data, newest first
  at::Tensor start_, noise_;     // the corrected sample that the last prediction started from, and its noise
};

}  // namespace

std::unique_ptr<Sampler> make_sa_solver(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<SaSolver>(config, sa_schedule(config, plan));
}

}  // namespace tessera
