#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/json_config.h"

namespace tessera {

/// What the network's output means: the noise, the data, v = alpha noise - sigma data, or the flow's noise - data.
enum class Prediction { kEpsilon, kSample, kV, kFlow };
enum class BetaCurve { kLinear, kScaledLinear, kCosine };
/// Which training timesteps are visited: Table 2 of arXiv:2305.08891, and the two forms of OpenAI's respacing, which
/// DiT's own code uses ("250" and "ddim250"). With these, a step of ddim goes to the next timestep visited, not one
/// stride down.
enum class Spacing {
  kLinspace,
  kLeading,
  kTrailing,
  kRespaced,  ///< as linspace, by repeated addition: rounding may differ at halves
  kStride     ///< 0, s, 2 s, ... with the smallest whole stride that gives the number of steps
};
/// Noise levels between the largest and the smallest: from the timesteps, by rho = 7 of arXiv:2206.00364, or geometric.
enum class SigmaCurve { kPlain, kKarras, kExponential };
enum class Variance { kFixedSmall, kFixedLarge, kLearned, kLearnedRange };

/// The settings of all solvers; each reads those it has. Defaults and meanings are those of diffusers' schedulers,
/// whose key is given where the name differs.
struct SamplerConfig {
  std::string sampler = "euler";  ///< canonical name, see samplers/registry.h
  Prediction prediction = Prediction::kFlow;
  int64_t train_steps = 1000;  ///< num_train_timesteps

  // Diffusion models: the noise they were trained with.
  BetaCurve beta_curve = BetaCurve::kLinear;  ///< beta_schedule
  double beta_start = 0.0001, beta_end = 0.02;
  std::vector<double> trained_betas;  ///< replaces the curve unless empty
  bool zero_terminal_snr = false;     ///< rescale_betas_zero_snr
  bool exact_tables = false;          ///< noise levels in float64, as DiT's own code has them; diffusers has float32
  Spacing spacing = Spacing::kLinspace;
  std::vector<int64_t> sections;  ///< kRespaced: steps in each of equal parts of the timesteps; empty: one part
  int64_t steps_offset = 0;

  // Flow-matching models: t' = s t / (1 + (s - 1) t).
  double flow_shift = 1.0;         ///< s; `shift` in the FlowMatch classes
  bool dynamic_shift = false;      ///< use_dynamic_shifting: SamplingPlan::mu takes the place of s
  bool linear_time_shift = false;  ///< time_shift_type: s = mu instead of s = exp(mu)
  double base_shift = 0.5, max_shift = 1.15;
  int64_t base_tokens = 256, max_tokens = 4096;  ///< base_image_seq_len, max_image_seq_len
  std::optional<double> shift_terminal;

  SigmaCurve sigma_curve = SigmaCurve::kPlain;
  std::optional<double> sigma_min, sigma_max;  ///< ends of the Karras and exponential curves
  bool final_sigma_min = false;                ///< final_sigmas_type is "sigma_min" instead of "zero"

  // Solvers.
  int64_t solver_order = 2;
  bool heun_type = false;         ///< DPM-Solver++: solver_type is "heun" instead of "midpoint"
  bool bh1 = false;               ///< UniPC: solver_type is "bh1" instead of "bh2"
  bool lower_order_final = true;  ///< fewer past outputs in the last steps
  bool euler_at_final = false;
  std::vector<int64_t> disable_corrector;  ///< UniPC: steps whose result is not corrected
  std::optional<double> lambda_min_clipped;
  bool clip_sample = false;  ///< clamp the predicted data; for pixel models
  double clip_range = 1.0;   ///< clip_sample_range
  Variance variance = Variance::kFixedSmall;
  bool set_alpha_to_one = true;  ///< DDIM: the last step goes to alpha = 1, not to that of timestep 0
  double eta = 0.0;              ///< DDIM: 0 draws no noise, 1 as much as DDPM
  int64_t predictor_order = 2, corrector_order = 2;  ///< SA-Solver
  double tau = 1.0;  ///< SA-Solver: amount of fresh noise while the timestep lies in 200..800; 0 solves the ODE

  bool flow() const { return prediction == Prediction::kFlow; }
};

/// A model's scheduler_config.json: its _class_name selects the sampler and its defaults. Throws Error naming the file
/// and key for a class that is not known (with the nearest), a value of the wrong type or out of range, and settings
/// that no solver here supports (thresholding, beta sigmas, ...), rather than ignoring them.
SamplerConfig read_scheduler_config(const JsonConfig& json);

/// The sampler for a diffusers scheduler class, "" when there is none.
std::string sampler_of_class(const std::string& class_name);

}  // namespace tessera
