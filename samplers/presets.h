#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tessera {

/// How a distilled flow-matching model wants to be sampled. Exactly one of steps, sigmas and timesteps is given.
struct SamplingPreset {
  std::string name;                  ///< canonical
  std::vector<std::string> aliases;  ///< other names of the same distillation
  std::string sampler;               ///< canonical name, see samplers/registry.h
  std::optional<int64_t> steps;
  std::vector<double> sigmas;        ///< SamplingPlan::sigmas, before the shift; evenly spaced from 1
  std::vector<double> timesteps;     ///< SamplingPlan::timesteps, not shifted
  std::optional<double> flow_shift;  ///< unset with timesteps
  double cfg_scale = 1;
  std::string advice;  ///< one line
  std::string source;  ///< where its authors publish these numbers
};

/// Every preset, in the order they are listed.
const std::vector<SamplingPreset>& sampling_presets();

/// The preset of a name or an alias; case, '-', '_' and ' ' do not matter. Throws Error with the nearest name.
const SamplingPreset& find_preset(const std::string& name);

/// The number of its steps.
int64_t preset_steps(const SamplingPreset& preset);

}  // namespace tessera
