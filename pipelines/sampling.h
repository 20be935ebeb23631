#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoints/wan/model.h"
#include "core/job.h"
#include "samplers/guidance.h"
#include "samplers/sampler.h"

namespace tessera {

/// Checks --sigmas, where given, and makes the job's steps their number; a 0 at the end is left out. Throws Error for
/// levels that do not fall from at most 1 to above 0, and when --steps says another number.
void take_sigmas(Job& job);

/// Sampler, scheduler, noise levels and guidance of a job whose size is known: names become canonical, guidance that
/// has no effect is told in `notes`. Throws Error for names that are not known (with the nearest), and for what the
/// model or the sampler does not honor.
void check_sampling(Job& job, const WanModel& model, std::vector<std::string>& notes);

/// The solver of a completed job with its noise levels, ready for the first call. Without a flow shift of its own the
/// job takes that of its number of tokens.
std::unique_ptr<Sampler> sampler_of(const Job& job, const WanModel& model);

/// The guidance of a completed job.
GuidanceConfig guidance_of(const Job& job);

}  // namespace tessera
