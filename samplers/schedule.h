#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "samplers/config.h"

namespace tessera {

/// The steps of a trajectory.
struct SamplingPlan {
  int64_t steps = 30;
  std::vector<double> sigmas{};     ///< explicit noise levels of a flow model, largest first; replaces steps
  std::vector<double> timesteps{};  ///< explicit timesteps of a flow model, largest first; replaces steps and the shift
  std::optional<double> mu{};       ///< shift of a model with dynamic_shift, see dynamic_shift_mu
};

/// The numbers of a trajectory, computed once. They match diffusers down to its float32 rounding, because integer
/// timesteps and the size of the first steps depend on it.
struct Schedule {
  std::vector<double> timesteps;  ///< the network's time input, one per call
  std::vector<double> sigmas;     ///< noise levels, float32 values; call i goes from sigmas[i] to sigmas[i + 1]
  double init_noise_sigma = 1.0;  ///< standard deviation of the first sample
};

/// count numbers from first to last, both included; count >= 1 (one number is first).
std::vector<double> evenly_spaced(double first, double last, int64_t count);

/// The nearest float32, as a double.
double to_float32(double value);

/// Cumulative product of 1 - beta for every training timestep, float32 values (float64 with exact_tables). With
/// zero_terminal_snr the curve is moved to end at 0 (arXiv:2305.08891, algorithm 1), or at 2^-24 with `avoid_zero` for
/// solvers that divide by it.
std::vector<double> alphas_cumprod(const SamplerConfig& config, bool avoid_zero);

/// sqrt((1 - a) / a) for every training timestep: noise over signal, rising, float32 values.
std::vector<double> training_sigmas(const SamplerConfig& config);

/// Training timesteps to visit, largest first, `steps` of them; not rounded where the spacing gives fractions. With
/// `skip_last` the grid has one more point, the smallest, which is left out (diffusers' multistep solvers).
/// Throws Error when steps exceeds the training steps.
std::vector<double> spaced_timesteps(const SamplerConfig& config, int64_t steps, bool skip_last);

/// What OpenAI's and DiT's code call timestep_respacing.
struct Respacing {
  Spacing spacing = Spacing::kRespaced;
  std::vector<int64_t> sections{};  ///< see SamplerConfig; empty for one part
  int64_t steps = 0;                ///< of the whole trajectory
};

/// "20" visits so many timesteps at equal distances, "ddim20" as many at a whole stride, "4,3,5" so many in each of
/// equal parts of the training timesteps, from the smallest. Throws Error for any other text.
Respacing parse_respacing(const std::string& text);

/// table at a fractional index, linear between entries, clamped at the ends.
double interpolate(const std::vector<double>& table, double index);

/// `count` noise levels on the Karras or exponential curve from largest to smallest (config.sigma_max and sigma_min
/// where set). Source: arXiv:2206.00364, equation 5.
std::vector<double> curved_sigmas(const SamplerConfig& config, double largest, double smallest, int64_t count);

/// The fractional training timestep whose log noise level is that of `sigma`, by linear interpolation of logarithms.
class TimestepOfSigma {
 public:
  explicit TimestepOfSigma(const std::vector<double>& training_sigmas);
  double operator()(double sigma) const;

 private:
  std::vector<double> log_sigmas_;
};

/// Flow times moved towards noise: s t / (1 + (s - 1) t), or by plan.mu for a model with dynamic_shift; then stretched
/// to end at shift_terminal where set; in float32 arithmetic when `single`. Source: SD3, arXiv:2403.03206. Throws Error
/// when a mu is needed and absent.
std::vector<double> shift_flow_times(const SamplerConfig& config, const SamplingPlan& plan,
                                     const std::vector<double>& times, bool single);

/// The mu of dynamic shift for a picture of `tokens` tokens: linear from base_shift to max_shift.
double dynamic_shift_mu(const SamplerConfig& config, int64_t tokens);

}  // namespace tessera
