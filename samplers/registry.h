#pragma once

#include <memory>
#include <string>
#include <vector>

#include "samplers/sampler.h"

namespace tessera {

/// The kinds of models that something is for.
struct ModelSupport {
  bool flow, diffusion;
  bool has(bool of_flow) const { return of_flow ? flow : diffusion; }
};

/// One sampler: what `tessera samplers` prints about it, and how it is made.
struct SamplerInfo {
  std::string name;                  ///< canonical
  std::vector<std::string> aliases;  ///< names that comparable programs use
  ModelSupport models;               ///< those it serves
  ModelSupport curves;               ///< those for which it takes Karras and exponential noise levels
  bool timesteps;                    ///< takes SamplingPlan::timesteps
  bool stochastic;                   ///< draws noise at every step
  int64_t calls_per_step;            ///< calls of the network
  std::string defaults;              ///< its settings where a scheduler_config.json does not say, "" without any
  std::string advice;                ///< one line
  std::unique_ptr<Sampler> (*make)(const SamplerConfig& config, const SamplingPlan& plan);
};

/// Every sampler, in the order they are listed.
const std::vector<SamplerInfo>& samplers();

/// The entry of a canonical name, an alias or a diffusers class name; case, '-', '_' and ' ' do not matter. Throws
/// Error with the nearest name.
const SamplerInfo& find_sampler(const std::string& name);

/// Canonical names of the samplers for flow-matching models, or for diffusion models.
std::vector<std::string> sampler_names(bool flow);

/// The name of a curve of noise levels: plain, karras or exponential.
std::string sigma_curve_name(SigmaCurve curve);

/// The curve of a name; "discrete" and "simple" are plain ones. Throws Error with the nearest name, or saying that
/// `name` is a sampler.
SigmaCurve find_sigma_curve(const std::string& name);

/// Sets the sampler of a model with this configuration and leaves the rest. Throws Error when the name is not known, or
/// when that sampler does not support the kind of model: then it names those that do.
void select_sampler(SamplerConfig& config, const std::string& name);

/// The solver of config.sampler, ready for call 0. Throws Error when the sampler does not support the kind of model,
/// the plan or the curve of noise levels.
std::unique_ptr<Sampler> make_sampler(const SamplerConfig& config, const SamplingPlan& plan);

}  // namespace tessera
