#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoints/wan/model.h"
#include "core/job.h"
#include "pipelines/sampling.h"
#include "samplers/sampler.h"

namespace tessera {

/// The shape of one output's latents: [1, z_dim, t, h, w].
std::vector<int64_t> latent_shape(const Job& job, const WanModel& model);

/// Sampler, scheduler, noise levels and guidance of a job whose size is known: names become canonical, guidance that
/// has no effect is told in `notes`. Throws Error for names that are not known (with the nearest), and for what the
/// model or the sampler does not support.
void check_sampling(Job& job, const WanModel& model, std::vector<std::string>& notes);

/// The guidance of a resolved job, of both experts where the model has two.
GuidanceConfig guidance_of(const Job& job, const WanModel& model);

/// The calls of a resolved job that the expert for high noise levels makes, which are the first ones.
int64_t high_noise_calls(const Job& job, const WanModel& model);

/// The solver of a resolved job with its noise levels, ready for the first call. Without a flow shift of its own the
/// job takes that of its number of tokens.
std::unique_ptr<Sampler> sampler_of(const Job& job, const WanModel& model);

}  // namespace tessera
