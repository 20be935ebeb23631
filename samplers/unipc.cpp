#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "samplers/solvers.h"

namespace tessera {
namespace {

Schedule unipc_flow_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  constexpr double kBelowOne = 1e-6;  // keeps the first log signal-to-noise ratio finite
  const double train = static_cast<double>(config.train_steps);
  std::vector<double> times = plan.sigmas;
  if (times.empty()) {
    times = evenly_spaced(1, 1 / train, plan.steps + 1);
    times.pop_back();
  }
  Schedule schedule;
  schedule.sigmas = shift_flow_times(config, plan, times, /*single=*/false);
  if (std::abs(schedule.sigmas[0] - 1) < kBelowOne) schedule.sigmas[0] -= kBelowOne;
  for (const double sigma : schedule.sigmas) schedule.timesteps.push_back(std::trunc(sigma * train));
  return schedule;
}

Schedule unipc_schedule(const SamplerConfig& config, const SamplingPlan& plan) {
  const std::vector<double> table = training_sigmas(config);
  Schedule schedule;
  double last = table.front();
  if (config.flow()) {
    schedule = unipc_flow_schedule(config, plan);
    last = schedule.sigmas.back();
  } else if (config.sigma_curve != SigmaCurve::kPlain) {
    schedule.sigmas = curved_sigmas(config, table.back(), table.front(), plan.steps);
    last = schedule.sigmas.back();
    const bool round = config.sigma_curve == SigmaCurve::kKarras;
    const TimestepOfSigma timestep_of(table);
    for (const double sigma : schedule.sigmas)
      schedule.timesteps.push_back(round ? std::nearbyint(timestep_of(sigma)) : std::trunc(timestep_of(sigma)));
  } else {
    for (const double t : spaced_timesteps(config, plan.steps, /*skip_last=*/true)) {
      schedule.timesteps.push_back(std::nearbyint(t));
      schedule.sigmas.push_back(interpolate(table, schedule.timesteps.back()));
    }
  }
  schedule.sigmas.push_back(config.final_sigma_min ? last : 0.0);
  for (double& sigma : schedule.sigmas) sigma = to_float32(sigma);
  return schedule;
}

class UniPc final : public Sampler {
 public:
  UniPc(const SamplerConfig& config, Schedule schedule) : Sampler(std::move(schedule)), config_(config) {}

 protected:
  at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) override {
    if (i == 0) data_.clear();
    const at::Tensor data = predicted_data(config_.prediction, output, sample, level(i));
    const auto& never = config_.disable_corrector;
    const bool correct = i > 0 && std::find(never.begin(), never.end(), i - 1) == never.end();
    start_ = correct ? solve(start_, data, i - 1, order_) : sample;
    data_.push_front(data);
    if (static_cast<int64_t>(data_.size()) > config_.solver_order) data_.pop_back();
    order_ = std::min(static_cast<int64_t>(data_.size()), config_.solver_order);
    if (config_.lower_order_final) order_ = std::min(order_, calls() - i);
    if (schedule_.sigmas[static_cast<size_t>(i) + 1] == 0) order_ = 1;
    return solve(start_, {}, i, order_);
  }

 private:
  NoiseLevel level(int64_t i) const { return noise_level(config_, schedule_.sigmas[static_cast<size_t>(i)]); }

  /// The sample at level i + 1 from x at level i: predicted when `reached` is undefined, else corrected by the data
  /// predicted there. data_[k] is the data predicted at level i - k.
  at::Tensor solve(const at::Tensor& x, const at::Tensor& reached, int64_t i, int64_t order) const {
    const NoiseLevel here = level(i), next = level(i + 1);
    const double h = next.lambda() - here.lambda(), grown = std::expm1(-h), scale = config_.bh1 ? -h : grown;
    std::vector<double> points, targets;
    for (int64_t k = 1; k < order; ++k) points.push_back((level(i - k).lambda() - here.lambda()) / h);
    if (reached.defined()) points.push_back(1.0);
    double phi = grown / -h - 1, factorial = 1;
    for (size_t k = 0; k < points.size(); ++k) {
      targets.push_back(phi * factorial / scale);
      factorial *= static_cast<double>(k + 2);
      phi = phi / -h - 1 / factorial;
    }
    // One unknown: the paper's 1/2 instead of the solution, equal to leading order.
    const std::vector<double> weights = points.size() == 1 ? std::vector<double>{0.5} : solve_powers(points, targets);
    at::Tensor out = (next.sigma / here.sigma) * x - (next.alpha * grown) * data_[0];
    for (size_t k = 0; k < points.size(); ++k) {
      const bool newest = reached.defined() && k + 1 == points.size();
      const at::Tensor change = (newest ? reached : data_[k + 1]) - data_[0];
      out = out - (next.alpha * scale * weights[k] / points[k]) * change;
    }
    return out;
  }

  SamplerConfig config_;
  std::deque<at::Tensor> data_;  // predicted data, newest first
  at::Tensor start_;             // the corrected sample that the last prediction started from
  int64_t order_ = 1;            // of the last prediction
};

}  // namespace

std::unique_ptr<Sampler> make_unipc(const SamplerConfig& config, const SamplingPlan& plan) {
  return std::make_unique<UniPc>(config, unipc_schedule(config, plan));
}

}  // namespace tessera
