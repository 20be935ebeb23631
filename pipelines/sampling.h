#pragma once

#include <vector>

#include "core/job.h"
#include "samplers/guidance.h"

namespace tessera {

/// The noise levels of --sigmas, none where it is not given; a 0 at the end is left out. Throws Error for levels that
/// do not fall from at most 1 to above 0.
std::vector<double> sigmas_of(const Job& job);

/// Numbers joined by commas that fall from at most `most` to above 0; a 0 at the end is left out. Throws Error that
/// begins with `name` for any other text.
std::vector<double> timesteps_in(const std::string& text, double most, const std::string& name);

/// The timesteps of --timesteps, none where it is not given. Throws what timesteps_in throws.
std::vector<double> timesteps_of(const Job& job, int64_t train_steps);

/// Checks --sigmas or --timesteps, where given, and makes the job's steps their number. With timesteps the job's shift
/// becomes 1: they have none. Throws Error for both at once, for levels that do not fall from at most 1 (timesteps:
/// `train_steps`) to above 0, when --steps says another number, and for timesteps with a shift.
void take_levels(Job& job, int64_t train_steps);

/// Checks --timestep-respacing, where given, and makes the job's steps those that it visits. Throws Error when --steps
/// says another number.
void take_respacing(Job& job);

/// The guidance of a resolved job; `low_below`: timesteps that have --cfg-scale-2, 0 for none.
GuidanceConfig guidance_of(const Job& job, double low_below = 0);

}  // namespace tessera
