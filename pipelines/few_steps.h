#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/job.h"

namespace tessera {

/// The settings of a preset (samplers/presets.h): sampler, one of steps, sigmas and timesteps, shift and guidance; all
/// else is unset. Throws Error for a name that is not known, with the nearest.
Job preset_settings(const std::string& name);

/// The schedule that a distilled model's or LoRA's metadata carry, such as the header of its safetensors file; keys
/// that say nothing about it are passed over, so an empty Job means that there is none. Known are the names and aliases
/// of preset, sampler, steps, sigmas, timesteps, flow-shift and cfg-scale (core/job.h), the distillation codes' own
/// `denoising_step_list` ([1000, 750, 500, 250]; shifted unless `warp_denoising_step` is false or no shift is given),
/// `infer_steps`, and `enable_cfg` (false: guidance 1). Lists are JSON or joined by commas. What is explicit goes
/// before a preset. Throws Error naming `where` and the key for values that the option would not take.
Job schedule_of_metadata(const std::map<std::string, std::string>& metadata, const std::string& where);

/// The schedule that a job sets, as options: "--sampler lcm --sigmas 1.0,0.75,0.5,0.25 --flow-shift 5.0 --cfg-scale
/// 1.0"; "" for none. A preset's name is left out.
std::string schedule_options(const Job& job);

/// Sets what `job` leaves open of a schedule: `settings` may be a preset's, a LoRA's or a model's. Steps, sigmas and
/// timesteps are one choice, so those of `settings` are left out where the job has any of them.
void fill_schedule(Job& job, const Job& settings);

/// Expands the job's preset, which stays as its canonical name. The job's own sigmas or timesteps take the place of the
/// preset's; so do its own steps, for which the evenly spaced sigmas of a preset are spaced anew. A line in `notes`
/// says so. Throws Error for steps other than the number of a preset's timesteps, and what preset_settings throws.
void take_preset(Job& job, std::vector<std::string>& notes);

/// Forgets what a schedule consists of: the preset, sampler, steps, sigmas, timesteps, shift and guidance.
void forget_schedule(Job& job);

}  // namespace tessera
