#pragma once

#include <memory>

#include "samplers/sampler.h"

namespace tessera {

// One function per file of the same name; see samplers/registry.h for names and families. All throw Error when the plan
// does not suit the configuration.

/// Euler's method, first order: x + (s' - s) slope. For flows the slope is the network's output; for diffusion models
/// (x - data) / sigma in noise-over-signal coordinates, arXiv:2206.00364.
std::unique_ptr<Sampler> make_euler(const SamplerConfig& config, const SamplingPlan& plan);

/// Euler down to a lower noise level, then fresh noise up to the next one; needs a noise source. Diffusion models.
/// Source: k-diffusion's sample_euler_ancestral, as in diffusers.
std::unique_ptr<Sampler> make_euler_ancestral(const SamplerConfig& config, const SamplingPlan& plan);

/// Heun's method, second order, 2 steps - 1 calls: an Euler step, then the mean of both ends' slopes; the last step
/// is Euler's. Both families. Source: arXiv:2206.00364, algorithm 1 without churn.
std::unique_ptr<Sampler> make_heun(const SamplerConfig& config, const SamplingPlan& plan);

/// DPM-Solver++ (2M), second order, one call per step. Both families. Source: arXiv:2211.01095.
std::unique_ptr<Sampler> make_dpmpp_2m(const SamplerConfig& config, const SamplingPlan& plan);

/// Its SDE form: part of the noise is drawn afresh at every step. Both families. Source: arXiv:2211.01095, appendix.
std::unique_ptr<Sampler> make_dpmpp_2m_sde(const SamplerConfig& config, const SamplingPlan& plan);

/// UniPC of order solver_order + 1, one call per step, predicting data. Both families. Source: arXiv:2302.04867.
std::unique_ptr<Sampler> make_unipc(const SamplerConfig& config, const SamplingPlan& plan);

/// SA-Solver predicting data: Adams predictor and corrector in half the log signal-to-noise ratio, with fresh noise
/// (drawn at every step, config.tau of it added in the middle of the trajectory). One call per step. Both families.
/// Source: arXiv:2309.05019, equations 14 and 17, with the few-step correction of diffusers for order 2.
std::unique_ptr<Sampler> make_sa_solver(const SamplerConfig& config, const SamplingPlan& plan);

/// Multistep consistency sampling: the data are predicted in one step, and fresh noise takes them to the next level.
/// For models distilled to few steps. Flow-matching models. Source: arXiv:2303.01469, algorithm 1, on the levels of
/// diffusers' FlowMatchLCMScheduler.
std::unique_ptr<Sampler> make_lcm(const SamplerConfig& config, const SamplingPlan& plan);

/// DDIM with eta (0: none, needs no noise source). Diffusion models. Source: arXiv:2010.02502, equations 12 and 16.
std::unique_ptr<Sampler> make_ddim(const SamplerConfig& config, const SamplingPlan& plan);

/// Ancestral sampling of DDPM on the visited timesteps, the variance fixed or learned (a second half of the output's
/// channels); needs a noise source. Diffusion models. Source: arXiv:2006.11239, equation 7; arXiv:2102.09672,
/// section 3.1.
std::unique_ptr<Sampler> make_ddpm(const SamplerConfig& config, const SamplingPlan& plan);

}  // namespace tessera
