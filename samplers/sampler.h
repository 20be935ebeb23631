#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "samplers/config.h"
#include "samplers/schedule.h"

namespace tessera {

/// Standard normal noise of the given shape, for solvers that add some at every step.
using DrawNoise = std::function<at::Tensor(at::IntArrayRef shape)>;

/// One trajectory from noise to data, a step at a time. It knows no model: the caller evaluates the network on
/// scale_input(sample, i) at schedule().timesteps[i] and hands the output to step(). Samples are float32 of any shape
/// on any device, the first of them unit noise times schedule().init_noise_sigma; outputs may have any floating dtype.
/// Multistep solvers remember earlier outputs, so i must run 0, 1, ... in order; i = 0 starts anew.
class Sampler {
 public:
  explicit Sampler(Schedule schedule);
  virtual ~Sampler() = default;
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  const Schedule& schedule() const { return schedule_; }
  /// Calls of the network in one trajectory.
  int64_t calls() const { return static_cast<int64_t>(schedule_.timesteps.size()); }

  /// The network's input for the sample before call i.
  virtual at::Tensor scale_input(const at::Tensor& sample, int64_t i) const;
  /// The sample after call i, float32. Throws c10::Error when noise is needed and no source was set.
  at::Tensor step(const at::Tensor& model_output, const at::Tensor& sample, int64_t i);

  /// The source of noise for solvers that draw some, called in the order of the steps.
  void set_noise(DrawNoise draw) { draw_ = std::move(draw); }

 protected:
  /// step() with both tensors in float32 and 0 <= i < calls().
  virtual at::Tensor advance(const at::Tensor& output, const at::Tensor& sample, int64_t i) = 0;
  /// Noise like `sample` from the source.
  at::Tensor draw_noise(const at::Tensor& sample) const;

  Schedule schedule_;

 private:
  DrawNoise draw_;
};

/// A sample is alpha data + sigma noise.
struct NoiseLevel {
  double alpha, sigma;
  /// Half the log signal-to-noise ratio, the variable that exponential integrators step in; infinite without noise.
  double lambda() const;
};

/// The level of an entry of Schedule::sigmas: sigma itself and alpha = 1 - sigma for flows; for diffusion sigma is
/// noise over signal, and alpha^2 + sigma^2 = 1.
NoiseLevel noise_level(const SamplerConfig& config, double sigma);

/// The data that the output stands for, given the sample at `level`.
at::Tensor predicted_data(Prediction prediction, const at::Tensor& output, const at::Tensor& sample,
                          const NoiseLevel& level);

/// The schedule of diffusers' Euler class, for ODE solvers in noise-over-signal coordinates (Euler, Heun, ancestral).
Schedule sigma_space_schedule(const SamplerConfig& config, const SamplingPlan& plan);
/// x / sqrt(sigma^2 + 1): a sigma-space sample as the network was trained to see it.
at::Tensor to_network_space(const at::Tensor& sample, double sigma);
/// dx/dsigma = (x - data) / sigma for a sigma-space sample; the data are clamped where config.clip_sample is set.
at::Tensor sigma_space_slope(const SamplerConfig& config, const at::Tensor& output, const at::Tensor& sample,
                             double sigma);

/// The schedule of flow-matching Euler (and, with doubled entries, Heun): times from 1 to an already shifted smallest
/// time, then shifted again, as FlowMatchEulerDiscreteScheduler has it; or the plan's own sigmas, shifted once, or its
/// timesteps, whose levels are timestep / train_steps without a shift.
Schedule flow_schedule(const SamplerConfig& config, const SamplingPlan& plan);

/// The schedule of DPM-Solver++ and SA-Solver as diffusers has it: for flows 1 minus the times from 1 down to
/// 1 / train_steps, which is not the grid of UniPC.
Schedule multistep_schedule(const SamplerConfig& config, const SamplingPlan& plan);

/// The weights for which sum_k points[k]^row weights[k] = targets[row] (Gaussian elimination with row exchange).
std::vector<double> solve_powers(const std::vector<double>& points, std::vector<double> targets);

}  // namespace tessera
