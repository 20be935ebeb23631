#pragma once

#include <vector>

#include "core/job.h"
#include "samplers/guidance.h"

namespace tessera {

/// The noise levels of --sigmas, none where it is not given; a 0 at the end is left out. Throws Error for levels that
/// do not fall from at most 1 to above 0.
std::vector<double> sigmas_of(const Job& job);

/// Checks --sigmas, where given, and makes the job's steps their number; a 0 at the end is left out. Throws Error for
/// levels that do not fall from at most 1 to above 0, and when --steps says another number.
void take_sigmas(Job& job);

/// Checks --timestep-respacing, where given, and makes the job's steps those that it visits. Throws Error when --steps
/// says another number.
void take_respacing(Job& job);

/// The guidance of a resolved job.
GuidanceConfig guidance_of(const Job& job);

}  // namespace tessera
